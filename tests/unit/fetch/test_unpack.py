# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import io
import os
import shutil
import stat
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest
from ansible.module_utils.provision.fetch import stream
from ansible.module_utils.provision.fetch.place import MANIFEST
from ansible.module_utils.provision.fetch.stream import Archive
from ansible.module_utils.provision.fetch.unpack import Unpack
from ansible.module_utils.provision.host.fault import Fault

from tests.unit.fetch.served import packed

TOOL = ("bin/tool", b"program" * 5000)


def unpack(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "file"
    path.write_bytes(content)
    with Archive(path) as archive:
        Unpack(tmp_path / "out").run(archive)
        assert archive.position() == len(content)
    return tmp_path / "out"


def special(name: str, kind: bytes, target: str = "", mode: int = 0o755) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = kind, target, mode
    return info


def zipped(*members: tuple[str, bytes, int]) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content, mode in members:
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            archive.writestr(info, content)
    return made.getvalue()


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz", "w:bz2"])
def test_tar_archives_whatever_they_are_compressed_with(tmp_path: Path, mode: str) -> None:
    links = [
        special("./lib", tarfile.DIRTYPE),
        special("./bin/also", tarfile.LNKTYPE, "bin/tool"),
        special("lib/tool", tarfile.SYMTYPE, "../bin/tool"),
    ]
    out = unpack(tmp_path, packed(TOOL, *links, mode=mode))
    assert (out / "bin/also").read_bytes() == (out / "lib/tool").read_bytes() == TOOL[1]
    assert (out / "lib/tool").readlink() == Path("../bin/tool")


def test_zstandard_through_its_program(tmp_path: Path) -> None:
    if shutil.which("zstd") is None:
        pytest.skip("the program zstd is not on this machine")
    made = subprocess.run(["zstd", "-q", "-c"], input=packed(TOOL, mode="w"), capture_output=True, check=True)
    out = unpack(tmp_path, made.stdout)
    assert (out / "bin/tool").read_bytes() == TOOL[1]
    (tmp_path / "cut").mkdir()
    with pytest.raises(Fault, match="the archive cannot be read"):
        unpack(tmp_path / "cut", made.stdout[:-20])
    (tmp_path / "evil").mkdir()
    evil = packed(TOOL, special("../x", tarfile.SYMTYPE, "bin"), mode="w")
    made = subprocess.run(["zstd", "-q", "-c"], input=evil, capture_output=True, check=True)
    with pytest.raises(Fault, match="would be outside"):
        unpack(tmp_path / "evil", made.stdout)


def test_zstandard_without_its_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "ZSTD", ("no-such-program",))
    with pytest.raises(Fault, match="the program zstd") as caught:
        unpack(tmp_path, b"\x28\xb5\x2f\xfdrest")
    assert "install the package zstd" in caught.value.next_step


def test_zip_archives(tmp_path: Path) -> None:
    content = zipped(
        ("bin/", b"", stat.S_IFDIR | 0o755),
        ("bin/tool", b"program", stat.S_IFREG | 0o775),
        ("bin/notes", b"text", 0),
        ("tool", b"bin/tool", stat.S_IFLNK | 0o777),
    )
    path = tmp_path / "file"
    path.write_bytes(content)
    with Archive(path) as archive:
        files = Unpack(tmp_path / "out").run(archive)
    assert files == {"bin/tool": 7, "bin/notes": 4}
    assert mode(tmp_path / "out/bin/tool") == 0o755
    assert mode(tmp_path / "out/bin/notes") == 0o644
    assert (tmp_path / "out/tool").read_bytes() == b"program"


def mode(path: Path) -> int:
    return path.lstat().st_mode & 0o7777


