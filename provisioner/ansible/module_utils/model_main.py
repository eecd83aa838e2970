# SPDX-License-Identifier: Apache-2.0
"""Be the store's program on a host: `model-store-<digest>.pyz fetch SPEC`, `verify SPEC` or `client`."""

from __future__ import annotations

import hashlib
import inspect
import io
import json
import sys
import zipfile
from pathlib import Path

from ansible.module_utils import (
    model_check,
    model_client,
    model_download,
    model_fetch,
    model_files,
    model_process,
    model_progress,
    model_select,
)
from ansible.module_utils.model_files import StoreFault

PARTS = (
    model_check,
    model_client,
    model_download,
    model_fetch,
    model_files,
    model_process,
    model_progress,
    model_select,
)
JOBS = {"fetch": model_fetch.fetch, "verify": model_check.verify}
ENTRY = "import sys\nfrom ansible.module_utils.model_main import main\nsys.exit(main(sys.argv[1:]))\n"
# A zip file records times; a fixed one makes the same content the same file.
EPOCH = (1980, 1, 1, 0, 0, 0)


def pack() -> bytes:
    """Return the program: this module and its siblings, which Ansible has sent along, as one zip file."""
    package = "ansible/module_utils/"
    sources = {"__main__.py": ENTRY, "ansible/__init__.py": "", package + "__init__.py": ""}
    for part in (*PARTS, sys.modules[__name__]):
        sources[f"{package}{part.__name__.rpartition('.')[2]}.py"] = inspect.getsource(part)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, text in sorted(sources.items()):
            archive.writestr(zipfile.ZipInfo(name, EPOCH), text)
    return packed.getvalue()


def install(folder: Path) -> Path:
    """Write the program below a folder, unless this very one is there, and return its path."""
    content = pack()
    path = folder / f"model-store-{hashlib.sha256(content).hexdigest()[:12]}.pyz"
    if not path.exists():
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        partial = path.with_name(path.name + ".new")
        partial.write_bytes(content)
        partial.chmod(0o755)
        partial.replace(path)
    return path


def main(arguments: list[str]) -> int:
    """Run what the command line asks for."""
    if arguments[0] == "client":
        return int(model_client.main())
    spec = json.loads(Path(arguments[1]).read_text(encoding="utf-8"))
    try:
        JOBS[arguments[0]](spec)
    except StoreFault as fault:
        sys.stderr.write(f"error: {fault}\nnext: {fault.next}\n")
        return 1
    return 0
