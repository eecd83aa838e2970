# SPDX-License-Identifier: Apache-2.0
"""Work with rpm and dnf."""

from __future__ import annotations

import re
import shutil
from functools import cached_property
from pathlib import Path
from typing import Iterable, Mapping

from .. import commands
from ..fault import Fault
from ..settings import read_file, write_file
from .common import NOTHING, QUERY_SECONDS, Allow, Changes, PackageManager

SOURCES = Path("/etc/yum.repos.d")
VERSIONLOCK = Path("/etc/dnf/plugins/versionlock.list")
VERSIONLOCK_PLUGIN = "python3-dnf-plugin-versionlock"
# Has dnf install a version besides the locked one, such as a newer kernel.
UNLOCKED = "--disableplugin=versionlock"
NO_WEAK = "--setopt=install_weak_deps=False"
SECTIONS = ("Installing", "Upgrading", "Downgrading", "Reinstalling", "Removing")


class Dnf(PackageManager):
    """Work with rpm and dnf."""

    program = "dnf"
    locks = (Path("/var/lib/rpm/.rpm.lock"), Path("/usr/lib/sysimage/rpm/.rpm.lock"))
    pid_files = tuple(
        Path("/var") / name
        for name in ("cache/dnf/metadata_lock.pid", "cache/dnf/download_lock.pid", "lib/dnf/rpmdb_lock.pid")
    )
    # There is another way to list names alone, but systemd interprets a percent sign in a command line.
    listing = "rpm -qa"
    environment = ("LC_ALL=C.UTF-8",)
    run_options = ("-y",)
    dry_options, cached_options = ("--assumeno",), ("--assumeno", "-C")
    download_options = ("-y", "--downloadonly")
    # It answers no to its own question, so a simulation always ends as if it had failed.
    failure_sign = "Error:"
    holds_versions = True
    owner_query, version_form = ("rpm", "-qf"), "{}-{}"

    def installed(self) -> dict[str, str]:
        """Map each installed package, and what it provides, to its name."""
        found = {}
        for line in _query("%{NAME}|[%{PROVIDENAME} ]\\n").splitlines():
            name, _, provides = line.partition("|")
            found.update({part: name for part in provides.split() if "(" not in part})
            found[name] = name
        return found

    def versions(self, *names: str) -> dict[str, str]:
        """Return the versions of all installed packages, or of those among these names."""
        listed = _query("%{NAME}|%{EPOCHNUM}:%{VERSION}-%{RELEASE}\\n", *names)
        rows = (line.partition("|") for line in listed.splitlines() if "|" in line)
        # What rpm calls gpg-pubkey is a key, and not a package that could be removed.
        return {name: version for name, _, version in rows if name != "gpg-pubkey"}

    def names_in(self, listed: str) -> set[str]:
        """Return the packages in the output of the listing, each as name-version-release.arch."""
        return {line.rsplit("-", 2)[0] for line in listed.splitlines() if line}

    def offers(self, name: str) -> list[tuple[str, str]]:
        """Return each version of a package that can be installed, with its repository."""
        text = self.query("dnf", "-q", *self._enabled, "list", "--showduplicates", name)
        # A long name has a line of its own.
        found = re.findall(rf"(?<!\S){re.escape(name)}\.\w+\s+(\S+)\s+(\S+)", text)
        return [(version, origin.lstrip("@")) for version, origin in reversed(found)]

    def offered_names(self, prefix: str) -> list[str]:
        """Return the packages that can be installed and whose names begin with a prefix."""
        argv = ("dnf", "-q", *self._enabled, "repoquery", "--qf", "%{name}\\n", f"{prefix}*")
        return sorted(set(self.query(*argv).split()))

    def unavailable(self, spec: str) -> str:
        """Return why a package cannot be installed, empty where it can; locks do not count."""
        argv = ("dnf", "-q", UNLOCKED, "list", "--showduplicates", spec)
        done = commands.call(*argv, seconds=QUERY_SECONDS)
        return (done.stderr.strip() or "it says nothing").splitlines()[-1] if done.returncode else ""

    def candidate(self, _name: str) -> str:
        """Return nothing: the version that would be installed is not known without the network."""
        return ""

    def source(self, repository: str) -> Path:
        """Return the file that defines a repository."""
        return SOURCES / f"{repository}.repo"

    def origin(self, repository: str) -> str:
        """Return the name of a repository, empty where the host does not have it."""
        return repository if self.source(repository).exists() else ""

    def install_command(self, specs: Iterable[str], allow: Allow, options: Iterable[str]) -> list[str]:
        """Return the command that installs packages; older versions are always allowed."""
        more = ["--allowerasing"] * allow.removal + [UNLOCKED] * allow.held
        return ["dnf", *options, *self._enabled, *more, NO_WEAK, "install", "--", *specs]

    def remove_command(self, names: Iterable[str], allow: Allow, options: Iterable[str]) -> list[str]:
        """Return the command that removes packages, but not their dependencies."""
        return ["dnf", *options, *[UNLOCKED] * allow.held, "remove", "--noautoremove", "--", *names]

    def refresh_command(self, repository: str = "") -> list[str]:
        """Return the command that fetches the package lists, or those of one repository alone."""
        only = [f"--repo={repository}"] if repository else []
        return ["dnf", "-y", "--refresh", *only, "makecache"]

    def script(self, *, refresh: bool, remove: bool, allow: Allow = NOTHING) -> str:
        """Return the shell script of a recorded transaction."""
        options = [*self.run_options, *(["--refresh"] if refresh else [])]
        command = (self.remove_command if remove else self.install_command)(['"$@"'], allow, options)
        return f'sh -c "$before"; {" ".join(command)}'

    def changes_in(self, said: str) -> Changes:
        """Return what a simulated transaction would change; its rows are indented by one blank."""
        found: dict[bool, set[str]] = {True: set(), False: set()}
        section: set[str] | None = None
        for line in said.splitlines():
            if line.startswith(SECTIONS):
                section = found[line.startswith("Removing")]
            elif not line.startswith(" "):
                section = None
            elif section is not None and re.match(r" [A-Za-z0-9]", line):
                section.add(line.split()[0])
        return Changes(frozenset(found[False]), frozenset(found[True]))

    def would_remove(self, names: Iterable[str]) -> set[str]:
        """Return every package that is removed along with these, and these."""
        going, needing = set(names), set(names)
        while needing:
            needing = _needing(going) - going
            going |= needing
        return going

    def stale(self, max_age: float) -> bool:
        """Return whether the package lists must be fetched at once; else dnf sees to that itself."""
        return max_age < 0

    def hold_words(self, versions: Mapping[str, str]) -> list[str]:
        """Return the holds of packages: each is one version with its epoch."""
        return [f"{name}-{version}.*" for name, version in versions.items()]

    def held(self) -> list[str]:
        """Return every hold."""
        lines = (line.strip() for line in (read_file(str(VERSIONLOCK)) or "").splitlines())
        return [line for line in lines if line and not line.startswith("#")]

    def hold(self, words: Iterable[str], instead_of: Iterable[str] = ()) -> None:
        """Replace lines in the list of versionlock; the other lines stay as they are."""
        text, ours = read_file(str(VERSIONLOCK)) or "", list(words)
        if ours:
            refuse_dnf5()
        mark, first = self.user.mark, self.user.first
        gone = {mark, *instead_of, *ours} - {""}
        kept = [line for line in text.splitlines() if line.strip() not in gone]
        head = [mark] if mark and ours else []
        lines = "".join(f"{line}\n" for line in ([*ours, *kept] if first else [*kept, *head, *ours]))
        if lines != text:
            write_file(str(VERSIONLOCK), lines)

    @cached_property
    def _enabled(self) -> list[str]:
        """Return the options that enable the additional repositories, as far as the host has them."""
        wanted = self.user.repositories
        known = self.query("dnf", "-q", "repolist", "--all").split() if wanted else []
        return [f"--enablerepo={name}" for name in wanted if name in known]


