# SPDX-License-Identifier: Apache-2.0
"""Ask apt or dnf what is installed, who holds their locks, and how a transaction is written."""

from __future__ import annotations

import fcntl
import os
import shutil
import struct
import time
from pathlib import Path

from .commands import call
from .fault import Fault

QUERY_SECONDS = 60
STAMP = Path("/run/provision/apt-refreshed")
STAMPS = (STAMP, Path("/var/lib/apt/periodic/update-success-stamp"))
LISTS = Path("/var/lib/apt/lists")
SOURCES = Path("/etc/apt/sources.list.d")
# Finishes what an earlier run of dpkg left half done; a configuration file the operator changed stays.
REPAIR = ["dpkg", "--force-confdef", "--force-confold", "--configure", "-a"]
# struct flock of 64-bit Linux: type, whence, start, length, pid.
FLOCK = "hhqqi0q"

# The script of a transaction itself lists what there is, so that what others install between two calls never
# counts as ours. Both lists take their names when they are whole; one that was cut off has no second list.
RECORDING = r"""
record=$1 asked=$2 listing=$3
shift 3
rm -rf "$record"
mkdir "$record"
printf '%s\n' "$asked" > "$record/asked"
before="cd '$record' && { test -e before || { $listing > before.new && mv before.new before; }; }"
after() {
    if sh -c "$listing" > "$record/after.new" && sync "$record/after.new"; then
        mv "$record/after.new" "$record/after"
    fi
}
trap after EXIT
trap 'exit 143' TERM
"""


def query(argv: list[str]) -> tuple[int, str]:
    """Run a query that changes nothing and return its exit status and output."""
    done = call(*argv, seconds=QUERY_SECONDS)
    return done.returncode, done.stdout + done.stderr


