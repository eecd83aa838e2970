# SPDX-License-Identifier: Apache-2.0
"""Know what a start of a service reads from disk, and what the running engine was started with."""

from __future__ import annotations

import hashlib
import json
import os
import re
import threading
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotInTime
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Mapping

from ..host import managed
from ..host.fault import Fault
from ..host.files import read_json, replace_file
from . import files

READ_SECONDS = 60
# What a unit sets for a crash or a stop alone: a change of it needs no restart of what runs.
_FOR_THE_END = re.compile(
    rb"(?:^#[^\n]*\n)?^(?:LimitCORE=[^\n]*\n|ExecStop=[^\n]*\nSuccessExitStatus=[^\n]*\n)", re.MULTILINE
)
_STOP_SECONDS = re.compile(rb"^(TimeoutStopSec=)\d+$", re.MULTILINE)


@dataclass(frozen=True)
class Inputs:
    """Hold the digests of what is on disk now, and of what the running engine read at its start."""

    now: Mapping[str, str]
    started: Mapping[str, str]

    def changed(self, wanted: Mapping[str, str]) -> list[str]:
        """Return the names of what the running engine read and is not as wanted."""
        return [name for name, digest in wanted.items() if self.started.get(name) != digest]


def read(unit: str, model_dir: str) -> Inputs:
    """Return the inputs of a service; a file system that does not answer is left alone after a while."""
    found: Future[Inputs] = Future()

    def work() -> None:
        try:
            found.set_result(Inputs(digests(unit, model_dir), read_json(started_file(unit), {})))
        except OSError as error:
            found.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    try:
        return found.result(READ_SECONDS)
    except NotInTime as error:
        place = model_dir or str(files.SETTINGS)
        raise Fault(
            f"reading {place} took longer than {READ_SECONDS} s",
            f"check whether the file system of {place} responds, then run the command again",
        ) from error


def record(unit: str, model_dir: str) -> None:
    """Write down what the engine is about to be started with, in a file that the engine cannot change."""
    path = started_file(unit)
    for folder in (path.parent.parent, path.parent):
        folder.mkdir(exist_ok=True)  # services start side by side
        folder.chmod(0o755)  # whatever the unit's umask
    replace_file(path, json.dumps(digests(unit, model_dir)).encode(), 0o600)


def started_file(unit: str) -> Path:
    """Return the file with what the engine was started with."""
    return files.STARTED / f"{managed.stem(unit)}.json"


def digests(unit: str, model_dir: str) -> dict[str, str]:
    """Return what a start of `unit` would read from disk now."""
    return {
        "unit file": _digest(managed.UNITS / unit, unit_digest),
        "environment": _digest(files.setting(unit, ".env")),
        "API key": _digest(files.setting(unit, ".key")),
        "model files": _digest(Path(model_dir)) if model_dir else "none",
    }


def unit_digest(text: bytes) -> str:
    """Return the digest of a unit's text, without what matters to the next crash or stop alone."""
    # Units of earlier versions all have this limit.
    return hashlib.sha256(_STOP_SECONDS.sub(rb"\g<1>60", _FOR_THE_END.sub(b"", text))).hexdigest()


def _digest(path: Path, of: Callable[[bytes], str] = lambda text: hashlib.sha256(text).hexdigest()) -> str:
    if path.is_dir():
        return _tree_digest(path)
    try:
        return of(path.read_bytes())
    except FileNotFoundError:
        return "absent"


def _tree_digest(path: Path) -> str:
    """Summarise a directory by names, sizes and times: reading the weights would take minutes."""
    seen = []
    for folder, folders, names in os.walk(str(path)):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for file in (Path(folder, name) for name in sorted(names) if not name.startswith(".")):
            try:
                status = file.stat()
                found = (status.st_size, status.st_mtime_ns)
            except FileNotFoundError:  # a link to nowhere, or a file that was just removed
                found = (-1, 0)
            seen.append((str(file.relative_to(path)), *found))
    return hashlib.sha256(json.dumps(seen).encode()).hexdigest()
