# SPDX-License-Identifier: Apache-2.0
"""Let apt or dnf bring and take CUDA toolkits, after a look at what a transaction would do besides."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

from ..driver.packages import is_family
from ..host.commands import call
from ..host.fault import Fault
from ..host.packages import Apt, Dnf
from .versions import Toolkit, suffix

QUERY_SECONDS = 300
# Packages that bring a driver, and kernels; a toolkit has no need of either.
NEVER = re.compile(
    r"cuda(-[0-9]+-[0-9]+)?|cuda-(runtime|demo-suite)-.*|nvidia-fs.*|nvidia-gds.*"
    r"|linux-image-.*|kernel(-core|-modules.*|-rt.*)?"
)
SECTIONS = ("Installing", "Upgrading", "Downgrading", "Reinstalling", "Removing")
NO_SUCH = (
    "NVIDIA's repository has no such version for this distribution: name another in cuda_toolkit_versions, "
    "or set cuda_toolkit_source: runfile"
)
NOT_EXACT = (
    "that very version is not in the repository: ask for 13.0 in place of 13.0.2 to get the newest of it"
)
NEW_KEY = (
    "the repository is signed with another key than the pinned one: see if NVIDIA has announced it, then "
    "give its fingerprint in nvidia_driver_repository_keys"
)
ADVICE = (
    (("Unable to locate", "No match for", "Unable to find a match", "has no installation"), NO_SUCH),
    ((" was not found", "Version '"), NOT_EXACT),
    (("GPG check FAILED", "NO_PUBKEY", "is not signed", "BADSIG"), NEW_KEY),
    (("No space left on device", "not enough free space"), "free space on the host, then apply again"),
    (
        ("Could not resolve", "Temporary failure", "Cannot download"),
        "see whether the host reaches its mirrors",
    ),
)


def advice(text: str) -> str:
    """Return what to do about a transaction that failed with this output."""
    for signs, step in ADVICE:
        if any(sign in text for sign in signs):
            return step
    return "read 'journalctl -u provision-job-cuda' on the host, then apply again"


def listed(packages: Apt | Dnf) -> dict[str, str]:
    """Map each installed package to its version."""
    if isinstance(packages, Apt):
        argv = ["dpkg-query", "-W", "-f", "${db:Status-Abbrev}|${Package}|${Version}\\n"]
    else:
        argv = ["rpm", "-qa", "--qf", "ii |%{NAME}|%{EPOCHNUM}:%{VERSION}-%{RELEASE}\\n"]
    done = call(*argv)
    if done.returncode:
        raise Fault(f"{argv[0]} failed: {done.stderr.strip()}", "repair the package manager first")
    rows = [line.split("|") for line in done.stdout.splitlines()]
    return {row[1]: row[2] for row in rows if len(row) == 3 and row[0][1:2] == "i"}


def names(packages: Apt | Dnf, toolkit: Toolkit) -> list[str]:
    """Return what the package manager is asked for."""
    if not toolkit.exact:
        return [toolkit.package]
    between = "=" if isinstance(packages, Apt) else "-"
    return [f"{toolkit.package}{between}{toolkit.exact}-*"]


def install_words(packages: Apt | Dnf, wanted: list[str], *, exact: bool) -> list[str]:
    """Return the command that installs."""
    if isinstance(packages, Apt):
        older = ["--allow-downgrades"] if exact else []
        return ["apt-get", "install", *shlex.split(packages.options), *older, "--", *wanted]
    return ["dnf", "-y", "install", "--setopt=install_weak_deps=False", "--", *wanted]


def simulate(packages: Apt | Dnf, wanted: list[str], *, exact: bool, offline: bool = False) -> list[str]:
    """Return the packages that installing would change; raises Fault where it cannot be done."""
    words = install_words(packages, wanted, exact=exact)
    if isinstance(packages, Apt):
        words.insert(1, "-s")
    else:
        words[1:2] = ["--assumeno", *(["-C"] if offline else [])]
    done = call(*words, seconds=QUERY_SECONDS)
    said = done.stdout + done.stderr
    changes = _of_apt(said) if isinstance(packages, Apt) else of_dnf(said)
    # dnf says no to itself, so it always ends as if it had failed.
    failed = done.returncode and (isinstance(packages, Apt) or "Error:" in said)
    if failed:
        tail = "\n".join(said.strip().splitlines()[-6:])
        raise Fault(f"{' '.join(wanted)} cannot be installed:\n{tail}", advice(said))
    return changes


def refuse_drivers(changes: list[str], toolkit: Toolkit) -> None:
    """Refuse a transaction that would touch a driver or a kernel."""
    wrong = sorted({name for name in changes if NEVER.fullmatch(name) or is_family(name)})
    if wrong:
        raise Fault(
            f"installing {toolkit} would change {', '.join(wrong)}, and a toolkit never touches a driver or "
            "a kernel: nothing was installed",
            "see what needs it with `apt-get -s install` or `dnf --assumeno install` on the host; "
            "cuda_toolkit_source: runfile brings a toolkit without the package manager",
        )


def _of_apt(said: str) -> list[str]:
    lines = [line.split() for line in said.splitlines() if line.startswith(("Inst ", "Remv ", "Purg "))]
    return [words[1].partition(":")[0] for words in lines]


def of_dnf(said: str) -> list[str]:
    """Return the packages of a transaction as dnf lists it; a long name has a line of its own."""
    changes, inside = [], False
    for line in said.splitlines():
        if line.startswith(SECTIONS):
            inside = True
        elif not line.startswith(" "):
            inside = False
        elif inside and re.match(r" [A-Za-z0-9]", line) and not line.startswith(" replacing"):
            changes.append(line.split()[0])
    return changes


def removable(packages: Apt | Dnf, release: str, brought: list[str]) -> tuple[list[str], list[str]]:
    """Return the packages that nothing else needs, or else who needs the release's own ones."""
    going = set(brought)
    shared = {name for name in going if not name.endswith(suffix(release))}
    while going:
        strangers = packages.would_remove(sorted(going)) - going
        if not strangers:
            break
        # What several releases share stays as long as one of them is there.
        needed = {name for name in going & shared if packages.would_remove([name]) - going}
        if not needed:
            return [], sorted(strangers)
        going -= needed
    return sorted(going), []