def lock_holder(path: Path) -> int:
    """Return the process that holds the POSIX lock on a file, 0 when it is free."""
    try:
        with path.open("r+b") as handle:
            asked = struct.pack(FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
            kind, _, _, _, pid = struct.unpack(FLOCK, fcntl.fcntl(handle, fcntl.F_GETLK, asked))
    except OSError:
        return 0
    return 0 if kind == fcntl.F_UNLCK else int(pid)


def process_name(pid: int) -> str:
    """Return what a process calls itself."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return f"process {pid}"
    # An interpreter's second word says what it runs.
    names = [Path(word.decode(errors="replace")).name for word in words[:2] if not word.startswith(b"-")]
    return f"{' '.join(name for name in names if name)} (process {pid})"


class Apt:
    """Speak for dpkg and apt-get."""

    locks = tuple(map(Path, ("/var/lib/dpkg/lock-frontend", "/var/lib/dpkg/lock", "/var/lib/apt/lists/lock")))
    listing = "dpkg-query -W -f '${db:Status-Abbrev}|${Package}|${Provides}\\n'"
    environment = ("DEBIAN_FRONTEND=noninteractive", "NEEDRESTART_SUSPEND=1", "APT_LISTCHANGES_FRONTEND=none")
    # A recommended package is not asked for; a configuration file the operator changed stays.
    options = (
        "-y --no-install-recommends -o Acquire::Retries=3 -o DPkg::Lock::Timeout=300 "
        "-o APT::Keep-Downloaded-Packages=false "
        "-o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold"
    )

    def installed(self) -> dict[str, str]:
        """Map each installed package, and what it provides, to its name."""
        text = "${db:Status-Abbrev}|${Package}|${Provides}\\n"
        status, output = query(["dpkg-query", "-W", "-f", text])
        if status != 0:
            raise Fault(f"dpkg-query failed: {output.strip()}", "run 'dpkg --audit' on the host")
        return parse_dpkg(output)

    def names(self, listed: str) -> set[str]:
        """Return the packages that the listing's output names."""
        return set(parse_dpkg(listed).values())

    def interrupted(self) -> bool:
        """Tell whether an earlier dpkg run was cut off."""
        updates = Path("/var/lib/dpkg/updates")
        return (updates.is_dir() and any(updates.iterdir())) or bool(query(["dpkg", "--audit"])[1].strip())

    def stale(self, max_age: float) -> bool:
        """Tell whether the package lists are missing, old, or older than the sources they come from."""
        refreshed = max((stamp.stat().st_mtime for stamp in STAMPS if stamp.exists()), default=0.0)
        sources = [SOURCES.with_name("sources.list"), SOURCES, *SOURCES.glob("*")]
        changed = max((source.stat().st_mtime for source in sources if source.exists()), default=0.0)
        empty = not any(LISTS.glob("*_Packages*"))
        return empty or refreshed < changed or time.time() - refreshed > max_age

    def script(self, *, repair: bool, refresh: bool, remove: bool) -> str:
        """Return the shell script of a transaction; the packages are its arguments.

        The variable `before` holds a command that has to run once nobody else can install packages.
        """
        steps = [" ".join(REPAIR)] if repair else []
        if refresh:
            steps.append(
                # Without the error mode a mirror that cannot be reached is only a warning.
                "if apt-get update -o Acquire::Retries=3 -o APT::Update::Error-Mode=any; "
                f"then mkdir -p {STAMP.parent}; touch {STAMP}; "
                "else echo 'The package lists were not refreshed; going on with those that are there.'; fi"
            )
        # What cannot be installed may be in fresher lists, so the next attempt fetches them.
        # What somebody else has installed is not to make room for what is asked for here. Of time services
        # there is one at a time, though: the distribution's own goes when another is asked for.
        keep = 'case " $* " in *" chrony "*) keep= ;; *) keep=--no-remove ;; esac'
        steps += [] if remove else [keep]
        verb = "purge" if remove else "install $keep"
        hook = '-o DPkg::Pre-Invoke::="$before"'
        steps.append(f'apt-get {verb} {self.options} {hook} -- "$@" || {{ rm -f {STAMP}; exit 1; }}')
        return "; ".join(steps)

    def would_remove(self, names: list[str]) -> set[str]:
        """Return everything that goes when these packages go."""
        lines = query(["apt-get", "-s", "purge", "--", *names])[1].splitlines()
        return {line.split()[1].split(":")[0] for line in lines if line.startswith(("Remv ", "Purg "))}


class Dnf:
    """Speak for rpm and dnf."""

    locks = (Path("/var/lib/rpm/.rpm.lock"), Path("/usr/lib/sysimage/rpm/.rpm.lock"))
    pid_files = (
        "/var/cache/dnf/metadata_lock.pid",
        "/var/cache/dnf/download_lock.pid",
        "/var/lib/dnf/rpmdb_lock.pid",
    )
    # Names alone are asked for in another way, but systemd reads a percent sign in a command line as its own.
    listing = "rpm -qa"
    environment = ("LC_ALL=C.UTF-8",)

    def installed(self) -> dict[str, str]:
        """Map each installed package, and what it provides, to its name."""
        status, output = query(["rpm", "-qa", "--qf", "%{NAME}|[%{PROVIDENAME} ]\\n"])
        if status != 0:
            raise Fault(f"rpm failed: {output.strip()}", "run 'rpm --rebuilddb' on the host")
        found = {}
        for line in output.splitlines():
            name, _, provides = line.partition("|")
            found.update({word: name for word in provides.split() if "(" not in word})
            found[name] = name
        return found

    def names(self, listed: str) -> set[str]:
        """Return the packages that the listing's output names, each as name-version-release.arch."""
        return {line.rsplit("-", 2)[0] for line in listed.splitlines() if line}

    def interrupted(self) -> bool:
        """Tell whether an earlier transaction was cut off; dnf finds its own way back."""
        return False

    def stale(self, max_age: float) -> bool:
        """Tell whether lists need a refresh of their own; dnf sees to that itself."""
        return max_age < 0

    def script(self, *, repair: bool, refresh: bool, remove: bool) -> str:
        """Return the shell script of a transaction; the packages are its arguments."""
        if remove:
            return 'sh -c "$before"; dnf -y remove --noautoremove -- "$@"'
        fresh = " --refresh" if refresh or repair else ""
        return f'sh -c "$before"; dnf -y install{fresh} --setopt=install_weak_deps=False -- "$@"'

    def would_remove(self, names: list[str]) -> set[str]:
        """Return everything that goes when these packages go; rpm names who would miss them."""
        # Of a kernel's parts there may be several versions, which rpm takes only when it is told to.
        status, said = query(["rpm", "-e", "--test", "--allmatches", *names])
        missed = [line for line in said.splitlines() if "is needed by (installed)" in line]
        if status and not missed:
            raise Fault(
                f"rpm cannot tell what needs {', '.join(names)}: {said.strip()}",
                "repair what it says on the host, then run the same command again",
            )
        # name-version-release.arch
        needed_by = {line.rpartition("(installed) ")[2].rsplit("-", 2)[0] for line in missed}
        return {*names, *needed_by}


def parse_dpkg(output: str) -> dict[str, str]:
    """Map installed packages, and what they provide, to package names."""
    found = {}
    for line in output.splitlines():
        status, name, provides = line.split("|", 2)
        if status.strip() == "ii" or status[1:2] == "i":
            found.update({word.split()[0]: name for word in provides.split(",") if word.strip()})
            found[name] = name
    return found


def manager() -> Apt | Dnf:
    """Return the package manager of this host."""
    if shutil.which("apt-get"):
        return Apt()
    if shutil.which("dnf"):
        return Dnf()
    raise Fault("this host has neither apt-get nor dnf", "use a distribution of the support matrix")


def lock_owner(packages: Apt | Dnf) -> str:
    """Return who holds the package manager's lock, or nothing."""
    holders = [lock_holder(path) for path in packages.locks]
    for path in getattr(packages, "pid_files", ()):
        text = Path(path).read_text(encoding="ascii", errors="replace").strip() if Path(path).exists() else ""
        holders.append(int(text) if text.isdigit() and Path(f"/proc/{text}").exists() else 0)
    return next((process_name(pid) for pid in holders if pid), "")
