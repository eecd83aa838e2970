# SPDX-License-Identifier: Apache-2.0
"""Make a program of modules that Ansible has sent along: one zip file that outlives the connection."""

from __future__ import annotations

import ast
import hashlib
import importlib
import inspect
import io
import json
import sys
import zipfile
from pathlib import Path
from typing import Any, Callable, Dict, Mapping, Sequence

from ansible.module_utils.job_fault import JobFault

SIBLINGS = "ansible.module_utils"
FOLDER = "ansible/module_utils/"
# A zip file records times; a fixed one makes the same content the same file.
EPOCH = (1980, 1, 1, 0, 0, 0)
Job = Callable[[Dict[str, Any]], None]


class Program:
    """A program for a host, made of a module with a `main` and of whatever that one imports of its siblings.

    `name` is what its file is called by, and `jobs` what it does by the first word of its command line.
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
        except JobFault as fault:
            sys.stderr.write(f"error: {fault}\nnext: {fault.next}\n")
            return 1
        return 0


def pack(entry: str) -> bytes:
    """Return the zip file of a program: the module whose `main` it runs, and all that this one imports."""
    start = f"import sys\nfrom {entry} import main\nsys.exit(main(sys.argv[1:]))\n"
    texts = {"__main__.py": start, "ansible/__init__.py": "", FOLDER + "__init__.py": ""}
    for name, text in sources(entry).items():
        texts[f"{FOLDER}{name.rpartition('.')[2]}.py"] = text
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, text in sorted(texts.items()):
            archive.writestr(zipfile.ZipInfo(name, EPOCH), text)
    return packed.getvalue()


def sources(entry: str) -> dict[str, str]:
    """Return the text of a module and of every sibling that it needs, by their full names."""
    found: dict[str, str] = {}
    waiting = [entry]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found[name] = inspect.getsource(importlib.import_module(name))
            waiting += [one for node in ast.walk(ast.parse(found[name])) for one in _siblings(node)]
    return found


def _siblings(node: ast.AST) -> list[str]:
    """Return what a statement imports of Ansible's module_utils, where this project's own lie as well."""
    module = (node.module or "") if isinstance(node, ast.ImportFrom) else ""
    if module == SIBLINGS:
        return [f"{SIBLINGS}.{alias.name}" for alias in node.names]  # type: ignore[attr-defined]
    return [module] if module.startswith(f"{SIBLINGS}.") else []
