# SPDX-License-Identifier: Apache-2.0
"""Make a program of modules that Ansible has sent along: one zip file that outlives the connection."""

from __future__ import annotations

import hashlib
import importlib
import io
import json
import os
import signal
import sys
import traceback
import zipfile
from pathlib import Path
from typing import Any, Callable, Dict, Mapping, Sequence

from ..host.fault import Fault, described, fault_of
from ..host.files import read_json, replace_file
from .progress import failed, write_state

# Where this project's modules are on a host: the packages of its layers, and those that roles add.
SIBLINGS = "ansible.module_utils."
# A zip file records times; a fixed one makes the same content the same file.
EPOCH = (1980, 1, 1, 0, 0, 0)
# The exit status of a job that was told to stop, as a shell gives it.
STOPPED = 128 + signal.SIGTERM
Job = Callable[[Dict[str, Any]], None]


class Program:
    """A program for a host, made of a module with a `main` and of whatever it imports from this project.

    `name` is what its file is called, and `jobs` what it does by the first argument of its command line.
    """

    def __init__(self, name: str, entry: str, jobs: Mapping[str, Job]) -> None:
        self.name = name
        self.entry = entry
        self.jobs = jobs

    def install(self, folder: Path) -> Path:
        """Write the program below a folder, unless this very one is there, and return its path."""
        content = pack(self.entry)
        path = folder / f"{self.name}-{hashlib.sha256(content).hexdigest()[:12]}.pyz"
        if not path.exists():
            replace_file(path, content, 0o755)
        return path

    def main(self, arguments: Sequence[str]) -> int:
        """Do the job that the first argument names by the orders in a file, and return the exit status.

        Whatever ends the job, its state file reports it with a next step.
        """
        verb, spec = arguments
        before = signal.signal(signal.SIGTERM, _stop)
        orders: dict[str, Any] = {}
        try:
            orders = json.loads(Path(spec).read_text(encoding="utf-8"))
            self.jobs[verb](orders)
        except BaseException as error:  # noqa: BLE001 - it is reported, and ends the process
            return _report(error, orders.get("result"))
        finally:
            signal.signal(signal.SIGTERM, before)
        return 0


def _stop(_number: int, _frame: object) -> None:
    """End on SIGTERM by leaving every `with` and `try`, so that what is half done is undone or noted."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise SystemExit(STOPPED)


def _report(error: BaseException, result: str | None) -> int:
    """Write what has ended the job to its journal and its state file, and return the exit status."""
    fault = fault_of(error)
    if isinstance(error, Exception) and not isinstance(error, (Fault, OSError)):
        traceback.print_exception(type(error), error, error.__traceback__)
    sys.stderr.write(f"error: {fault}\nnext: {fault.next_step}\n")
    state = read_json(Path(result), {}) if result else {}
    invocation = os.environ.get("INVOCATION_ID", "")
    # A failure of this very run may be reported there already.
    if result and (state.get("state"), state.get("invocation")) != ("failed", invocation):
        try:
            write_state(Path(result), failed(error))
        except OSError as second:
            sys.stderr.write(f"error: {described(second)}\n")
    return STOPPED if isinstance(error, SystemExit) else 1


def pack(entry: str) -> bytes:
    """Return the zip file of a program: the module whose `main` it runs, and all that is loaded beside it."""
    start = f"import sys\nfrom {entry} import main\nsys.exit(main(sys.argv[1:]))\n"
    texts = {"__main__.py": start, "ansible/__init__.py": "", "ansible/module_utils/__init__.py": ""}
    for name, text in sources(entry).items():
        inside = hasattr(sys.modules[name], "__path__")
        texts[f"{name.replace('.', '/')}{'/__init__' if inside else ''}.py"] = text
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, text in sorted(texts.items()):
            archive.writestr(zipfile.ZipInfo(name, EPOCH), text)
    return packed.getvalue()


def sources(entry: str) -> dict[str, str]:
    """Return the text of every module that is loaded once the entry is, by full name; only this project's."""
    importlib.import_module(entry)
    own = {name.split(".")[2] for name in (__name__, entry)}
    loaded = [name for name in sys.modules if name.startswith(SIBLINGS) and name.split(".")[2] in own]
    return {name: sys.modules[name].__loader__.get_source(name) for name in loaded}  # type: ignore[union-attr]
