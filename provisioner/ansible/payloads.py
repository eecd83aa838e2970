# SPDX-License-Identifier: Apache-2.0
"""Keep what Ansible packs for hosts, so that a later run need not pack the same modules again.

Once in every run Ansible parses and packs a module and all that it imports, which takes more processor time
than anything else in a run with nothing to change. It looks first in the folder `ansiballz_cache` of the
run's own temporary folder (lib/ansible/executor/module_common.py of ansible-core 2.19 to 2.21).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from ansible import constants
from ansible.release import __version__ as version

from provisioner import bindings, content, settings

FOLDER = "ansiballz_cache"
# What two versions of the tool and two of Ansible need in turn.
SETS_KEPT = 4
# Ansible's own modules and those without a collection; a user's collection may change between two runs.
BUILTIN, PLAIN = "ansible.modules.", "ansible.legacy."


def fetch() -> Path:
    """Hand this run what earlier runs packed from the same files; return where it keeps its own."""
    kept, here = settings.cache_home() / "modules" / _digest(), _here()
    # Without a cache everything is packed again, as Ansible does anyway.
    with contextlib.suppress(OSError):
        if _is_trusted(kept):
            here.mkdir(mode=0o700, exist_ok=True)
            os.utime(kept)
            for file in kept.iterdir():
                if not (here / file.name).exists():
                    (here / file.name).symlink_to(file)
    return kept


def keep(kept: Path) -> None:
    """Keep what this run has packed, for those that find the files as this one did at its start."""
    here, modules = _here(), _modules()
    with contextlib.suppress(OSError):
        if here.is_dir() and _is_trusted(kept):
            for file in here.iterdir():
                if not file.is_symlink() and _is_ours(file.name, modules):
                    _copy(file, kept / file.name)
            _prune(kept.parent)


def _is_trusted(kept: Path) -> bool:
    """Return whether no one else can put a file there; Ansible executes what it finds."""
    for folder in (settings.cache_home(), kept.parent, kept):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
            return False
    return True


def _here() -> Path:
    return Path(constants.DEFAULT_LOCAL_TMP) / FOLDER


def _is_ours(name: str, modules: set[str]) -> bool:
    module = name.partition("-")[0]
    if name.endswith((".lock", "-part")):
        return False
    return module.startswith(BUILTIN) or module.removeprefix(PLAIN) in modules


def _modules() -> set[str]:
    folders = [content.plugins("modules"), *content.roles().glob("*/library")]
    return {file.stem for folder in folders for file in folder.glob("*.py")}


def _digest() -> str:
    """Return a digest that changes with every file that goes into one of our modules."""
    found = hashlib.sha256(repr((version, sys.version_info[:3], constants.__file__)).encode())
    for line in _files():
        found.update(f"{line}\n".encode())
    return found.hexdigest()[:16]


def _files() -> Iterator[str]:
    shared = bindings.file()
    if shared is not None:
        yield _state(shared)
    for folder in _folders():
        for place, folders, files in os.walk(folder, followlinks=True):
            folders[:] = sorted(name for name in folders if name != "__pycache__")
            yield from (_state(Path(place, name)) for name in sorted(files))


def _folders() -> Iterable[str | Path]:
    roles = (folder for kind in ("library", "module_utils") for folder in content.roles().glob(f"*/{kind}"))
    ours = (content.plugins("modules"), content.plugins("module_utils"))
    return *constants.DEFAULT_MODULE_PATH, *constants.DEFAULT_MODULE_UTILS_PATH, *ours, *sorted(roles)


def _state(file: Path) -> str:
    try:
        found = file.stat()
    except OSError:
        return f"{file} -"
    return f"{file} {found.st_size} {found.st_mtime_ns}"


def _copy(file: Path, target: Path) -> None:
    with tempfile.NamedTemporaryFile(dir=target.parent.parent, delete=False) as draft:
        with file.open("rb") as packed:
            shutil.copyfileobj(packed, draft)
        draft.flush()
        # Ansible trusts what it finds, so nothing half-written may have this name, even after a power cut.
        os.fsync(draft.fileno())
    Path(draft.name).replace(target)


def _prune(folder: Path) -> None:
    found = [entry for entry in folder.iterdir() if entry.is_dir()]
    for old in sorted(found, key=lambda entry: entry.stat().st_mtime)[:-SETS_KEPT]:
        shutil.rmtree(old, ignore_errors=True)
