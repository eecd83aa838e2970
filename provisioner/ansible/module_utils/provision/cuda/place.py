# SPDX-License-Identifier: Apache-2.0
"""Find CUDA toolkits, which of them are ours, and where /usr/local/cuda points."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Mapping

from ..host.commands import call
from ..host.fault import Fault
from ..host.files import keep_json, read_json, replace_link
from ..host.packages import Manager
from ..host.paths import text_of
from .versions import PACKAGES, RUNFILE, Toolkit, suffix

# Marks a complete toolkit of an installer; a directory without it is ours only if the ledger says so.
MARKER = ".provision-cuda.json"
HEADER = "# Written by provision."
LINK_NAME = "cuda"
ANOTHER = "move it away, then apply again; this role never changes what it did not create"


@dataclass(frozen=True)
class Layout:
    """Hold the paths of a host's toolkits; tests change them."""

    root: Path = Path("/usr/local")
    profile: Path = Path("/etc/profile.d/cuda.sh")
    libraries: Path = Path("/etc/ld.so.conf.d/provision-cuda.conf")
    alternatives: Path = Path("/etc/alternatives")
    ledger: Path = Path("/var/lib/provision/cuda_toolkit.json")

    @classmethod
    def read(cls, paths: Mapping[str, str]) -> Layout:
        """Return the usual layout with other paths in it."""
        return cls(**{name: Path(path) for name, path in paths.items()})

    @property
    def link(self) -> Path:
        """Return the link to the default toolkit."""
        return self.root / LINK_NAME

    @property
    def is_ours(self) -> bool:
        """Return whether this role has been at work here."""
        return bool(self.entries()) or text_of(self.profile).startswith(HEADER)

    def files(self, source: str) -> dict[Path, str]:
        """Return the files that go with a default toolkit; packages install the second one themselves."""
        home = self.link
        login = (
            f"{HEADER} The default CUDA toolkit, for those who log in.\n"
            f"export CUDA_HOME={home}\n"
            f'case ":$PATH:" in *":{home}/bin:"*) ;; *) export PATH="{home}/bin:$PATH" ;; esac\n'
        )
        libraries = f"{HEADER}\n{home}/lib64\n" if source == RUNFILE else ""
        return {self.profile: login, self.libraries: libraries}

    def directory(self, release: str) -> Path:
        """Return where the toolkit of a release is installed."""
        return self.root / f"{LINK_NAME}-{release}"

    def nvcc(self, release: str) -> Path:
        """Return the compiler of a release."""
        return self.directory(release) / "bin/nvcc"

    def entries(self) -> dict[str, dict[str, Any]]:
        """Return what this role has installed, by release."""
        return dict(read_json(self.ledger, {}))

    def entry(self, release: str) -> dict[str, Any]:
        """Return what this role has installed of a release; empty if nothing."""
        return self.entries().get(release, {})

    def note(self, release: str, entry: dict[str, Any] | None) -> None:
        """Write or forget what was installed of a release."""
        entries = {**self.entries(), release: entry}
        keep_json(self.ledger, {name: one for name, one in entries.items() if one}, 0o644)


def is_bare(place: Path) -> bool:
    """Return whether there is nothing but directories, as rpm leaves them when it removes the files."""
    if place.is_symlink() or not place.is_dir():
        return not os.path.lexists(str(place))
    return not any(names for _, _, names in os.walk(str(place)))


def marker(toolkit: Toolkit) -> dict[str, Any]:
    """Return the content of the marker of a toolkit that an installer has installed."""
    return {"format": 1, "version": toolkit.exact, "sha256": toolkit.sha256}


def doubt(layout: Layout, toolkit: Toolkit, packages: Manager, found: dict[str, str]) -> str:
    """Return why a toolkit must be installed, nothing if it need not; refuse what is not ours."""
    source = layout.entry(toolkit.release).get("source", toolkit.source)
    if source != toolkit.source:
        return "installed from packages" if source == PACKAGES else "installed by an installer"
    if source == RUNFILE:
        return runfile_doubt(layout, toolkit)
    return packages_doubt(layout, toolkit, packages, found)


