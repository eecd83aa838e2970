# SPDX-License-Identifier: Apache-2.0
"""Find what keeps a user of the host out of a directory: no mount, a read-only disk, a closed folder."""

from __future__ import annotations

import contextlib
import errno
import grp
import os
import pwd
import stat
from pathlib import Path

from .commands import call, need
from .fault import REMEDIES, Fault, fault_of
from .paths import existing_parent, owner_of, text_of

# A file system that does not answer for so long is taken for dead.
STAT_SECONDS = 10
# Who owns nothing: what such a user may do, everyone may.
NO_ONE = 65534
FSTAB = Path("/etc/fstab")
# The group of every user of an engine, which it joins when it is created.
READERS = "provision"
# Prints the first folder that cannot be entered, or else the last one if it cannot be used as wanted.
PROBE = """
wanted=$1; shift
for folder; do test -x "$folder" || { printf %s "$folder"; exit; }; done
for one in $wanted; do test -$one "$folder" || { printf %s "$folder"; exit; }; done
"""


def require(path: Path, user: str, *, writable: bool, choice: str, itself: bool = True) -> None:
    """Raise Fault unless the user can use a directory, or can once it is created.

    A user that does not exist yet may do what everyone may. Without `itself`, only the way to the directory
    counts. `choice` is the variable that selects another one.
    """
    _require_answer(path)
    try:
        there = path.is_dir()
        if not there:
            _require_place(path, choice)
        if writable:
            _require_writable_mount(existing_parent(path))
    except OSError as error:
        raise fault_of(error) from error
    _require_access(path, user, there=there and itself, writable=writable, choice=choice)


def _require_answer(path: Path) -> None:
    """Refuse a file system that hangs, which would stop this process as well."""
    try:
        call("stat", "--dereference", str(path), seconds=STAT_SECONDS)
    except Fault as fault:
        if "did not end" not in str(fault):
            raise
        raise Fault(
            f"the file system of {path} did not answer within {STAT_SECONDS} s",
            "check `dmesg` and the server that it is on, then run the same command again",
        ) from fault


def _require_place(path: Path, choice: str) -> None:
    """Refuse a path that leads through a file or a dangling link, or to a disk that is not mounted."""
    for one in [*reversed(path.parents), path]:
        if one.is_symlink() and not one.exists():
            said = f"{one} is a link to {os.readlink(str(one))}, which does not exist"
            raise Fault(said, f"create that directory or remove the link, or correct {choice}")
        if one.exists() and not one.is_dir():
            raise Fault(f"{one} is not a directory", f"move it away, or correct {choice}")
    place = unmounted(path)
    if place:
        raise Fault(
            f"{path} does not exist, because nothing is mounted on {place}",
            f"mount it (`mount {place}`; see `systemctl status {place}`), then run the same command again",
        )


def unmounted(path: Path) -> str:
    """Return the directory above, or the path, on which this host mounts a disk that is not mounted now."""
    places = [str(one) for one in [path, *path.parents][:-1]]
    rows = [line.split() for line in text_of(FSTAB).splitlines() if not line.lstrip().startswith("#")]
    listed = {row[1].replace("\\040", " ") for row in rows if len(row) > 2}
    for place in places:
        if place in listed and not os.path.ismount(place):
            return place
    try:
        units = need("systemd-escape", "--path", "--suffix=mount", *places).split()
        shown = need("systemctl", "show", "--property=Where,LoadState,ActiveState", *units)
    except Fault:
        return ""  # without systemd's answer, no disk is known to be missing
    for block in shown.split("\n\n"):
        values = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        if values.get("LoadState") == "loaded" and values.get("ActiveState") != "active":
            return values.get("Where", "")
    return ""


def _require_writable_mount(path: Path) -> None:
    if os.statvfs(str(path)).f_flag & os.ST_RDONLY:
        mount = next(one for one in [path, *path.parents] if os.path.ismount(str(one)))
        said = f"{path} is on the file system of {mount}, which is mounted read-only"
        raise Fault(said, f"{REMEDIES[errno.EROFS]}, then run the same command again")


def _require_access(path: Path, user: str, *, there: bool, writable: bool, choice: str) -> None:
    """Refuse a directory that the user cannot reach, naming the folder that is closed."""
    who, exists = _identity(user)
    # Whom the directory itself belongs to is settled once there is a user.
    there = there and exists
    folders = [str(one) for one in [*reversed(path.parents), *([path] if there else [])] if one.is_dir()]
    wanted = ("r w" if writable else "r") if there else ""
    probe = ["setpriv", *who, "--", "sh", "-c", PROBE, "sh", wanted, *folders]
    closed = need(*probe, next_step="check that setpriv of util-linux works on the host")
    if not closed:
        return
    verb = "enter" if closed != str(path) else "read and write" if writable else "read"
    said = f"{user} cannot {verb} {closed} ({_mode(closed)})"
    if closed != str(path):
        step = f"set {choice} to a directory elsewhere, or let others pass with `chmod o+x {closed}`"
        raise Fault(f"{path} is out of reach: {said}", step)
    step = (
        f"run `chown {user}: {closed}` and `chmod u+rwx {closed}` on the host, or set {choice} to another one"
    )
    raise Fault(said, step)


def _identity(user: str) -> tuple[list[str], bool]:
    """Return the options of setpriv that make a process an engine's user, and whether that exists."""
    try:
        found = pwd.getpwnam(user)
        number, group, groups = found.pw_uid, found.pw_gid, os.getgrouplist(user, found.pw_gid)
    except KeyError:
        number, group, groups = NO_ONE, NO_ONE, []
    with contextlib.suppress(KeyError):
        groups = [*groups, grp.getgrnam(READERS).gr_gid]
    also = f"--groups={','.join(map(str, groups))}" if groups else "--clear-groups"
    return [f"--reuid={number}", f"--regid={group}", also], number != NO_ONE


def _mode(folder: str) -> str:
    found = Path(folder).stat()
    return f"mode {stat.S_IMODE(found.st_mode):04o}, owner {owner_of(found)}"
