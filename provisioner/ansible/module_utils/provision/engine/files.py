# SPDX-License-Identifier: Apache-2.0
"""Manage what an engine's service consists of on disk: its files, its user and its key."""

from __future__ import annotations

import contextlib
import functools
import grp
import pwd
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..host import managed
from ..host.commands import need
from ..host.fault import Fault
from ..host.files import replace_file
from ..host.paths import name_of, owner_of, text_of
from .client import key_of

SETTINGS = Path("/etc/provision")
LIBRARY = Path("/usr/local/lib/provision")
STATES = Path("/var/lib/provision/services")
STARTED = Path("/run/provision/started")
GATE = LIBRARY / "serve-gate"
# The comment of every user that was created for an engine.
COMMENT = "provision-engine"
_account = functools.partial(need, next_step="check /etc/passwd and /etc/group")
_KEY = re.compile(r"[\x21-\x7e]+")


@dataclass(frozen=True)
class ManagedFile:
    """Describe one file as it must be; a diff shows `kind`, if there is one, instead of the content."""

    path: Path
    content: bytes
    mode: int
    group: str = "root"
    kind: str = ""

    def current(self) -> bytes:
        """Return the file's content, empty if there is no file."""
        return self.path.read_bytes() if self.path.exists() else b""

    def is_right(self) -> bool:
        """Return whether content, mode and owner are as they must be."""
        return self._rights() == self._wanted_rights() and self.current() == self.content

    def _rights(self) -> str:
        """Return the file's mode and owner as a diff shows them, empty if there is no file."""
        try:
            found = self.path.stat()
        except FileNotFoundError:
            return ""
        return f"mode {found.st_mode & 0o7777:04o}, owner {owner_of(found)}"

    def _wanted_rights(self) -> str:
        return f"mode {self.mode:04o}, owner {name_of(pwd.getpwuid, 0)}:{self.group}"

    def write(self) -> None:
        """Replace the file in one step."""
        replace_file(self.path, self.content, self.mode, grp.getgrnam(self.group).gr_gid)

    def diff(self) -> dict[str, str]:
        """Return what Ansible shows as this file's difference, with mode and owner."""
        now, coming = self._rights(), self._wanted_rights()
        if now and self.current() == self.content:
            headers = dict.fromkeys(("before_header", "after_header"), str(self.path))
            return {**headers, "before": f"{now}\n", "after": f"{coming}\n"}
        before, after = (content.decode(errors="replace") for content in (self.current(), self.content))
        if self.kind:
            shown = f"(a {self.kind})\n"
            before, after = (shown, f"(another {self.kind})\n") if now else ("", shown)
        heads = {
            "before_header": f"{self.path} ({now or 'absent'})",
            "after_header": f"{self.path} ({coming})",
        }
        return {**heads, "before": before, "after": after}


def setting(unit: str, suffix: str) -> Path:
    """Return a file of `unit`: environment (.env), API key (.key), or the key as it was copied (.secret)."""
    return SETTINGS / f"{managed.stem(unit)}{suffix}"


def key_line(variable: str, key: str) -> str:
    """Return the key file's content: an assignment that systemd reads."""
    if not _KEY.fullmatch(key):
        raise Fault(
            "the API key is empty, or contains a space, a line break or a non-ASCII character",
            "write one line of printable ASCII characters to serve_api_key_file",
        )
    escaped = key.replace("\\", "\\\\").replace('"', '\\"')
    return f'{variable}="{escaped}"\n'


def read_key(unit: str) -> str:
    """Return the API key of `unit`, empty if it needs none."""
    return key_of(text_of(setting(unit, ".key")))


def known(look_up: Callable[[str], object], name: str) -> bool:
    """Return whether the host has a user or a group of that name."""
    try:
        look_up(name)
    except KeyError:
        return False
    return True


def user_is_right(user: str, groups: list[str]) -> bool:
    """Return whether the system user exists and is in every group."""
    if not known(pwd.getpwnam, user) or not all(known(grp.getgrnam, group) for group in [user, *groups]):
        return False
    return all(user in grp.getgrnam(group).gr_mem for group in groups)


def is_foreign_user(user: str) -> bool:
    """Return whether the user exists, was not created for an engine, and runs none of our units."""
    try:
        comment = pwd.getpwnam(user).pw_gecos
    except KeyError:
        return False
    # Users created by early versions have no comment, but a unit of ours.
    return comment.split(",")[0] != COMMENT and not managed.others("", user)


def make_user(user: str, groups: list[str]) -> None:
    """Create the engine's system user, without a home directory, a shell or a password."""
    for group in [user, *groups]:
        if not known(grp.getgrnam, group):
            _account("groupadd", "--system", group)
    if not known(pwd.getpwnam, user):
        shell = "/usr/sbin/nologin" if Path("/usr/sbin/nologin").exists() else "/sbin/nologin"
        home = ["--no-create-home", "--home-dir", "/nonexistent"]
        words = ["--system", "--comment", COMMENT, "--gid", user, *home, "--shell", shell]
        _account("useradd", *words, user)
    if groups:
        _account("usermod", "--append", "--groups", ",".join(groups), user)


def remove_user(user: str) -> None:
    """Remove the engine's user and its group."""
    if known(pwd.getpwnam, user):
        _account("userdel", user)
    # On most hosts, userdel has removed the group too; one that others were added to is theirs now.
    if known(grp.getgrnam, user) and not _in_use(grp.getgrnam(user)):
        _account("groupdel", user)


def _in_use(group: grp.struct_group) -> bool:
    """Return whether a group is the main group of a user, who keeps it from being removed."""
    return any(entry.pw_gid == group.gr_gid for entry in pwd.getpwall())


def is_foreign_unit(unit: str) -> bool:
    """Return whether there is a unit file of that name that this project did not write."""
    path = managed.UNITS / unit
    # A symbolic link is a mask, or an alias of another unit.
    return (path.is_symlink() or path.exists()) and unit not in managed.managed()


def leftovers(unit: str) -> list[Path]:
    """Return every path of `unit` that exists, including shared ones if it is the last service."""
    name = managed.stem(unit)
    paths = [managed.UNITS / unit, *(setting(unit, suffix) for suffix in (".env", ".key", ".secret"))]
    paths += [STATES / name, STARTED / f"{name}.json"]
    paths += [] if managed.others(unit) else [GATE]
    return [path for path in paths if path.exists()]


def remove(paths: list[Path]) -> None:
    """Remove files and directories, and our directories that this leaves empty."""
    for path in paths:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    for folder in (SETTINGS, LIBRARY, STATES, STARTED):
        with contextlib.suppress(OSError):  # absent, or other files are in it
            folder.rmdir()
