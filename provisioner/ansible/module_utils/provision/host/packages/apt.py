# SPDX-License-Identifier: Apache-2.0
"""Work with dpkg and apt."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Iterable, Mapping

from .. import commands
from ..fault import Fault
from ..files import keep_json, read_json
from ..paths import text_of
from .common import NOTHING, QUERY_SECONDS, Allow, Changes, PackageManager

STAMP = Path("/run/provision/apt-refreshed")
STAMPS = (STAMP, Path("/var/lib/apt/periodic/update-success-stamp"))
LISTS = Path("/var/lib/apt/lists")
SOURCES = Path("/etc/apt/sources.list.d")
UPDATES = Path("/var/lib/dpkg/updates")
# The holds before a change that has not ended: a killed one is followed by another.
HOLDS = Path("/var/lib/provision/packages.holds.json")
# apt and dpkg forget the hold of a package that they change, also where it is only installed again.
AGAIN = (
    'apt-mark showhold > "$record/held"\n'
    "again() { while read -r one; do case $(dpkg-query -W -f '${db:Status-Abbrev}' \"$one\") in "
    '?i*) apt-mark hold "$one" ;; esac; done < "$record/held"; }\n'
)
RETRIES = ("-o", "Acquire::Retries=3")
# Without it, a mirror that cannot be reached is only a warning.
STRICT = ("-o", "APT::Update::Error-Mode=any")
# What apt says where a hold may be what stops it; its solver of version 3 does not speak of holds.
HELD_BACK = re.compile(
    r"held broken packages|Held packages were changed|unmet dependencies|Unable to satisfy dependencies"
    r"|selected for (hold|keep)|on hold"
)
MOST_HELD = 8
# Recommended packages are not installed; a configuration file that the operator has changed stays.
OPTIONS = (
    "-y",
    "--no-install-recommends",
    *RETRIES,
    *("-o", "DPkg::Lock::Timeout=300"),
    *("-o", "APT::Keep-Downloaded-Packages=false"),
    *("-o", "Dpkg::Options::=--force-confdef"),
    *("-o", "Dpkg::Options::=--force-confold"),
)


class Apt(PackageManager):
    """Work with dpkg and apt-get."""

    program = "apt-get"
    locks = tuple(map(Path, ("/var/lib/dpkg/lock-frontend", "/var/lib/dpkg/lock", "/var/lib/apt/lists/lock")))
    listing = "dpkg-query -W -f '${db:Status-Abbrev}|${Package}|${Provides}\\n'"
    keep_holds = AGAIN
    environment = ("DEBIAN_FRONTEND=noninteractive", "NEEDRESTART_SUSPEND=1", "APT_LISTCHANGES_FRONTEND=none")
    dry_options = cached_options = ("-s",)
    download_options = ("--download-only",)
    repair_command = ("dpkg", "--force-confdef", "--force-confold", "--configure", "-a")
    owner_query, version_form = ("dpkg-query", "-S"), "{}={}"

    def installed(self) -> dict[str, str]:
        """Map each installed package, and what it provides, to its name."""
        return parse(_query("${db:Status-Abbrev}|${Package}|${Provides}\\n"))

    def versions(self, *names: str) -> dict[str, str]:
        """Return the versions of all installed packages, or of those among these names."""
        listed = _query("${db:Status-Abbrev}|${Package}|${Version}\\n", *names)
        rows = (line.split("|") for line in listed.splitlines())
        return {row[1]: row[2] for row in rows if len(row) == 3 and row[0][1:2] == "i"}

    def names_in(self, listed: str) -> set[str]:
        """Return the packages in the output of the listing."""
        return set(parse(listed).values())

    def offers(self, name: str) -> list[tuple[str, str]]:
        """Return each version of a package that can be installed, with the address of its repository."""
        rows = (line.split("|") for line in self.query("apt-cache", "madison", name).splitlines())
        return [(row[1].strip(), row[2].strip()) for row in rows if len(row) > 2]

    def offered_names(self, prefix: str) -> list[str]:
        """Return the packages that can be installed and whose names begin with a prefix."""
        return self.query("apt-cache", "pkgnames", prefix).split()

    def unavailable(self, spec: str) -> str:
        """Return why a package cannot be installed, empty where it can."""
        return "" if self.offers(spec) else "no repository has it"

    def candidate(self, name: str) -> str:
        """Return the version that would be installed, by the lists that the host has."""
        found = re.search(r"(?m)^ *Candidate: *([0-9]\S*)", self.query("apt-cache", "policy", name))
        return found.group(1) if found else ""

    def source(self, repository: str) -> Path:
        """Return the file that defines a repository."""
        return SOURCES / f"{repository}.sources"

    def origin(self, repository: str) -> str:
        """Return the address of a repository, empty where the host does not have it."""
        found = re.search(r"(?m)^URIs: (\S+)", text_of(self.source(repository)))
        return found.group(1).rstrip("/") if found else ""

    def install_command(self, specs: Iterable[str], allow: Allow, options: Iterable[str]) -> list[str]:
        """Return the command that installs packages."""
        keep = [] if allow.removal else ["--no-remove"]
        return ["apt-get", "install", *OPTIONS, *_allowed(allow), *keep, *options, "--", *specs]

    def remove_command(self, names: Iterable[str], allow: Allow, options: Iterable[str]) -> list[str]:
        """Return the command that removes packages with their configuration."""
        return ["apt-get", "purge", *OPTIONS, *_allowed(allow), *options, "--", *names]

    def refresh_command(self, repository: str = "") -> list[str]:
        """Return the command that fetches the package lists, or those of one repository alone."""
        alone = ["-o", f"Dir::Etc::sourcelist={self.source(repository)}", "-o", "Dir::Etc::sourceparts=-"]
        alone += ["-o", "APT::Get::List-Cleanup=0"]
        return ["apt-get", "update", *RETRIES, *STRICT, *(alone if repository else ())]

    def refresh(self, repository: str = "", *, strict: bool = True) -> None:
        """Fetch the package lists, and note when all of them were fetched."""
        super().refresh(repository, strict=strict)
        if strict and not repository:
            STAMP.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            STAMP.touch()

    def script(self, *, refresh: bool, remove: bool, allow: Allow = NOTHING) -> str:
        """Return the shell script of a recorded transaction, in which only apt itself must succeed."""
        steps = [" ".join(self.repair_command)] if self.interrupted() else []
        if refresh:
            steps.append(
                f"if {' '.join(self.refresh_command())}; then mkdir -p {STAMP.parent}; touch {STAMP}; "
                "else echo 'The package lists were not refreshed; continuing with the existing ones.'; fi"
            )
        # By then, no one else can install packages.
        hook = ['-o DPkg::Pre-Invoke::="$before"']
        command = (self.remove_command if remove else self.install_command)(['"$@"'], allow, hook)
        # A package that cannot be installed may be in newer lists, so the next attempt fetches them.
        return "; ".join([*steps, f"{' '.join(command)} || {{ rm -f {STAMP}; exit 1; }}"])

    def attempt(self, argv: list[str]) -> tuple[int, str]:
        """Run a command to its end; what was on hold before is on hold after it, unless it was removed."""
        if argv[1] == "update":
            return super().attempt(argv)
        before = sorted({*self.held(), *read_json(HOLDS, [])})
        keep_json(HOLDS, before, 0o644)
        try:
            return super().attempt(argv)
        finally:
            self.hold_again(before)
            keep_json(HOLDS, [], 0o644)

    def hold_again(self, words: Iterable[str]) -> None:
        """Put back holds that a change has dropped."""
        lost = set(words) - set(self.held()) if words else set()
        installed = self.versions(*sorted(lost)) if lost else {}
        left = [word for word in lost if word.partition(":")[0] in installed]
        if left:
            self.hold(left)

    def failure(self, message: str, said: str) -> Fault:
        """Return the fault of a command; where a hold may be the cause, with the holds of this host."""
        fault = super().failure(message, said)
        held = self.held() if HELD_BACK.search(said) else []
        if held:
            listed = ", ".join(held[:MOST_HELD]) + (" and others" if len(held) > MOST_HELD else "")
            fault.next_step += (
                f"; on hold are {listed} (`apt-mark showhold`): if one of them is in the way, "
                "release it with `apt-mark unhold`, apply again, and hold it again"
            )
        return fault

    def changes_in(self, said: str) -> Changes:
        """Return what a simulated transaction would change."""
        rows = [line.split() for line in said.splitlines() if line.startswith(("Inst ", "Remv ", "Purg "))]
        found = [(row[0], row[1].partition(":")[0]) for row in rows]
        return Changes(
            frozenset(name for verb, name in found if verb == "Inst"),
            frozenset(name for verb, name in found if verb != "Inst"),
        )

    def would_remove(self, names: Iterable[str]) -> set[str]:
        """Return every package that is removed along with these, and these."""
        return set(self.changes_in(self.query("apt-get", "-s", "purge", "--", *sorted(names))).removed)

    def interrupted(self) -> bool:
        """Return whether an earlier run of dpkg was interrupted."""
        return (UPDATES.is_dir() and any(UPDATES.iterdir())) or bool(self.query("dpkg", "--audit").strip())

    def stale(self, max_age: float) -> bool:
        """Return whether the package lists are missing, older than this, or older than their sources."""
        refreshed = max((stamp.stat().st_mtime for stamp in STAMPS if stamp.exists()), default=0.0)
        sources = [SOURCES.with_name("sources.list"), SOURCES, *SOURCES.glob("*")]
        changed = max((source.stat().st_mtime for source in sources if source.exists()), default=0.0)
        empty = not any(LISTS.glob("*_Packages*"))
        return empty or refreshed < changed or time.time() - refreshed > max_age

    def hold_words(self, versions: Mapping[str, str]) -> list[str]:
        """Return the holds of packages, which are their names."""
        return list(versions)

    def held(self) -> list[str]:
        """Return every hold."""
        return self.query("apt-mark", "showhold").split()

    def hold(self, words: Iterable[str], instead_of: Iterable[str] = ()) -> None:
        """Replace holds by others."""
        wanted = set(words)
        for verb, names in (("unhold", set(instead_of) & set(self.held()) - wanted), ("hold", wanted)):
            if names:
                step = f"run `apt-mark {verb}` on the host"
                commands.need("apt-mark", verb, *sorted(names), seconds=QUERY_SECONDS, next_step=step)


def parse(listed: str) -> dict[str, str]:
    """Map installed packages, and what they provide, to package names."""
    found = {}
    for line in listed.splitlines():
        status, name, provides = line.split("|", 2)
        if status[1:2] == "i":
            found.update({part.split()[0]: name for part in provides.split(",") if part.strip()})
            found[name] = name
    return found


def _allowed(allow: Allow) -> list[str]:
    return ["--allow-downgrades"] * allow.older + ["--allow-change-held-packages"] * allow.held


def _query(form: str, *names: str) -> str:
    done = commands.call("dpkg-query", "-W", "-f", form, *names, seconds=QUERY_SECONDS)
    # One that is not installed makes it fail, although it lists the others.
    if done.returncode and not names:
        raise Fault(f"dpkg-query failed: {done.stderr.strip()}", "run `dpkg --audit` on the host")
    return done.stdout
