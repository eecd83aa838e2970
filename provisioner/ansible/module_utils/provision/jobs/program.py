# SPDX-License-Identifier: Apache-2.0
"""Make a program of modules that Ansible has sent along: one zip file that outlives the connection."""

from __future__ import annotations

import hashlib
import importlib
import io
import json
import sys
import zipfile
from pathlib import Path
from typing import Any, Callable, Dict, Mapping, Sequence

from ..host.fault import Fault

# Where this project's modules are on a host: the packages of its layers, and those that roles add.
SIBLINGS = "ansible.module_utils."
# A zip file records times; a fixed one makes the same content the same file.
EPOCH = (1980, 1, 1, 0, 0, 0)
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
            folder.mkdir(mode=0o755, parents=True, exist_ok=True)
            partial = path.with_name(path.name + ".new")
            partial.write_bytes(content)
            partial.chmod(0o755)
            partial.replace(path)
        return path

    def main(self, arguments: Sequence[str]) -> int:
        """Do the job that the first argument names by the orders in a file, and return the exit status."""
        verb, spec = arguments
        try:
            self.jobs[verb](json.loads(Path(spec).read_text(encoding="utf-8")))
        except Fault as fault:
            sys.stderr.write(f"error: {fault}\nnext: {fault.next_step}\n")
            return 1
        return 0


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