def refuse_dnf5() -> None:
    """Refuse locks where dnf is dnf5, which does not read this list: they would lock nothing."""
    if Path(shutil.which("dnf") or "").resolve().name == "dnf5":
        raise Fault(
            "dnf is dnf5 on this host, and this tool cannot lock versions with it: an upgrade would "
            "replace the driver, the kernel or the toolkit",
            "use a distribution of the support matrix",
        )


def _needing(names: set[str]) -> set[str]:
    """Return the installed packages that need one of these."""
    # Several versions of a kernel's package may be installed, which rpm accepts only with --allmatches.
    done = commands.call("rpm", "-e", "--test", "--allmatches", *sorted(names), seconds=QUERY_SECONDS)
    text = done.stdout + done.stderr
    missed = [line for line in text.splitlines() if "is needed by (installed)" in line]
    if done.returncode and not missed:
        raise Fault(
            f"rpm cannot determine what needs {', '.join(sorted(names))}: {text.strip()}",
            "repair what rpm reports on the host, then apply again",
        )
    # name-version-release.arch
    return {line.rpartition("(installed) ")[2].rsplit("-", 2)[0] for line in missed}


def _query(form: str, *names: str) -> str:
    done = commands.call("rpm", *(["-q"] if names else ["-qa"]), "--qf", form, *names, seconds=QUERY_SECONDS)
    if done.returncode and not names:
        raise Fault(f"rpm failed: {done.stderr.strip()}", "run `rpm --rebuilddb` on the host")
    return done.stdout
