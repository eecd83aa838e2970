# SPDX-License-Identifier: Apache-2.0
"""Install a Python with conda: download the installer, verify it, run it silently, create the environment.

It is the program `conda-python-<digest>.pyz install SPEC` on a host.
"""

from __future__ import annotations

import hashlib
import netrc
import os
import re
import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from ..fetch.download import Download
from ..fetch.source import Source, Variables
from ..host.fault import Fault, undo
from ..host.files import replace_file, write_json
from ..host.follow import run
from ..host.paths import require_room, sync
from ..jobs.orders import Written, job_of
from ..jobs.program import Program
from ..jobs.progress import Progress
from .conda_place import CONDARC, MARKER, UNFINISHED, UNFINISHED_REASON, Wanted, doubt, prefix_doubt, remove
from .conda_program import conda_fault, settled

# Where the unit finds the URL: a query in it may be secret.
URL_VARIABLE = "PYTHON_ENV_CONDA_URL"
VARIABLES = Variables(
    url="python_env_conda_url",
    ca_bundle="python_env_ca_bundle",
    environment="python_env_environment",
    login="set python_env_conda_netrc_file to a netrc file with user and password",
)
PROBE = "import ensurepip, ssl, venv, platform; print(platform.python_version())"


@dataclass(frozen=True)
class Orders(Wanted, Written):
    """Hold which conda and Python a job installs, and where."""

    title: str
    root: str
    cache: str
    accept_terms: bool = False
    needed_bytes: int = 0
    python_bytes: int = 0
    reserve_bytes: int = 1024**3
    attempts: int = 5
    stall_seconds: float = 60

    def to_dict(self) -> dict[str, Any]:
        """Return what is written to the file, with what the outcome is recognised by."""
        return {**super().to_dict(), "interpreter": str(self.interpreter)}


