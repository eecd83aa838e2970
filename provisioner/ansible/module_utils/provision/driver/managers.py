# SPDX-License-Identifier: Apache-2.0
"""Install, change and remove the packages of a driver with apt or dnf, at one exact version."""

from __future__ import annotations

import re
import shutil
import time
from pathlib import Path
from typing import Callable, Iterable

from ..host.commands import call
from ..host.fault import Fault
from ..host.packages import REPAIR, Apt, Dnf, lock_owner
from .installed import listed
from .packages import STREAM_MODULE, driver_version, is_family
from .process import attempt, run

QUERY_SECONDS = 120
LOCK_PAUSE = 2.0
APT = [
    "-y",
    "--no-install-recommends",
    *("-o", "Acquire::Retries=3"),
    *("-o", "DPkg::Lock::Timeout=300"),
    *("-o", "Dpkg::Options::=--force-confdef"),
    *("-o", "Dpkg::Options::=--force-confold"),
]
FORCED = ["--allow-downgrades", "--allow-change-held-packages"]
QUIET = {"DEBIAN_FRONTEND": "noninteractive", "NEEDRESTART_SUSPEND": "1", "APT_LISTCHANGES_FRONTEND": "none"}
PINS = Path("/etc/apt/preferences.d/provision-nvidia-driver")
STREAM = Path(f"/etc/dnf/modules.d/{STREAM_MODULE}.module")
REPOSITORY = "provision-nvidia"
# Packages of EPEL need what these hold; they are asked for this one transaction, and stay as they are.
OPTIONAL = ("crb", "powertools")
_BRANCH = re.compile(r"-[0-9]{3}(?=-|$)")


class AptDriver:
    """Speak to apt about a driver."""

    packages = Apt()
    locks = packages.locks

    def refresh(self, *, strict: bool) -> None:
        """Fetch the lists of our repository, which must succeed where it is used; others may fail."""
        source = f"/etc/apt/sources.list.d/{REPOSITORY}.sources"
        if strict and Path(source).exists():
            only = ["-o", f"Dir::Etc::sourcelist={source}", "-o", "Dir::Etc::sourceparts=-"]
            only += ["-o", "APT::Get::List-Cleanup=0", "-o", "APT::Update::Error-Mode=any"]
            run(["apt-get", "update", *only], "reading the list of NVIDIA's repository", environment=QUIET)
        attempt(["apt-get", "update", "-o", "Acquire::Retries=3"], environment=QUIET)

    def versions(self, name: str, *, ours: bool | None = None) -> list[str]:
        """Return every version of a package: from our repository, from the others, or from any."""
        rows = [line.split("|") for line in _said("apt-cache", "madison", name).splitlines()]
        url = self._url()
        return [
            row[1].strip()
            for row in rows
            if len(row) > 2 and (ours is None or not url or row[2].strip().startswith(url) is ours)
        ]

    def branches(self, name: str) -> list[str]:
        """Return the names that a package of the driver has in each branch: here, branches have packages."""
        unbranched = _BRANCH.sub("", name)
        names = _said("apt-cache", "pkgnames", unbranched.partition("-server")[0]).split()
        return sorted(each for each in names if _BRANCH.sub("", each) == unbranched)

    def _url(self) -> str:
        """Return the address of our repository, as apt writes it; empty where there is none."""
        source = Path(f"/etc/apt/sources.list.d/{REPOSITORY}.sources")
        text = source.read_text(encoding="utf-8") if source.exists() else ""
        found = re.search(r"(?m)^URIs: (\S+)", text)
        return found.group(1).rstrip("/") if found else ""

    def prepare(self, streams: tuple[str, ...]) -> None:
        """Do what has to come before versions can be listed: nothing here, where there are no streams."""

    def pin(self, version: str) -> None:
        """Have every package of the driver that comes along come at this version."""
        PINS.write_text(pins(version), encoding="ascii")

    def unpin(self) -> None:
        """Let versions be chosen freely again."""
        PINS.unlink(missing_ok=True)

    def check(self, specs: list[str]) -> None:
        """Refuse what would change a kernel or remove what is no driver."""
        code, _ = attempt(["apt-get", "-s", *APT, *FORCED, "install", "--", *specs], environment=QUIET)
        if code:
            return  # The transaction itself says why, and changes nothing then.
        text = _said("apt-get", "-s", *APT, *FORCED, "install", "--", *specs)
        gone = {line.split()[1] for line in text.splitlines() if line.startswith("Remv ")}
        come = {line.split()[1] for line in text.splitlines() if line.startswith("Inst ")}
        refuse_strangers(gone, come)

    def fetch(self, specs: list[str]) -> None:
        """Download packages and install none, so that what follows is short."""
        argv = ["apt-get", *APT, *FORCED, "--download-only", "install", "--", *specs]
        run(argv, "downloading the driver", environment=QUIET)

    def install(self, specs: list[str], what: str, *, erase: bool = False) -> None:
        """Install packages; a spec may name a version. What conflicts goes, which `check` has looked at."""
        _ = erase
        run(["apt-get", *APT, *FORCED, "install", "--", *specs], what, environment=QUIET)

    def spec(self, name: str, version: str) -> str:
        """Return how a package of one version is named."""
        return f"{name}={version}"

    def remove(self, names: Iterable[str]) -> None:
        """Remove packages with their configuration, and nothing that they brought."""
        gone = self.packages.would_remove(sorted(names))
        refuse_strangers(gone, set(), "removing the driver")
        argv = ["apt-get", *APT, "--allow-change-held-packages", "purge", "--", *sorted(names)]
        run(argv, "removing packages", environment=QUIET)

    def leave(self) -> None:
        """Do nothing: there are no streams here."""

    def repair(self) -> None:
        """Finish what an earlier run of dpkg left half done."""
        if self.packages.interrupted():
            run(REPAIR, "finishing an interrupted run of dpkg", environment=QUIET)


