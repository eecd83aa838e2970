# SPDX-License-Identifier: Apache-2.0
"""Read and write single settings of a host, each as text; None means that there is none."""

from __future__ import annotations

import functools
import grp
import os
import pwd
import re
import shutil
from pathlib import Path
from typing import Any, Callable, NamedTuple

from .commands import CommandFault, call, need
from .fault import Fault
from .files import replace_file, replace_link
from .paths import UNITS, owner_of, text_of
from .systemd import show

COMMAND_SECONDS = 60
run_checked = functools.partial(need, seconds=COMMAND_SECONDS)
ZONES = Path("/usr/share/zoneinfo")
LOCALTIME = Path("/etc/localtime")
DNF = "/etc/dnf/dnf.conf"
# These hold only what this project put there, so they go as a whole once no unit names them.
OWN_TREES = (
    "/opt/provision",
    "/usr/local/lib/provision",
    "/etc/provision",
    "/var/cache/provision",
    "/var/lib/provision/locks",
)


class NotApplicable(Fault):
    """Report that a setting does not apply to this host."""

    def __init__(self, message: str) -> None:
        super().__init__(message, "leave this setting as it is on this host")


def command(*argv: str) -> tuple[int, str]:
    """Run a program and return its exit status and output; one that cannot be run has failed."""
    try:
        done = call(*argv, seconds=COMMAND_SECONDS)
    except CommandFault as fault:
        return 127, str(fault)
    return done.returncode, (done.stdout + done.stderr).strip()


def read_file(name: str) -> str | None:
    """Return a file's text."""
    try:
        return Path(name).read_text(encoding="utf-8", errors="surrogateescape")
    except FileNotFoundError:
        return None


def write_file(name: str, value: str | None) -> None:
    """Replace a file at once and keep its mode, or remove it."""
    path = Path(name)
    if value is None:
        path.unlink(missing_ok=True)
        return
    mode = path.stat().st_mode & 0o7777 if path.exists() else 0o644
    replace_file(path, value.encode(errors="surrogateescape"), mode)
    if shutil.which("restorecon"):
        command("restorecon", name)


def read_private(name: str) -> str | None:
    """Return a file's mode, and on the next line its text."""
    mode, text = read_mode(name), read_file(name)
    return None if mode is None or text is None else f"{mode}\n{text}"


def write_private(name: str, value: str | None) -> None:
    """Replace a file with its mode at once, so that no one reads it who must not, or remove it."""
    if value is None:
        Path(name).unlink(missing_ok=True)
        return
    mode, _, text = value.partition("\n")
    replace_file(Path(name), text.encode(errors="surrogateescape"), int(mode, 8))
    if shutil.which("restorecon"):
        command("restorecon", name)


def read_mode(name: str) -> str | None:
    """Return the mode of a file."""
    try:
        return f"{Path(name).stat().st_mode & 0o7777:04o}"
    except FileNotFoundError:
        return None


def write_mode(name: str, value: str | None) -> None:
    """Set the mode of a file that exists."""
    if value and Path(name).exists():
        Path(name).chmod(int(value, 8))


def _dnf_main(text: str) -> tuple[str, str, str]:
    """Split dnf's configuration at its section [main]: what is before, its lines, and the other sections."""
    found = re.search(r"(?m)^\[main\][ \t]*\n((?:(?!\[).*(?:\n|$))*)", text)
    return (text[: found.start(1)], found[1], text[found.end() :]) if found else (text + "[main]\n", "", "")


def read_dnf(name: str) -> str | None:
    """Return the value of one option of dnf's section [main]."""
    found = re.findall(rf"(?m)^{name}[ \t]*[=:][ \t]*(.*?)[ \t]*$", _dnf_main(read_file(DNF) or "")[1])
    return str(found[-1]) if found else None


def write_dnf(name: str, value: str | None) -> None:
    """Set one option of dnf's section [main], or remove it; the other lines stay as they are."""
    head, lines, tail = _dnf_main(read_file(DNF) or "")
    kept = re.sub(rf"(?m)^{name}[ \t]*[=:].*\n?", "", lines)
    write_file(DNF, head + (f"{name}={value}\n" if value is not None else "") + kept + tail)


def read_directory(name: str) -> str | None:
    """Return a directory's mode, owner and group."""
    try:
        found = Path(name).stat()
    except FileNotFoundError:
        return None
    return f"{found.st_mode & 0o7777:04o} {owner_of(found)}"


def write_directory(name: str, value: str | None) -> None:
    """Make a directory with mode, owner and group, or remove it if it contains nothing else."""
    path = Path(name)
    if value is None:
        _remove_directory(path)
        return
    mode, owner = value.split()
    user, _, group = owner.partition(":")
    owner_number, group_number = number_of(pwd.getpwnam, user), number_of(grp.getgrnam, group)
    path.mkdir(parents=True, exist_ok=True)
    os.chown(name, owner_number, group_number)
    path.chmod(int(mode, 8))


def number_of(look_up: Callable[[str], Any], name: str) -> int:
    """Return the number of a user or group, which may be noted by its number."""
    try:
        return int(look_up(name)[2])
    except KeyError as error:
        if name.isdigit():
            return int(name)
        raise NotApplicable(f"this host has no {name} any more, whose directory it was") from error