class Install:
    """One Python on its way into its place."""

    def __init__(self, orders: Orders, progress: Progress) -> None:
        self.orders = orders
        self.progress = progress
        self.scratch = Path(orders.root) / ".scratch"
        # The installer refuses to run under a name with another ending.
        name = f"{orders.provider}-{orders.version}-{orders.sha256[:12]}.sh"
        self.installer = Path(orders.cache) / name

    def run(self) -> dict[str, Any]:
        """Install everything that is missing."""
        if not doubt(self.orders):
            return {"changed": False}
        remove(self.scratch)
        for name in ("home", "tmp"):
            (self.scratch / name).mkdir(mode=0o700, parents=True)
        try:
            missing = prefix_doubt(self.orders)
            if missing:
                self.install(missing)
            replace_file(self.orders.prefix / CONDARC, self.orders.condarc.encode(), 0o644)
            if doubt(self.orders):
                self.create()
        finally:
            remove(self.scratch)
        return {"changed": True}

    def install(self, missing: str) -> None:
        """Download the installer and run it, after removing the prefix of an interrupted run."""
        wanted = self.orders
        self.fetch()
        if missing == UNFINISHED_REASON:
            remove(wanted.prefix)
        self.check_room(0)
        self.progress.label = f"{wanted}: installing"
        wanted.prefix.mkdir(mode=0o755, parents=True, exist_ok=True)
        (wanted.prefix / UNFINISHED).touch()
        # -f: the directory exists already, with the note that provision made it.
        argv = ["bash", str(self.installer), "-b", "-f", "-p", str(wanted.prefix)]
        try:
            done = run(argv, self.environment(), self.scratch)
            if done.code:
                raise Fault(
                    f"the installer of {wanted} failed (exit {done.code}):\n{done.tail}",
                    "fix what the installer reports, then apply again; what it left was removed",
                )
            version = run([str(wanted.prefix / "bin/conda"), "--version"], self.environment(), self.scratch)
            if version.code:
                raise Fault(
                    f"the conda from the installer of {wanted} cannot be run:\n{version.tail}",
                    f"check that {wanted.prefix} is not mounted noexec, and the installer's architecture",
                )
        except BaseException as error:
            undo(error, partial(remove, wanted.prefix))
            raise
        settled(wanted.prefix)
        write_json(wanted.prefix / MARKER, wanted.prefix_marker, 0o644)
        (wanted.prefix / UNFINISHED).unlink()
        sync(wanted.prefix)
        for path in self.installer.parent.glob(self.installer.name + "*"):
            path.unlink()

    def fetch(self) -> None:
        """Download the installer to the host, and refuse one with another hash."""
        self.installer.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        url = os.environ.get(URL_VARIABLE, "")
        if url.startswith("file://"):
            self.copy(Path(unquote(urlsplit(url).path)))
            return
        source = Source(url, VARIABLES, login_for(urlsplit(url).hostname))
        orders = self.orders.to_dict()
        Download(source, self.installer, orders, self.progress, self.check_room).run()

    def copy(self, place: Path) -> None:
        """Copy an installer that is on the host; the copy is what is checked and run."""
        try:
            self.check_room(place.stat().st_size)
            shutil.copyfile(str(place), str(self.installer))
        except OSError as error:
            raise Fault(
                f"the installer {place} cannot be read on the host: {error.strerror}",
                "put it there, or set python_env_conda_url to another URL",
            ) from error
        found = hashlib.sha256(self.installer.read_bytes()).hexdigest()
        if found != self.orders.sha256:
            self.installer.unlink()
            raise Fault(
                f"{place} has sha256 {found}, expected {self.orders.sha256}: it was not run",
                "compare the hash with the one that the project publishes for this version and architecture",
            )

    def check_room(self, rest: int | None) -> None:
        """Refuse what cannot fit: the rest of the download, and what it installs."""
        needs = ((self.orders.prefix, self.orders.needed_bytes), (self.installer, rest or 0))
        require_room(str(self.orders), needs, self.orders.reserve_bytes)

    def create(self) -> None:
        """Create the environment that holds the one Python, and check that it is the right one."""
        wanted, directory = self.orders, self.orders.python_directory
        self.progress.label = f"{wanted}: installing Python {wanted.python}"
        remove(directory)
        need = (directory, self.orders.python_bytes)
        require_room(f"Python {wanted.python}", [need], self.orders.reserve_bytes)
        channels = [argument for channel in wanted.channels for argument in ("--channel", channel)]
        argv = [str(wanted.prefix / "bin/conda"), "create", "--yes", "--prefix", str(directory)]
        argv += ["--no-default-packages", "--override-channels", *channels]
        argv += [f"python=={wanted.python}", *wanted.packages]
        try:
            done = run(argv, self.environment(), self.scratch)
            if done.code:
                raise conda_fault(wanted, done)
            asked = run([str(wanted.interpreter), "-I", "-c", PROBE], self.environment(), self.scratch)
            if asked.code or asked.tail.split()[-1:] != [wanted.python]:
                raise Fault(
                    f"conda did not install a usable Python {wanted.python}: when its version and venv were "
                    f"checked, {wanted.interpreter} printed:\n{asked.tail}",
                    "check python_env_conda_channels and python_env_conda_packages",
                )
        except BaseException as error:
            undo(error, partial(remove, directory))
            raise
        # What conda has unpacked beside it keeps the modes from the packages.
        settled(wanted.prefix)
        write_json(directory / MARKER, wanted.python_marker, 0o644)
        sync(directory)

    def environment(self) -> dict[str, str]:
        """Return the programs' environment: proxies and certificates, nothing of a user's conda or Python."""
        foreign = re.compile(r"CONDA|MAMBA|PYTHON|LD_|XDG_")
        given = {key: value for key, value in os.environ.items() if not foreign.match(key)}
        own = {
            "HOME": str(self.scratch / "home"),
            "TMPDIR": str(self.scratch / "tmp"),
            "SHELL": "/bin/bash",
            "LC_ALL": "C.UTF-8",
            "CONDARC": str(self.orders.prefix / CONDARC),
            "PYTHONNOUSERSITE": "1",
        }
        terms = {"CONDA_PLUGINS_AUTO_ACCEPT_TOS": "yes"} if self.orders.accept_terms else {}
        return {**given, **own, **terms}


def login_for(host: str | None) -> tuple[str, str] | None:
    """Return user and password for a host from the netrc file, where there is one."""
    path = os.environ.get("NETRC", "")
    if not path or not host:
        return None
    try:
        found = netrc.netrc(path).authenticators(host)
    except (OSError, ValueError, netrc.NetrcParseError):
        # The error's text may contain a password.
        raise Fault(
            "the file of python_env_conda_netrc_file cannot be read as netrc",
            "write lines such as: machine mirror.example login USER password PASSWORD",
        ) from None
    return (found[0], found[2] or "") if found else None


job = job_of(Orders, lambda orders, progress: Install(orders, progress).run(), "interpreter")
PROGRAM = Program("conda-python", __name__, {"install": job})
install, main = PROGRAM.install, PROGRAM.main
