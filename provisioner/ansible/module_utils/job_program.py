# SPDX-License-Identifier: Apache-2.0
"""Make a program of modules that Ansible has sent along: one zip file that outlives the connection."""

from __future__ import annotations

import hashlib
import inspect
import io
import json
import sys
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any, Callable, Mapping, Sequence

from ansible.module_utils.job_fault import JobFault

PACKAGE = "ansible/module_utils/"
# A zip file records times; a fixed one makes the same content the same file.
EPOCH = (1980, 1, 1, 0, 0, 0)


def pack(entry: ModuleType, parts: tuple[ModuleType, ...]) -> bytes:
    """Return the program: a module whose `main` it runs, and its siblings."""
    start = f"import sys\nfrom {entry.__name__} import main\nsys.exit(main(sys.argv[1:]))\n"
    sources = {"__main__.py": start, "ansible/__init__.py": "", PACKAGE + "__init__.py": ""}
    for part in (entry, *parts):
        sources[f"{PACKAGE}{part.__name__.rpartition('.')[2]}.py"] = inspect.getsource(part)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, text in sorted(sources.items()):
            archive.writestr(zipfile.ZipInfo(name, EPOCH), text)
    return packed.getvalue()


def install(folder: Path, name: str, content: bytes) -> Path:
    """Write a program below a folder, unless this very one is there, and return its path."""
    path = folder / f"{name}-{hashlib.sha256(content).hexdigest()[:12]}.pyz"
    if not path.exists():
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        partial = path.with_name(path.name + ".new")
        partial.write_bytes(content)
        partial.chmod(0o755)
        partial.replace(path)
    return path


def run(jobs: Mapping[str, Callable[[dict[str, Any]], None]], arguments: Sequence[str]) -> int:
    """Do the job that the first argument names by the orders in a file, and return the exit status."""
    verb, spec = arguments
    try:
        jobs[verb](json.loads(Path(spec).read_text(encoding="utf-8")))
    except JobFault as fault:
        sys.stderr.write(f"error: {fault}\nnext: {fault.next}\n")
        return 1
    return 0