def _remove_directory(path: Path) -> None:
    if not path.is_dir():
        return
    if str(path).startswith(OWN_TREES):
        users = [unit.name for unit in UNITS.glob("*.service") if f"{path}/" in text_of(unit)]
        if users:
            raise NotApplicable(f"{path} is kept: {', '.join(users)} uses it")
        if os.path.ismount(str(path)):
            raise NotApplicable(f"{path} is kept: it is a mount point")
        shutil.rmtree(str(path))
    elif any(path.iterdir()):
        raise NotApplicable(f"{path} is kept: it is not empty")
    else:
        path.rmdir()


def read_group(name: str) -> str | None:
    """Return present when there is such a group."""
    return "present" if command("getent", "group", name)[0] == 0 else None


def write_group(name: str, value: str | None) -> None:
    """Make or remove a system group; one that is a user's main group by now is kept."""
    if value:
        run_checked("groupadd", "--system", name)
        return
    code, said = command("groupdel", name)
    if code:
        raise NotApplicable(f"group {name} is kept: {said}")


def _sysctl_path(name: str) -> Path:
    return Path("/proc/sys") / name.replace(".", "/")


def read_sysctl(name: str) -> str | None:
    """Return the value the kernel uses now."""
    text = read_file(str(_sysctl_path(name)))
    if text is None:
        raise NotApplicable(f"this kernel has no {name}")
    return " ".join(text.split())


def write_sysctl(name: str, value: str | None) -> None:
    """Set the value the kernel uses now."""
    try:
        _sysctl_path(name).write_text(f"{value}\n", encoding="ascii")
    except OSError as error:
        raise NotApplicable(
            f"{name} cannot be set here ({error.strerror}): the machine that runs this host controls it"
        ) from error


def read_timezone(_name: str) -> str | None:
    """Return the name of the time zone."""
    if not LOCALTIME.is_symlink():
        return None
    # One step only: many a zone, UTC among them, is itself a link to another name.
    zone = LOCALTIME.parent / os.readlink(str(LOCALTIME))
    return os.path.relpath(os.path.normpath(str(zone)), str(ZONES))


def write_timezone(_name: str, value: str | None) -> None:
    """Set the time zone."""
    if value is None:
        LOCALTIME.unlink()
        return
    zone = ZONES / value
    if not zone.is_file():
        raise Fault(f"there is no time zone {value}", "choose one that `timedatectl list-timezones` lists")
    replace_link(LOCALTIME, zone)
    if Path("/etc/timezone").exists():
        write_file("/etc/timezone", value + "\n")


def read_service(name: str) -> str | None:
    """Return on when a service starts at boot and runs, or would run but for its own conditions."""
    if command("systemctl", "is-enabled", name)[0]:
        return "off"
    values = show(name, "ActiveState,ConditionResult,ConditionTimestamp")
    # A time service refuses to run where the clock is not its to set.
    refused = values.get("ConditionResult") == "no" and bool(values.get("ConditionTimestamp"))
    return "on" if values.get("ActiveState") == "active" or refused else "off"


def write_service(name: str, value: str | None) -> None:
    """Switch a service on or off, now and at boot."""
    run_checked("systemctl", "enable" if value == "on" else "disable", "--now", name)


def read_firewalld(name: str) -> str | None:
    """Return open when firewalld lets a port through."""
    return "open" if command("firewall-cmd", "--permanent", f"--query-port={name}")[0] == 0 else None


def write_firewalld(name: str, value: str | None) -> None:
    """Open or close a port in firewalld, now and at boot."""
    verb = "add" if value else "remove"
    run_checked("firewall-cmd", "--permanent", f"--{verb}-port={name}")
    run_checked("firewall-cmd", f"--{verb}-port={name}")


def read_ufw(name: str) -> str | None:
    """Return open when ufw lets a port through."""
    rules = command("ufw", "show", "added")[1]
    return "open" if re.search(rf"(?m)^ufw allow {re.escape(name)}( comment .*)?$", rules) else None


def write_ufw(name: str, value: str | None) -> None:
    """Open or close a port in ufw."""
    run_checked(*(("ufw", "allow", name) if value else ("ufw", "delete", "allow", name)))


class Kind(NamedTuple):
    """Hold how settings of one kind are read and written."""

    read: Callable[[str], str | None]
    write: Callable[[str, str | None], None]


FILE = Kind(read_file, write_file)
KINDS = {
    "group": Kind(read_group, write_group),
    "directory": Kind(read_directory, write_directory),
    "file": FILE,
    "private": Kind(read_private, write_private),
    "mode": Kind(read_mode, write_mode),
    "dnf": Kind(read_dnf, write_dnf),
    "source": FILE,
    "chrony": FILE,
    "sysctl": Kind(read_sysctl, write_sysctl),
    "timezone": Kind(read_timezone, write_timezone),
    "service": Kind(read_service, write_service),
    "firewalld": Kind(read_firewalld, write_firewalld),
    "ufw": Kind(read_ufw, write_ufw),
}
