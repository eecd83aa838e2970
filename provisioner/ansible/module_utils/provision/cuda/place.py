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
from ..host.files import replace_link
from ..host.json_files import read_json, write_json
from ..host.paths import text_of
from .versions import RUNFILE, Toolkit, directory, suffix

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
        path: Path = self.root / LINK_NAME
        return path

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
        found = {self.profile: login, self.libraries: ""}
        if source == RUNFILE:
            found[self.libraries] = f"{HEADER}\n{home}/lib64\n"
        return found

    def entries(self) -> dict[str, dict[str, Any]]:
        """Return what this role has installed, by release."""
        return dict(read_json(self.ledger, {}))

    def note(self, release: str, entry: dict[str, Any] | None) -> None:
        """Write or forget what was installed of a release."""
        entries = self.entries()
        if entry is None:
            entries.pop(release, None)
        else:
            entries[release] = entry
        if entries:
            write_json(self.ledger, entries, 0o644)
        else:
            self.ledger.unlink(missing_ok=True)


def nvcc(root: Path, release: str) -> Path:
    """Return the compiler of a release."""
    return Path(directory(root, release) / "bin/nvcc")


def is_bare(place: Path) -> bool:
    """Return whether there is nothing but directories, as rpm leaves them when it removes the files."""
    if place.is_symlink() or not place.is_dir():
        return not os.path.lexists(str(place))
    return not any(names for _, _, names in os.walk(str(place)))


def marker(toolkit: Toolkit) -> dict[str, Any]:
    """Return the content of the marker of a toolkit that an installer has installed."""
    return {"format": 1, "version": toolkit.exact, "sha256": toolkit.sha256}


def runfile_doubt(layout: Layout, toolkit: Toolkit) -> str:
    """Return why an installer must run, nothing if it need not; refuse what is not ours."""
    place = toolkit.directory(layout.root)
    entry = layout.entries().get(toolkit.release, {})
    if is_bare(place):
        return "not installed"
    if not entry:
        raise foreign(place)
    if read_json(place / MARKER, {}) != marker(toolkit) or entry.get("unfinished"):
        return "another version" if (place / MARKER).is_file() else "not finished"
    runs = os.access(str(nvcc(layout.root, toolkit.release)), os.X_OK)
    return "" if runs else "its nvcc cannot be run"


def packages_doubt(layout: Layout, toolkit: Toolkit, found: dict[str, str]) -> str:
    """Return why the package manager must run; refuse a directory that belongs to no package."""
    place = toolkit.directory(layout.root)
    entry = layout.entries().get(toolkit.release, {})
    version = found.get(toolkit.package, "")
    if entry.get("source") == RUNFILE:
        return "installed by an installer"
    if not version:
        # What our own interrupted transaction has left does not belong to someone else.
        owned = bool(entry) or any(name.endswith(suffix(toolkit.release)) for name in found)
        if not owned and not is_bare(place):
            raise foreign(place)
        return "not installed"
    if entry.get("unfinished"):
        return "not finished"
    if toolkit.exact and not same(version, toolkit.exact):
        return f"{version} is installed"
    if toolkit.exact and not entry.get("held"):
        return "not held"
    return "held" if entry.get("held") and not toolkit.exact else ""


def same(package_version: str, version: str) -> bool:
    """Return whether a package has this version, whatever its epoch and its revision are."""
    return package_version.rpartition(":")[2].partition("-")[0] == version


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
    if os.path.lexists(str(layout.alternatives / LINK_NAME)) and shutil.which("update-alternatives"):
        if not _alternatives("--set", LINK_NAME, str(wanted)):
            _alternatives("--install", str(layout.link), LINK_NAME, str(wanted), "1")
            if not _alternatives("--set", LINK_NAME, str(wanted)):
                raise Fault(
                    f"update-alternatives cannot point {layout.link} to {wanted}",
                    "see `update-alternatives --display cuda` on the host",
                )
        return
    replace_link(layout.link, wanted)


def forget_alternative(place: Path) -> None:
    """Remove a directory that is gone from the alternatives, where it is among them."""
    if shutil.which("update-alternatives"):
        _alternatives("--remove", LINK_NAME, str(place))


def file_doubt(path: Path, text: str) -> bool:
    """Return whether a file differs from what it should contain; refuse one that is not ours."""
    if not os.path.lexists(str(path)):
        return bool(text)
    now = str(text_of(path))
    if not now.startswith(HEADER):
        if not text:
            return False
        raise foreign(path)
    return now != text


def _alternatives(*words: str) -> bool:
    return bool(call("update-alternatives", *words).returncode == 0)