def test_nobody_but_root_may_change_what_is_unpacked(tmp_path: Path) -> None:
    def info(name: str, kind: bytes, mode: int) -> tarfile.TarInfo:
        made = special(name, kind, mode=mode)
        made.uid = made.gid = 12345
        return made

    members = [
        info("open", tarfile.DIRTYPE, 0o1777),
        info("open/data", tarfile.REGTYPE, 0o666),
        info("open/root", tarfile.REGTYPE, 0o6777),
        info("shut", tarfile.DIRTYPE, 0o000),
        info("shut/secret", tarfile.REGTYPE, 0o000),
    ]
    before = os.umask(0o077)
    try:
        out = unpack(tmp_path, packed(*members))
    finally:
        os.umask(before)
    modes = {path.relative_to(out).as_posix(): mode(path) for path in out.rglob("*")}
    assert modes == {
        "open": 0o755,
        "open/data": 0o644,
        "open/root": 0o755,
        "shut": 0o755,
        "shut/secret": 0o644,
    }
    assert mode(out) == 0o755
    assert {path.stat().st_uid for path in out.rglob("*")} == {os.geteuid()}
    assert {path.stat().st_gid for path in out.rglob("*")} == {os.getegid()}


SYMLINK, HARDLINK = tarfile.SYMTYPE, tarfile.LNKTYPE
HOSTILE = {
    "absolute": [("/etc/evil", b"x")],
    "climbing": [("a/../../evil", b"x")],
    "link away": [special("a", SYMLINK, "/etc")],
    "link up": [special("d/a", SYMLINK, "../../evil")],
    "link to nothing": [special("a", SYMLINK, "")],
    "through a link": [special("a", SYMLINK, "."), ("a/evil", b"x")],
    "by two links": [
        special("x", SYMLINK, "."),
        special("y", SYMLINK, "x/.."),
        special("y/evil", SYMLINK, "anything"),
    ],
    "links that climb together": [special("x", SYMLINK, "."), special("y", SYMLINK, "x/../evil")],
    "hard link away": [special("a", HARDLINK, "/etc/passwd")],
    "hard link up": [special("a", HARDLINK, "../file")],
    "hard link to a link": [special("a", SYMLINK, "b"), special("c", HARDLINK, "a")],
    "hard link to a folder": [special("d", tarfile.DIRTYPE), special("c", HARDLINK, "d")],
    "device": [special("a", tarfile.CHRTYPE)],
    "disk": [special("a", tarfile.BLKTYPE)],
    "pipe": [special("a", tarfile.FIFOTYPE)],
    "twice": [TOOL, TOOL],
    "link over a file": [TOOL, special("bin/tool", SYMLINK, "x")],
    "hard link over a file": [TOOL, ("b", b"x"), special("b", HARDLINK, "bin/tool")],
    "folder over a file": [("a", b"x"), ("a/b", b"x")],
    "no name": [("./", b"x")],
    "our own note": [(MANIFEST, b"{}")],
}


@pytest.mark.parametrize("members", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_members_are_refused(
    tmp_path: Path, members: list[tuple[str, bytes] | tarfile.TarInfo]
) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    with pytest.raises(Fault, match="the archive is refused: its member"):
        unpack(inside, packed(*members))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["inside"]
    assert sorted(path.name for path in inside.iterdir()) == ["file", "out"]
    assert not Path("/etc/evil").exists()


@pytest.mark.parametrize(
    ("name", "content", "mode"),
    [
        ("../evil", b"x", stat.S_IFREG | 0o644),
        ("/evil", b"x", stat.S_IFREG | 0o644),
        ("evil", b"/etc", stat.S_IFLNK | 0o777),
        ("evil", b"", stat.S_IFIFO | 0o644),
    ],
)
def test_hostile_members_of_zip_archives_are_refused(
    tmp_path: Path, name: str, content: bytes, mode: int
) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    with pytest.raises(Fault, match="the archive is refused"):
        unpack(inside, zipped((name, content, mode)))
    assert not list(tmp_path.rglob("evil"))
    assert not Path("/evil").exists()


@pytest.mark.parametrize(
    "content",
    [b"", b"<html>not found</html>" * 100, packed(TOOL)[:-200], zipped(("a", b"x", 0o644))[:-30]],
    ids=["empty", "page", "cut", "cut zip"],
)
def test_what_is_no_archive_is_said_to_be_none(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(Fault, match="the archive cannot be read"):
        unpack(tmp_path, content)