class DnfDriver:
    """Speak to dnf about a driver."""

    packages = Dnf()
    locks = packages.locks

    def __init__(self) -> None:
        known = _said("dnf", "-q", "repolist", "--all").split()
        self.options = [f"--enablerepo={name}" for name in OPTIONAL if name in known]

    def refresh(self, *, strict: bool) -> None:
        """Fetch the lists of our repository, which must succeed where it is used."""
        if strict and Path(f"/etc/yum.repos.d/{REPOSITORY}.repo").exists():
            argv = ["dnf", "-y", "--refresh", f"--repo={REPOSITORY}", "makecache"]
            run(argv, "reading the list of NVIDIA's repository")

    def versions(self, name: str, *, ours: bool | None = None) -> list[str]:
        """Return every version of a package: from our repository, from the others, or from any."""
        text = _said("dnf", "-q", *self.options, "list", "--showduplicates", name)
        words, there = text.split(), Path(f"/etc/yum.repos.d/{REPOSITORY}.repo").exists()
        found = [
            words[at + 1]
            for at, word in enumerate(words[:-2])
            if re.fullmatch(rf"{re.escape(name)}\.\w+", word)
            and (ours is None or not there or (words[at + 2].lstrip("@") == REPOSITORY) is ours)
        ]
        return found[::-1]

    def branches(self, name: str) -> list[str]:
        """Return the one name that a package of the driver has in every branch."""
        return [name]

    def prepare(self, streams: tuple[str, ...]) -> None:
        """Enable the module stream of a branch, without which modular filtering hides its packages."""
        if not streams:
            return
        offered = set(_said("dnf", "-q", "module", "list", STREAM_MODULE).split())
        chosen = next((stream for stream in streams if stream in offered), "")
        if not chosen:
            raise Fault(
                f"NVIDIA's repository has none of the module streams {', '.join(streams)}",
                "see `dnf module list nvidia-driver` on the host, and choose a branch that it lists",
            )
        text = STREAM.read_text(encoding="ascii") if STREAM.exists() else ""
        if f"stream={chosen}\n" in text and "state=enabled" in text:
            return
        run(["dnf", "-y", "module", "reset", STREAM_MODULE], "leaving the module stream")
        run(["dnf", "-y", "module", "enable", f"{STREAM_MODULE}:{chosen}"], "enabling the module stream")

    def pin(self, version: str) -> None:
        """Do nothing: packages of one version ask for each other here."""

    def unpin(self) -> None:
        """Do nothing: nothing was pinned."""

    def check(self, specs: list[str]) -> None:
        """Refuse what would remove what is no driver; kernels are locked before the transaction."""
        argv = self._argv(specs, "--assumeno", "--allowerasing")
        # dnf ends with an error here, because nobody agrees; what it would do, it prints.
        refuse_strangers(set(removals(_said(*(word for word in argv if word != "-y")))), set())

    def fetch(self, specs: list[str]) -> None:
        """Download packages and install none, so that what follows is short."""
        run(self._argv(specs, "--downloadonly", "--allowerasing"), "downloading the driver")

    def install(self, specs: list[str], what: str, *, erase: bool = False) -> None:
        """Install packages; a spec may name a version. Only with `erase`, what conflicts goes."""
        run(self._argv(specs, *(["--allowerasing"] * erase)), what)

    def spec(self, name: str, version: str) -> str:
        """Return how a package of one version is named."""
        return f"{name}-{version}"

    def remove(self, names: Iterable[str]) -> None:
        """Remove packages, and nothing that they brought."""
        options = ["--noautoremove", "--setopt=clean_requirements_on_remove=False"]
        words = ["remove", *options, "--disableplugin=versionlock", *sorted(names)]
        refuse_strangers(set(removals(_said("dnf", "--assumeno", *words))), set(), "removing the driver")
        run(["dnf", "-y", *words], "removing packages")

    def repair(self) -> None:
        """Do nothing: dnf finds its own way back."""

    def leave(self) -> None:
        """Forget the module stream, which is no use without a driver."""
        if STREAM.exists():
            run(["dnf", "-y", "module", "reset", STREAM_MODULE], "leaving the module stream")

    def _argv(self, specs: list[str], *more: str) -> list[str]:
        weak = "--setopt=install_weak_deps=False"
        return ["dnf", "-y", *self.options, *more, weak, "install", "--", *specs]


