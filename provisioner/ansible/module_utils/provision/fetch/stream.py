# SPDX-License-Identifier: Apache-2.0
"""Read the members of a tar or zip archive one after the other, whatever its compression."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import stat
import subprocess
import tarfile
import zipfile
import zlib
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Generator, Iterator

from ..host.fault import Fault

ZIP = b"PK\x03\x04"
# The archive may have been made with a window larger than zstd's default limit.
ZSTD = ("zstd", "-d", "-c", "-q", "--long=31")
DAMAGE = (tarfile.TarError, zipfile.BadZipFile, lzma.LZMAError, zlib.error, EOFError, RuntimeError)
UNIX = 3


@contextmanager
def zstandard(packed: IO[bytes]) -> Iterator[IO[bytes]]:
    """Provide the content of a file, unpacked by the program zstd."""
    try:
        process = subprocess.Popen(ZSTD, stdin=packed, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    except FileNotFoundError as error:
        raise missing_zstd() from error
    try:
        output: Any = process.stdout
        yield output
        # A tar archive ends before the stream does, which is no reason to stop reading.
        while output.read(1024**2):
            pass
        complaint = (process.communicate()[1] or b"").decode("utf-8", "replace").strip()
        if process.returncode:
            raise EOFError(complaint or f"zstd ended with {process.returncode}")
    finally:
        process.kill()
        process.communicate()


OPENERS: dict[bytes, Any] = {
    b"\x1f\x8b": gzip.open,
    b"\xfd7zXZ\x00": lzma.open,
    b"BZh": bz2.open,
    b"\x28\xb5\x2f\xfd": zstandard,
}


@dataclass(frozen=True)
class Member:
    """Describe one member; a link has a target, a file has content that is read before the next member."""

    name: str
    kind: str
    executable: bool = False
    target: str = ""
    content: IO[bytes] | None = None


class Archive:
    """An archive that is being read."""

    def __init__(self, path: Path) -> None:
        self._stream = path.open("rb", buffering=0)

    def __enter__(self) -> Archive:  # noqa: PYI034 - Self needs Python 3.11
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def position(self) -> int:
        """Return how much of the file has been read, here or by a program that reads it."""
        try:
            return os.lseek(self._stream.fileno(), 0, os.SEEK_CUR)
        except (OSError, ValueError):
            return 0  # it has just been closed

    def members(self) -> Generator[Member, None, None]:
        """Yield the members."""
        head = self._stream.read(8)
        self._stream.seek(0)
        opener = next((one for magic, one in OPENERS.items() if head.startswith(magic)), nullcontext)
        try:
            with opener(self._stream) as stream:
                yield from (zip_members if head.startswith(ZIP) else tar_members)(stream)
        except (*DAMAGE, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            raise Fault(
                f"the archive cannot be read: {str(error) or type(error).__name__}",
                "its hash is correct, so the archive itself is damaged or not supported: use another "
                "version, as .tar.gz, .tar.xz, .tar.zst or .zip",
            ) from error


def missing_zstd() -> Fault:
    """Return the failure of a host without zstd."""
    return Fault(
        "the program zstd, which unpacks .tar.zst archives, is not installed on this host",
        "install the package zstd, or use a .tar.gz, .tar.xz or .zip archive",
    )


def tar_members(stream: IO[bytes]) -> Iterator[Member]:
    """Yield the members of a plain tar archive."""
    kinds = {tarfile.DIRTYPE: "directory", tarfile.SYMTYPE: "symlink", tarfile.LNKTYPE: "hard link"}
    with tarfile.open(fileobj=stream, mode="r|") as archive:
        for info in archive:
            kind = "file" if info.isreg() else kinds.get(info.type, "special file")
            content = archive.extractfile(info) if kind == "file" else None
            yield Member(info.name, kind, bool(info.mode & 0o111), info.linkname, content)


def zip_members(stream: IO[bytes]) -> Iterator[Member]:
    """Yield the members of a zip archive; only those packed on Unix have a kind and mode."""
    kinds = {0: "file", stat.S_IFREG: "file", stat.S_IFLNK: "symlink", stat.S_IFDIR: "directory"}
    with zipfile.ZipFile(stream) as archive:
        for info in archive.infolist():
            mode = info.external_attr >> 16 if info.create_system == UNIX else 0
            kind = "directory" if info.is_dir() else kinds.get(stat.S_IFMT(mode), "special file")
            with archive.open(info) as content:
                # Its target is all the content a link has; a path has no more than this.
                target = content.read(4096).decode("utf-8", "surrogateescape") if kind == "symlink" else ""
                yield Member(info.filename, kind, bool(mode & 0o111), target, content)
