# SPDX-License-Identifier: Apache-2.0
"""Download NVIDIA's installers of CUDA, run them without their driver, and explain failures."""

from __future__ import annotations

import os
import re
import shutil
import time
from functools import partial
from pathlib import Path

from ..fetch.download import Download
from ..fetch.source import Source, Variables
from ..host.commands import call
from ..host.fault import Fault, undo
from ..host.files import write_json
from ..host.follow import environment, run
from ..host.paths import last_lines, require_room
from ..jobs.progress import Progress
from .orders import Orders
from .place import MARKER, marker, runfile_doubt
from .versions import RUNFILE, Toolkit

# Where the unit finds the address: it may hold a password.
URL_VARIABLE = "CUDA_TOOLKIT_URL"
SOURCE = Variables(
    url="cuda_toolkit_runfile_url",
    ca_bundle="cuda_toolkit_ca_bundle",
    environment="cuda_toolkit_environment",
    login="give user and password in cuda_toolkit_runfile_url",
)
LOG = Path("/var/log/cuda-installer.log")
# What the installer itself is linked with, and the package of the distributions that still have it.
LIBRARY, LIBRARY_PACKAGE = "libxml2.so.2", "libxml2"
PACKAGED = "set cuda_toolkit_source to packages, which need no installer"
ANY_COMPILER = "set cuda_toolkit_override: true to use a compiler that this version does not support"
# What an installer says, and what helps; the first that fits counts.
CAUSES = (
    (r"error while loading shared libraries: ", f"install that library on the host, or {PACKAGED}"),
    (r"[Mm]issing gcc", "check why the package manager has not installed gcc, then apply again"),
    (r"gcc|unsupported compiler", ANY_COMPILER),
)
READ_ON = "read its message; what it left was removed, so repair the cause and apply again"


class Runfiles:
    """The installers of one host."""

    def __init__(self, orders: Orders, progress: Progress) -> None:
        self.orders = orders
        self.progress = progress
        self.layout = orders.layout
        self.cache = Path(orders.cache)
        # Where an installer unpacks itself.
        self.scratch = Path(orders.tmpdir or orders.cache) / "unpack"

    def fetch(self, toolkits: list[Toolkit]) -> None:
        """Download the installers, and refuse those with another hash."""
        missing = [one for one in toolkits if not self.is_done(one)]
        if not missing:
            return  # nothing is requested, or these orders were carried out in the meantime
        self.clear([one.sha256[:12] for one in missing])
        for toolkit in missing:
            url = os.environ.get(URL_VARIABLE, "")
            source = Source(url.replace("{version}", toolkit.exact).replace("{file}", toolkit.file), SOURCE)
            wanted = {"sha256": toolkit.sha256, "title": f"{toolkit}: fetching its installer"}
            room = partial(self.check_room, toolkit)
            Download(
                source, self.part(toolkit), {**self.orders.to_dict(), **wanted}, self.progress, room
            ).run()
            self.progress.done, self.progress.total = lambda: 0, 0
            self.check_room(toolkit, 0)

    def install(self, toolkit: Toolkit) -> None:
        """Run the installer of a toolkit that has been fetched."""
        if self.is_done(toolkit):
            return
        place = self.layout.directory(toolkit.release)
        entry = {"source": RUNFILE, "version": toolkit.exact, "sha256": toolkit.sha256}
        self.layout.note(toolkit.release, dict(entry, unfinished=True))
        try:
            self.unpack(toolkit, self.part(toolkit), place)
        except BaseException as error:
            undo(error, partial(self.discard, toolkit, place))
            raise
        finally:
            shutil.rmtree(str(self.scratch), ignore_errors=True)
        write_json(place / MARKER, marker(toolkit), 0o644)
        self.layout.note(toolkit.release, entry)
        self.clear([], toolkit.sha256[:12])

    def discard(self, toolkit: Toolkit, place: Path) -> None:
        """Remove what a failed installer left; until that is done, the note says whose it is."""
        if place.exists():
            shutil.rmtree(str(place))
        self.layout.note(toolkit.release, None)

    def is_done(self, toolkit: Toolkit) -> bool:
        """Return whether a toolkit is installed and complete."""
        entry = self.layout.entry(toolkit.release)
        return entry.get("source") == RUNFILE and not runfile_doubt(self.layout, toolkit)

    def part(self, toolkit: Toolkit) -> Path:
        """Return where an installer is downloaded to."""
        return self.cache / f"{toolkit.sha256[:12]}.run"

    def clear(self, keep: list[str], only: str = "") -> None:
        """Remove downloads, but not the partial ones of these very files."""
        self.cache.mkdir(mode=0o755, parents=True, exist_ok=True)
        for path in sorted(self.cache.iterdir()):
            if path.is_file() and not path.name.startswith(tuple(keep)) and path.name.startswith(only):
                path.unlink()

    def unpack(self, toolkit: Toolkit, runfile: Path, place: Path) -> None:
        """Run the installer, and check its result."""
        self.progress.say(f"installing {toolkit}")
        shutil.rmtree(str(self.scratch), ignore_errors=True)
        self.scratch.mkdir(mode=0o700, parents=True)
        words = ["sh", str(runfile), "--silent", "--toolkit", f"--toolkitpath={place}", "--no-man-page"]
        words += ["--no-drm", f"--tmpdir={self.scratch}"]
        # Its compiler check is against the host's own gcc.
        words += ["--override"] if self.orders.override else []
        began, nvcc = time.time(), self.layout.nvcc(toolkit.release)
        done = run(words, environment(TMPDIR=str(self.scratch)), Path("/"))
        if done.code == 0 and os.access(str(nvcc), os.X_OK):
            return
        said = "\n".join(part for part in (done.tail, installer_log(began)) if part)
        how = f"exit {done.code}" if done.code else f"it left no {nvcc}"
        step = advice(said, override=self.orders.override)
        raise Fault(f"the installer of {toolkit} failed ({how}):\n{said}", step)

    def check_room(self, toolkit: Toolkit, rest: int | None) -> None:
        """Refuse what does not fit: the rest of the download, the unpacked installer, the toolkit."""
        needed = self.orders.needed_bytes
        needs = ((self.cache, rest or 0), (self.scratch, needed), (self.layout.root, needed))
        steps = (
            ", change cuda_toolkit_tmpdir, or lower cuda_toolkit_needed_bytes for a toolkit that is known to "
            "take less"
        )
        require_room(f"{toolkit} and its installer, unpacked", needs, self.orders.reserve_bytes, steps)


def advice(said: str, *, override: bool) -> str:
    """Return what to do about an installer that failed, by its output and its options."""
    fitting = (step for pattern, step in CAUSES if re.search(pattern, said))
    return next((step for step in fitting if not (override and step == ANY_COMPILER)), READ_ON)


def require_library(packages: list[str]) -> None:
    """Refuse a host without the library that installers need, unless one of these packages has it."""
    if LIBRARY_PACKAGE in packages or f"{LIBRARY} " in call("ldconfig", "-p").stdout:
        return
    raise Fault(
        f"NVIDIA's installers of CUDA need {LIBRARY}, but this distribution no longer has a package with it",
        f"{PACKAGED}, or put that library where the linker finds it",
    )


def installer_log(began: float) -> str:
    """Return the last lines of the installer's own log, where this run has written them."""
    fresh = LOG.exists() and LOG.stat().st_mtime >= began - 1
    return f"{LOG}:\n{last_lines(LOG)}" if fresh else ""