def driver_manager() -> AptDriver | DnfDriver:
    """Return the package manager of this host."""
    return AptDriver() if shutil.which("apt-get") else DnfDriver()


def wait_for_lock(manager: AptDriver | DnfDriver, seconds: float, say: Callable[[str], None]) -> None:
    """Wait until nobody else changes packages; raises Fault when that takes too long."""
    deadline = time.monotonic() + seconds
    while True:
        owner = lock_owner(manager.packages)
        if not owner:
            return
        say(f"waiting for {owner}")
        if time.monotonic() > deadline:
            raise Fault(
                f"{owner} has held the package manager's lock for {seconds:.0f} s",
                "wait for it to end or stop it, then apply again",
            )
        time.sleep(LOCK_PAUSE)


def pins(version: str) -> str:
    """Return apt preferences that keep a whole driver at one version, whatever a dependency would take."""
    names = "*nvidia* libcuda1* libcudadebugger1* libnvcuvid1* libnvsdm* cuda-drivers*"
    return (
        "# Written by provision: the packages of a driver work at one version only.\n"
        f"Package: {names}\nPin: version {version}-*\nPin-Priority: 1001\n"
    )


def refuse_strangers(gone: set[str], come: set[str], doing: str = "installing the driver") -> None:
    """Refuse a transaction that removes what is no driver, or that brings another kernel."""
    strangers = sorted(name for name in gone if not is_family(name))
    kernels = sorted(name for name in come if re.match(r"linux-image-|linux-generic|kernel(-core)?$", name))
    if strangers:
        raise Fault(
            f"{doing} would remove {', '.join(strangers)}",
            "these packages need another driver or kernel: remove them by hand if they are not needed",
        )
    if kernels:
        raise Fault(
            f"{doing} would bring another kernel: {', '.join(kernels)}",
            "bring the host's kernel up to date first, reboot, then apply again",
        )


def removals(text: str) -> list[str]:
    """Return the packages that dnf says it would remove; a long name stands alone before the rest."""
    found, removing, broken = [], False, False
    for line in text.splitlines():
        words = line.split()
        if re.match(r"\S.*:$", line):
            removing, broken = line.startswith("Removing"), False
        elif not words or not line.startswith(" "):
            removing = False
        elif removing:
            found += [] if broken else [words[0]]
            broken = len(words) == 1
    return found


def present(names: Iterable[str]) -> list[str]:
    """Return which packages are not installed yet, of those named."""
    there = listed()
    return [name for name in names if name not in there]


def choose_version(versions: list[str], wanted: list[str]) -> str | None:
    """Return the newest of the package versions whose driver version begins with these numbers."""
    suitable = [
        version
        for version in versions
        if (found := driver_version(version)) and found.split(".")[: len(wanted)] == wanted
    ]
    return max(suitable, key=lambda version: [int(n) for n in re.findall(r"[0-9]+", version)], default=None)


def _said(*argv: str) -> str:
    return str(call(*argv, seconds=QUERY_SECONDS).stdout)
