# SPDX-License-Identifier: Apache-2.0
"""Start processes for the lab; no other module of the lab does.

Besides the lab only `runs/run.py` and `fleet/inventory.py` start processes, and they start Ansible.
"""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO

from provisioner.errors import LabError

# A program that builds a root file system cleans up after SIGTERM; this is how long it may take.
CLEAN_UP_SECONDS = 30


@dataclass(frozen=True)
class Result:
    """The exit code and the output of a command."""

    argv: tuple[str, ...]
    code: int
    stdout: bytes
    stderr: bytes

    @property
    def text(self) -> str:
        """Return the standard output as text without the final newline."""
        return self.stdout.decode(errors="replace").rstrip("\n")

    @property
    def complaint(self) -> str:
        """Return the end of the error output, which contains the reason."""
        lines = [line.strip() for line in self.stderr.decode(errors="replace").splitlines() if line.strip()]
        # A program that runs another often repeats that one's end.
        return "; ".join(list(dict.fromkeys(lines))[-3:]) or f"exit code {self.code}"


def run(
    argv: Sequence[str],
    *,
    stdin: bytes | None = None,
    check: bool = True,
    seconds: float | None = None,
    next_step: str | None = None,
) -> Result:
    """Run a command to its end and return its result; a failure is a `LabError` unless `check` is off."""
    try:
        with subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process:
            stdout, stderr = _finish(process, stdin, seconds)
    except FileNotFoundError as missing:
        raise LabError(f"`{argv[0]}` is not installed", "run scripts/lab, which installs it") from missing
    except subprocess.TimeoutExpired as late:
        raise LabError(f"`{_shown(argv)}` did not end within {seconds:g} s", next_step) from late
    result = Result(tuple(argv), process.returncode, stdout, stderr)
    if check and result.code:
        raise LabError(f"`{_shown(argv)}` failed: {result.complaint}", next_step)
    return result


def start_detached(argv: Sequence[str], log: IO[bytes]) -> int:
    """Start a command that outlives this program, with its output in `log`; return its process id."""
    process = subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
    )
    # It should keep running: without a return code here Python would warn about an unfinished child.
    process.returncode = 0
    return process.pid


def _finish(
    process: subprocess.Popen[bytes], stdin: bytes | None, seconds: float | None
) -> tuple[bytes, bytes]:
    """Collect the output; when interrupted or late, end the command gently first."""
    try:
        return process.communicate(stdin, seconds)
    except BaseException:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(CLEAN_UP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
        raise


def _shown(argv: Sequence[str]) -> str:
    """Shorten a command for an error message: the program, its verb and what it acts on."""
    return " ".join(argv) if len(argv) <= 6 else " ".join((*argv[:4], "…", argv[-1]))
