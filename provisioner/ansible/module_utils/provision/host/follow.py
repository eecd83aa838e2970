# SPDX-License-Identifier: Apache-2.0
"""Run a program inside a job to its end: all output goes to the journal, and the last lines are kept."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Mapping, Sequence

TAIL_LINES = 25
LINE = 400
# What stands between an address's :// and its @ is a password, and so is a token in its path.
SECRET = re.compile(r"(?<=://)[^/\s@]+@|(?<=/t/)[^/\s]+")


@dataclass(frozen=True)
class Done:
    """Hold how a program ended and the last lines that it said."""

    code: int
    tail: str


def run(argv: Sequence[str], environment: Mapping[str, str], folder: Path | None = None) -> Done:
    """Run a program to its end; one that cannot be started ends with 127."""
    lines: deque[str] = deque(maxlen=TAIL_LINES)
    try:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=str(folder) if folder else None,
            env=environment,
            encoding="utf-8",
            errors="replace",
        )
    except OSError as error:
        return Done(127, f"{argv[0]} cannot be run: {error.strerror}")
    with process:
        for raw in process.stdout or ():
            line = SECRET.sub("…", raw.rstrip())
            lines.append(line[-LINE:])
            note(line)
    return Done(process.returncode, "\n".join(lines).strip())


def environment(**more: str) -> dict[str, str]:
    """Return the environment of a job's programs, without URLs of downloads: these may hold passwords."""
    inherited = {name: value for name, value in os.environ.items() if not name.endswith("_URL")}
    return {**inherited, "LC_ALL": "C.UTF-8", **more}


def note(text: str) -> None:
    """Write a line to the job's journal."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()