def held_words(packages: Apt | Dnf, brought: list[str]) -> list[str]:
    """Return how each package is named to be held at the version that is installed."""
    if isinstance(packages, Apt):
        return sorted(brought)
    form = "%{NAME}-%{EPOCHNUM}:%{VERSION}-%{RELEASE}.*\\n"
    return sorted(call("rpm", "-q", "--qf", form, *brought).stdout.split())


def are_held(packages: Apt | Dnf, words: list[str], versionlock: Path) -> bool:
    """Tell whether packages are still held."""
    if isinstance(packages, Apt):
        now = call("apt-mark", "showhold").stdout.split()
    else:
        now = versionlock.read_text(encoding="utf-8").splitlines() if versionlock.exists() else []
    return set(words) <= set(now)


def hold(packages: Apt | Dnf, words: list[str], versionlock: Path, *, on: bool) -> None:
    """Hold packages, or let them go."""
    if not words:
        return
    if isinstance(packages, Apt):
        call("apt-mark", "hold" if on else "unhold", *words)
        return
    now = versionlock.read_text(encoding="utf-8").splitlines() if versionlock.exists() else []
    # At its beginning: the locks of the driver are a part of the file that reaches to its end.
    kept = (words if on else []) + [line for line in now if line not in words]
    versionlock.parent.mkdir(parents=True, exist_ok=True)
    fresh = versionlock.with_name(versionlock.name + ".provision")
    fresh.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")
    fresh.replace(versionlock)


def environment(packages: Apt | Dnf) -> dict[str, str]:
    """Return the variables that the package manager wants."""
    pairs: list[Any] = [word.partition("=") for word in packages.environment]
    return {name: value for name, _, value in pairs}
