# SPDX-License-Identifier: Apache-2.0
"""Compare the CUDA toolkits of a host with the requested ones, and list what must change."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..host.commands import call
from ..host.fault import Fault
from ..host.packages import Manager
from ..host.paths import in_use
from ..host.payload import FAILED, PASSED, Rung
from ..host.settings import write_file
from . import packages as cuda_packages
from .place import Layout, doubt, file_doubt, link_doubt, set_link
from .versions import PACKAGES, Toolkit


@dataclass(frozen=True)
class State:
    """Hold what must be removed and installed, where the link must point, and which files must change."""

    layout: Layout
    remove: tuple[str, ...] = ()
    install: tuple[Toolkit, ...] = ()
    link: Path | None = None
    link_is: str = ""
    files: tuple[tuple[Path, str], ...] = ()
    # Both for people: what is done to toolkits, and why some stay.
    work: tuple[str, ...] = ()
    stays: tuple[str, ...] = ()

    @classmethod
    def of(cls, layout: Layout, toolkits: list[Toolkit], chosen: Toolkit | None, source: str) -> State:
        """Inspect a host; refuse what is in the way and not ours."""
        if not toolkits and not layout.is_ours:
            return cls(layout)
        packages = cuda_packages.cuda_manager()
        found = packages.versions()
        doubts = {one: doubt(layout, one, packages, found) for one in toolkits}
        install = tuple(one for one, why in doubts.items() if why)
        going, stays = leaving(layout, {one.release for one in toolkits}, packages, found)
        # A toolkit in the directory of another one has to wait until that is removed.
        going += [one.release for one in install if makes_room(layout, one)]
        work = [f"remove CUDA toolkit {release} from {layout.directory(release)}" for release in going]
        work += [f"install {one} ({one.source}): {doubts[one]}" for one in install]
        link = layout.directory(chosen.release) if chosen else None
        files = layout.files(source) if chosen else dict.fromkeys(layout.files(source), "")
        changed = tuple((path, text) for path, text in files.items() if file_doubt(path, text))
        why = link_doubt(layout, link)
        return cls(layout, tuple(going), install, link, why, changed, tuple(work), tuple(stays))

    @property
    def todo(self) -> list[str]:
        """Return everything that must be done, for people."""
        said = list(self.work)
        if self.link_is:
            path = self.layout.link
            said.append(f"point {path} to {self.link}" if self.link else f"remove {path}")
        return said + [f"{'write' if text else 'remove'} {path}" for path, text in self.files]

    @property
    def before(self) -> str:
        """Return what was there before, for people."""
        return f"{self.layout.link}: {self.link_is}\n" if self.link_is else ""

    def settle(self) -> None:
        """Set the link and the files, once the toolkits are installed."""
        if self.link_is:
            set_link(self.layout, self.link)
        for path, text in self.files:
            write_file(str(path), text or None)
        # The target of the link decides which libraries are found.
        call("ldconfig")


def leaving(
    layout: Layout, wanted: set[str], packages: Manager, found: dict[str, str]
) -> tuple[list[str], list[str]]:
    """Return our releases that must be removed, and a message about each that must stay."""
    going, stays = [], []
    for release, entry in sorted(layout.entries().items()):
        if release in wanted:
            continue
        place = layout.directory(release)
        ours = [name for name in entry.get("packages", []) if name in found]
        if in_use(place):
            stays.append(f"{place} not removed: a unit or a process uses it")
        elif ours and (needed_by := cuda_packages.removable(packages, release, ours)[1]):
            stays.append(
                f"CUDA toolkit {release} not removed: {', '.join(needed_by)}, installed later, need it"
            )
        else:
            going.append(release)
    return going, stays


def makes_room(layout: Layout, toolkit: Toolkit) -> bool:
    """Return whether our toolkit of a release must be removed before it is installed in another way."""
    source = layout.entry(toolkit.release).get("source")
    if not source or source == toolkit.source == PACKAGES:
        return False
    place = layout.directory(toolkit.release)
    if in_use(place):
        raise Fault(
            f"{place} must make room for {toolkit}, but a unit or a process uses it: nothing was changed",
            f"stop what uses {place} (see `grep -rl {place} /etc/systemd/system`), then apply again",
        )
    return True


def foresee(state: State) -> None:
    """Refuse what would change a driver, as far as the package manager has the lists of packages yet."""
    packages = cuda_packages.cuda_manager()
    for toolkit in (one for one in state.install if one.source == PACKAGES):
        try:
            changes = packages.simulate(*cuda_packages.transaction(packages, toolkit), cached=True)
        except Fault:
            # The repository, or its list, is added by a real run, which simulates again.
            continue
        cuda_packages.refuse_drivers(changes, toolkit)


def check_toolkits(layout: Layout, toolkits: list[Toolkit], chosen: Toolkit | None) -> dict[str, Any]:
    """Return what every toolkit reports, and which of them is not what it should be."""
    findings: list[tuple[str, bool]] = []
    for toolkit in toolkits:
        program = layout.nvcc(toolkit.release)
        found = release_of(program)
        says = f"{program} is of CUDA {found}" if found else f"{program} reports no version"
        findings.append((says, found == toolkit.release))
    if chosen:
        end = layout.directory(chosen.release)
        why = link_doubt(layout, end)
        says = f"{layout.link} {why}, not {end}" if why else f"{layout.link} points to {end}"
        findings.append((says, not why))
    wrong = "; ".join(says for says, right in findings if not right)
    said = "; ".join(says for says, _ in findings)
    step = "run apply again; it reports what it finds" if wrong else None
    rung = Rung("CUDA toolkit", FAILED if wrong else PASSED, said, next=step)
    provision = {"rungs": [rung.to_dict()], **({"next": step} if wrong else {})}
    return {
        "changed": False,
        "failed": bool(wrong),
        "finished": True,
        "msg": wrong or said,
        "provision": provision,
    }


def release_of(program: Path) -> str:
    """Return the release that a compiler reports."""
    try:
        said = call(str(program), "--version").stdout
    except Fault:
        return ""
    found = re.search(r"release ([0-9]+\.[0-9]+)", said)
    return found.group(1) if found else ""