def runfile_doubt(layout: Layout, toolkit: Toolkit) -> str:
    """Return why an installer must run, nothing if it need not; refuse what is not ours."""
    place, entry = layout.directory(toolkit.release), layout.entry(toolkit.release)
    if is_bare(place):
        return "not installed"
    if not entry:
        raise foreign(place)
    if read_json(place / MARKER, {}) != marker(toolkit) or entry.get("unfinished"):
        return "another version" if (place / MARKER).is_file() else "not finished"
    return "" if os.access(str(layout.nvcc(toolkit.release)), os.X_OK) else "its nvcc cannot be run"


def packages_doubt(layout: Layout, toolkit: Toolkit, packages: Manager, found: dict[str, str]) -> str:
    """Return why the package manager must run; refuse a directory that belongs to no package."""
    place, entry = layout.directory(toolkit.release), layout.entry(toolkit.release)
    version, held = found.get(toolkit.package, ""), entry.get("held", [])
    if not version:
        # What our own interrupted transaction has left does not belong to someone else.
        owned = bool(entry) or any(name.endswith(suffix(toolkit.release)) for name in found)
        if not owned and not is_bare(place):
            raise foreign(place)
        return "not installed"
    if entry.get("unfinished"):
        return "not finished"
    # Its epoch and its revision do not count.
    if toolkit.exact and version.rpartition(":")[2].partition("-")[0] != toolkit.exact:
        return f"{version} is installed"
    if bool(toolkit.exact) != bool(held):
        return "held" if held else "not held"
    return "no longer held" if held and not set(held) <= set(packages.held()) else ""


def foreign(place: Path) -> Fault:
    """Return the fault of something that someone else has created."""
    return Fault(f"{place} already exists and was not created by this tool: it is left as it is", ANOTHER)


def link_doubt(layout: Layout, wanted: Path | None) -> str:
    """Return where the link leads instead, nothing when it is right; refuse a link to something else."""
    link, end = layout.link, os.path.realpath(str(layout.link))
    if wanted is None:
        gone = link.is_symlink() and not Path(end).exists()
        return f"leads to {end}, which is gone" if gone else ""
    if not os.path.lexists(str(link)):
        return "is missing"
    if not link.is_symlink():
        raise foreign(link)
    target = Path(os.path.normpath(str(link.parent / os.readlink(str(link)))))
    ours = target.parent in (layout.root, layout.alternatives) and target.name.startswith(LINK_NAME)
    if not ours:
        raise Fault(f"{link} leads to {target}, which is not a CUDA toolkit: it is left as it is", ANOTHER)
    return "" if end == os.path.realpath(str(wanted)) else f"leads to {end}"


def set_link(layout: Layout, wanted: Path | None) -> None:
    """Point the link to a toolkit, with the alternatives where packages use them, or remove it."""
    if wanted is None:
        layout.link.unlink(missing_ok=True)
        return
    if not (os.path.lexists(str(layout.alternatives / LINK_NAME)) and shutil.which("update-alternatives")):
        replace_link(layout.link, wanted)
        return
    choose = ("--set", LINK_NAME, str(wanted))
    if _alternatives(*choose):
        return
    _alternatives("--install", str(layout.link), LINK_NAME, str(wanted), "1")
    if not _alternatives(*choose):
        raise Fault(
            f"update-alternatives cannot point {layout.link} to {wanted}",
            "see `update-alternatives --display cuda` on the host",
        )


def forget_alternative(place: Path) -> None:
    """Remove a directory that is gone from the alternatives, where it is among them."""
    if shutil.which("update-alternatives"):
        _alternatives("--remove", LINK_NAME, str(place))


def file_doubt(path: Path, text: str) -> bool:
    """Return whether a file differs from what it should contain; refuse one that is not ours."""
    if not os.path.lexists(str(path)):
        return bool(text)
    now = text_of(path)
    if now.startswith(HEADER):
        return now != text
    if text:
        raise foreign(path)
    return False


def _alternatives(*words: str) -> bool:
    return bool(call("update-alternatives", *words).returncode == 0)
