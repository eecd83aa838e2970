# SPDX-License-Identifier: Apache-2.0
"""Give files back to the user and group they were made for, after the system gave these other numbers."""

from __future__ import annotations

import contextlib
import os
import pwd
import stat
from pathlib import Path
from typing import NamedTuple

from .paths import name_of, owner_name


class Owner(NamedTuple):
    """Hold the numbers of a user and a group."""

    user: int
    group: int

    @classmethod
    def of(cls, path: Path) -> Owner:
        """Return whom a path belongs to; a link is followed."""
        found = path.stat()
        return cls(found.st_uid, found.st_gid)

    @classmethod
    def named(cls, user: str) -> Owner | None:
        """Return the numbers of a user and its own group, None where there is no such user."""
        try:
            found = pwd.getpwnam(user)
        except KeyError:
            return None
        return cls(found.pw_uid, found.pw_gid)

    def __str__(self) -> str:
        return owner_name(self.user, self.group)

    @property
    def nameless(self) -> bool:
        """Return whether this host has no user of that number."""
        return name_of(pwd.getpwuid, self.user) == str(self.user)


def give_back(root: Path, owner: Owner) -> None:
    """Give a directory's owner's files to another owner, the directory itself last.

    Until then it shows that something is left to do. Files of others stay theirs, and so do hard links,
    which are other directories' files as well. Nothing is followed: the old owner may have left links.
    """
    before = Owner.of(root)
    for _, folders, names, place in os.fwalk(str(root)):
        for name in [*folders, *names]:
            with contextlib.suppress(FileNotFoundError):  # removed in the meantime
                _give(name, place, before, owner)
    os.chown(str(root), owner.user, owner.group)


def _give(name: str, place: int, before: Owner, owner: Owner) -> None:
    found = os.stat(name, dir_fd=place, follow_symlinks=False)
    shared = found.st_nlink > 1 and not stat.S_ISDIR(found.st_mode)
    user = owner.user if found.st_uid == before.user else -1
    group = owner.group if found.st_gid == before.group else -1
    if not shared and (user, group) != (-1, -1):
        os.chown(name, user, group, dir_fd=place, follow_symlinks=False)
