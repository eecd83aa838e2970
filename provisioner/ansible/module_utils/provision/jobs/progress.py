# SPDX-License-Identifier: Apache-2.0
"""Publish how far a job is in a file that is replaced every second."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from pathlib import Path
from typing import Any, Callable

from ..host.fault import fault_of
from ..host.files import write_json
from ..host.follow import note

INTERVAL = 1.0
# The rate is taken over this many readings, so that it neither jumps nor lags.
WINDOW = 10


class Progress:
    """Write the state of a job to its file until it ends."""

    def __init__(self, path: Path, label: str, about: dict[str, Any] | None = None) -> None:
        self.path = path
        self.label = label
        self.about = about or {}
        self.total = 0
        self.done: Callable[[], int] = lambda: 0
        self._readings: list[tuple[float, int]] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._write_often, daemon=True)

    def __enter__(self) -> Progress:  # noqa: PYI034 - Self needs Python 3.11
        self._write(self.body())
        self._thread.start()
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        self._ended.set()
        self._thread.join()
        if error is not None:
            self._write(failed(error, self.label))

    def finish(self, **outcome: Any) -> None:
        """Write that the job has succeeded, with its outcome."""
        self._ended.set()
        self._thread.join()
        self._write({"state": "done", **outcome})

    def say(self, label: str) -> None:
        """Publish what the job does now, and write it to the journal once."""
        if label != self.label:
            note(label)
        self.label = label

    def body(self) -> dict[str, Any]:
        """Return what a reader sees while the job runs."""
        done = min(self.done(), self.total) if self.total else self.done()
        self._readings = [*self._readings[1 - WINDOW :], (time.monotonic(), done)]
        (begun, at_first), (now, at_last) = self._readings[0], self._readings[-1]
        rate = int(max(0, at_last - at_first) / (now - begun)) if now > begun else 0
        counted = {"done_bytes": done, "total_bytes": self.total, "rate_bytes_s": rate}
        return {"state": "running", "progress": {"label": self.label, **counted}}

    def _write_often(self) -> None:
        while not self._ended.wait(INTERVAL):
            # A disk that is full now may have room for the outcome.
            with contextlib.suppress(OSError):
                self._write(self.body())

    def _write(self, body: dict[str, Any]) -> None:
        write_state(self.path, {**self.about, **body})


def failed(error: BaseException, label: str = "") -> dict[str, Any]:
    """Return the state of a job that an exception has ended, with the step's label unless it is a fault."""
    fault = fault_of(error)
    about = f"{label}: " if label and fault is not error else ""
    detail = {"detail": fault.detail} if fault.detail else {}
    return {"state": "failed", "message": f"{about}{fault}", "next": fault.next_step, **detail}


def write_state(path: Path, body: dict[str, Any]) -> None:
    """Replace a job's state file."""
    # systemd gives each start of a unit its own number; a reader can tell this run from an earlier one.
    write_json(path, {**body, "invocation": os.environ.get("INVOCATION_ID", "")}, 0o644)
