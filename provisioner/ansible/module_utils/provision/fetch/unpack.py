# SPDX-License-Identifier: Apache-2.0
"""Unpack an archive into a new directory that belongs to root, and let nothing out of it."""

from __future__ import annotations

import os
import shutil
from contextlib import closing
from pathlib import Path, PurePosixPath
from typing import IO

from ..host.fault import Fault
from ..host.paths import sync
from .place import MANIFEST
from .stream import Archive, Member

BLOCK = 1024**2
ADVICE = "use an archive from the project's own releases; nothing of this one was installed"


class Unpack:
    """A directory that fills; links are made last, so that nothing is ever written through one."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.files: dict[str, int] = {}
        self._links: list[tuple[str, str]] = []

    def run(self, archive: Archive) -> dict[str, int]:
        """Unpack everything and return the files with their sizes."""
        self._make(self.directory)
        with closing(archive.members()) as members:
            for member in members:
                self._put(member)
        self._make_links()
        for folder, _, _ in os.walk(str(self.directory), topdown=False):
            sync(Path(folder))
        return self.files

    def _put(self, member: Member) -> None:
        parts = self._parts(member)
        path = self.directory.joinpath(*parts)
        if member.kind == "directory":
            self._make(path)
            return
        # For links as well, which come last: once there is one, a folder could be created behind it.
        self._make(path.parent)
        if os.path.lexists(str(path)):
            raise refusal(member.name, "is in the archive twice")
        if member.kind == "symlink":
            self._check_target(member, parts)
            self._links.append(("/".join(parts), member.target))
            return
        if member.kind == "file" and member.content is not None:
            self._write(path, member.content, 0o755 if member.executable else 0o644)
        elif member.kind == "hard link":
            self._link(path, member)
        else:
            raise refusal(member.name, "is a device or another special file")
        self.files["/".join(parts)] = path.stat().st_size

    def _parts(self, member: Member) -> tuple[str, ...]:
        path = PurePosixPath(member.name)
        if path.is_absolute() or ".." in path.parts or "\0" in member.name:
            raise refusal(member.name, "would be outside of the archive's directory")
        if path.parts == (MANIFEST,) or (not path.parts and member.kind != "directory"):
            raise refusal(member.name, "has a reserved name")
        return path.parts

    def _make(self, path: Path) -> None:
        if path.is_dir():
            return
        if path != self.directory:
            self._make(path.parent)
        try:
            path.mkdir()
        except FileExistsError as error:
            name = path.relative_to(self.directory).as_posix()
            raise refusal(name, "is both a file and a directory") from error
        os.chown(str(path), os.geteuid(), os.getegid())
        path.chmod(0o755)

    def _write(self, path: Path, content: IO[bytes], mode: int) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        with os.fdopen(os.open(str(path), flags, 0o600), "wb") as stream:
            shutil.copyfileobj(content, stream, BLOCK)
            stream.flush()
            # Neither setuid nor writable by others, whatever the archive says; readable by every service.
            os.fchown(stream.fileno(), os.geteuid(), os.getegid())
            os.fchmod(stream.fileno(), mode)
            os.fsync(stream.fileno())

    def _link(self, path: Path, member: Member) -> None:
        target = PurePosixPath(member.target)
        if target.is_absolute() or ".." in target.parts or target.as_posix() not in self.files:
            raise refusal(member.name, "is a hard link to a file that does not precede it in the archive")
        os.link(str(self.directory / target), str(path))

    def _check_target(self, member: Member, parts: tuple[str, ...]) -> None:
        beside = os.path.normpath("/".join((*parts[:-1], member.target)))
        absolute = member.target.startswith("/") or "\0" in member.target
        if absolute or not member.target or beside.split("/")[0] == "..":
            raise refusal(member.name, f"is a link out of the archive's directory, to {member.target!r}")

    def _make_links(self) -> None:
        for name, target in self._links:
            if os.path.lexists(str(self.directory / name)):
                raise refusal(name, "is in the archive twice")
            (self.directory / name).symlink_to(target)
        # Links to links may lead elsewhere than their texts show.
        root = os.path.realpath(str(self.directory))
        for name, target in self._links:
            end = os.path.realpath(str(self.directory / name))
            if end != root and not end.startswith(root + os.sep):
                raise refusal(name, f"is a link out of the archive's directory, to {target!r}")


def refusal(name: str, why: str) -> Fault:
    """Return why an archive is not unpacked."""
    return Fault(f"the archive is refused: its member {name!r} {why}", ADVICE)
