# SPDX-License-Identifier: Apache-2.0
"""Bring CUDA toolkits about on a host, and take away those of ours that are no longer wanted."""

from __future__ import annotations

import shutil
import time
from functools import partial
from pathlib import Path
from typing import Any

from ..host.fault import Fault, undo
from ..host.packages import REPAIR, STAMP, Apt, Dnf, lock_owner, manager
from ..jobs.progress import Progress
from . import packages as cuda_packages
from .place import MARKER, Layout, forget_alternative, is_bare
from .runfile import Runfiles, command
from .versions import PACKAGES, RUNFILE, Toolkit, directory, suffix

LISTS_SECONDS = 86400


class Install:
    """The toolkits of one host on their way."""

    def __init__(self, spec: dict[str, Any], progress: Progress) -> None:
        self.spec = spec
        self.progress = progress
        self.layout = Layout(**{key: Path(value) for key, value in spec["layout"].items()})
        self.runfiles = Runfiles(spec, progress, self.layout)
        self._packages: Apt | Dnf | None = None

    @property
    def packages(self) -> Apt | Dnf:
        """Return the package manager of this host."""
        self._packages = self._packages or manager()
        return self._packages

    def run(self) -> dict[str, Any]:
        """Do everything that is to be done: first what goes, since what comes may lie in its place."""
        toolkits = [Toolkit(**given) for given in self.spec["install"]]
        # Nothing goes before what is to come in its place is here and whole.
        self.runfiles.fetch([one for one in toolkits if one.source == RUNFILE])
        for release in self.spec["remove"]:
            self.take_away(release)
        for toolkit in toolkits:
            if toolkit.source == PACKAGES:
                self.from_packages(toolkit)
            else:
                self.runfiles.install(toolkit)
        return {"changed": True}

    def take_away(self, release: str) -> None:
        """Remove a toolkit of ours."""
        entry, place = self.layout.entries().get(release), directory(self.layout.root, release)
        if entry is None:
            return  # an order that has been carried out between two looks at it
        self.progress.label = f"removing CUDA {release}"
        if entry.get("source") == RUNFILE:
            if place.is_dir() and not place.is_symlink():
                (place / MARKER).unlink(missing_ok=True)
                shutil.rmtree(str(place))
            forget_alternative(place)
        else:
            self.purge(release, entry)
        self.layout.note(release, None)

    def purge(self, release: str, entry: dict[str, Any]) -> None:
        """Let the package manager take what came with a release and nothing else needs."""
        found = cuda_packages.listed(self.packages)
        brought = [name for name in entry.get("packages", []) if name in found]
        self.wait_for_lock()
        going, _ = cuda_packages.removable(self.packages, release, brought)
        cuda_packages.hold(self.packages, entry.get("held", []), self.layout.versionlock, on=False)
        if going:
            script = "before=true; " + self.packages.script(
                repair=self.packages.interrupted(), refresh=False, remove=True
            )
            try:
                self.transaction(["/bin/sh", "-ec", script, "sh", *going], f"removing CUDA {release}")
            except BaseException as error:
                undo(error, partial(self.hold_again, entry.get("held", [])))
                raise
        if is_bare(directory(self.layout.root, release)):
            shutil.rmtree(str(directory(self.layout.root, release)), ignore_errors=True)
        self.inherit(release, sorted(set(brought) - set(going)))

    def inherit(self, release: str, left: list[str]) -> None:
        """Give what stays for the sake of another release to that one."""
        for other, entry in self.layout.entries().items():
            if other != release and entry["source"] == PACKAGES and left:
                both = sorted({*entry["packages"], *left})
                self.layout.note(other, dict(entry, packages=both))
                return

    def from_packages(self, toolkit: Toolkit) -> None:
        """Let the package manager bring a toolkit, once it is known that no driver comes along."""
        self.progress.label = f"{toolkit}: asking the package manager"
        self.wait_for_lock()
        self.refresh()
        held = self.layout.entries().get(toolkit.release, {}).get("held", [])
        # What is held cannot be changed, nor can it be asked what would change.
        cuda_packages.hold(self.packages, held, self.layout.versionlock, on=False)
        try:
            note = self.transact(toolkit, held)
        except BaseException as error:
            undo(error, partial(self.hold_again, held))
            raise
        found = cuda_packages.listed(self.packages)
        if toolkit.package not in found:
            raise Fault(
                f"the package manager ended well, but {toolkit.package} did not come",
                "read 'journalctl -u provision-job-cuda' on the host",
            )
        note["packages"] = [name for name in note["packages"] if name in found]
        note["held"] = self.hold(toolkit, note["packages"], found)
        self.layout.note(toolkit.release, note)

    def transact(self, toolkit: Toolkit, held: list[str]) -> dict[str, Any]:
        """Install the packages of a toolkit, and return what is to be noted of them."""
        before = cuda_packages.listed(self.packages)
        wanted = cuda_packages.names(self.packages, toolkit)
        changes = cuda_packages.simulate(self.packages, wanted, exact=bool(toolkit.exact))
        cuda_packages.refuse_drivers(changes, toolkit)
        entry = self.layout.entries().get(toolkit.release, {})
        ours = sorted({*entry.get("packages", []), *(name for name in changes if name not in before)})
        note = {"source": PACKAGES, "version": toolkit.exact, "packages": ours, "held": held}
        self.layout.note(toolkit.release, dict(note, unfinished=True))
        words = cuda_packages.install_words(self.packages, wanted, exact=bool(toolkit.exact))
        self.transaction(words, f"installing {toolkit}")
        return note

    def hold(self, toolkit: Toolkit, ours: list[str], found: dict[str, str]) -> list[str]:
        """Hold an exact version with the parts of its release, and return by which words."""
        if not toolkit.exact:
            return []
        own = [name for name in found if name.endswith(suffix(toolkit.release)) and name in ours]
        words: list[str] = cuda_packages.held_words(self.packages, sorted({*own, toolkit.package}))
        cuda_packages.hold(self.packages, words, self.layout.versionlock, on=True)
        return words

    def hold_again(self, words: list[str]) -> None:
        """Hold what was held before an attempt that failed."""
        cuda_packages.hold(self.packages, words, self.layout.versionlock, on=True)

    def refresh(self) -> None:
        """Bring the package lists up to date where they are older than their sources; dnf does so itself."""
        if not isinstance(self.packages, Apt):
            return
        if self.packages.interrupted():
            self.transaction(REPAIR, "repairing an interrupted installation")
        if self.packages.stale(LISTS_SECONDS):
            words = ["apt-get", "update", "-o", "Acquire::Retries=3", "-o", "APT::Update::Error-Mode=any"]
            self.transaction(words, "fetching the package lists")
            STAMP.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            STAMP.touch()

    def transaction(self, words: list[str], what: str) -> None:
        """Run the package manager to its end."""
        self.progress.label = what
        done = command(words, cuda_packages.environment(self.packages))
        if done.code:
            raise Fault(f"{what} failed:\n{done.tail}", cuda_packages.advice(done.tail))

    def wait_for_lock(self) -> None:
        """Wait for whoever holds the package manager's lock."""
        deadline = time.monotonic() + self.spec["lock_timeout"]
        owner = lock_owner(self.packages)
        while owner:
            self.progress.label = f"waiting for {owner}"
            if time.monotonic() > deadline:
                raise Fault(
                    f"{owner} has held the package manager's lock for {self.spec['lock_timeout']} s",
                    "wait for it to end or stop it, then apply again",
                )
            time.sleep(1)
            owner = lock_owner(self.packages)


def bring(spec: dict[str, Any]) -> None:
    """Run one job."""
    with Progress(Path(spec["result"]), spec["title"], {"order": spec["order"]}) as progress:
        progress.finish(**Install(spec, progress).run())
