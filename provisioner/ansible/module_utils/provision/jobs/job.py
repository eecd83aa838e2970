# SPDX-License-Identifier: Apache-2.0
"""Hand a job to a transient unit and follow it: its orders, its state and its outcome are files of /run."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Callable

from ..host.fault import Fault
from ..host.json_files import read_json, write_json
from .unit import UnitState, journal_tail, start_or_attach, state, wait


class Job:
    """A unit that works through orders with a program of ours."""

    def __init__(self, unit: str, runtime: Path, poll: float, environment_file: str | None = None) -> None:
        self.unit = unit
        self.poll = poll
        self.environment_file = environment_file
        self.spec = runtime / f"{unit}.spec.json"
        self.result = runtime / f"{unit}.json"

    @property
    def running(self) -> bool:
        """Tell whether the unit is at work."""
        return bool(state(self.unit).running)

    def orders(self) -> dict[str, Any]:
        """Return the orders of the latest start."""
        return dict(read_json(self.spec, {}))

    def told(self) -> dict[str, Any]:
        """Return what the unit has written last."""
        return dict(read_json(self.result, {}))

    def advance(
        self, program: Callable[[], Path], verb: str, spec: dict[str, Any], limits: dict[str, object]
    ) -> dict[str, Any] | None:
        """Start or attach, wait a little, and return the outcome once the unit has ended well."""
        if not self.running:
            self._start(program(), verb, spec, limits)
        now = wait(self.unit, self.poll)
        if now.running:
            return None
        told = self.told()
        if now.failed:
            raise self.failure(now, told)
        if told.get("state") != "done":
            raise Fault(
                f"{self.unit} ended without a result",
                f"read 'journalctl -u {self.unit}' on the host and apply again",
            )
        return told

    def _start(self, program: Path, verb: str, spec: dict[str, Any], limits: dict[str, object]) -> None:
        self.give({**spec, "program": str(program), "result": str(self.result)})
        start_or_attach(
            self.unit,
            [sys.executable, str(program), verb, str(self.spec)],
            properties={
                "Description": spec["title"],
                "UMask": "0027",
                "Nice": 10,
                "NoNewPrivileges": True,
                **limits,
            },
            environment_file=self.environment_file,
        )

    def give(self, spec: dict[str, Any]) -> None:
        """Write the orders of the next start, for root alone."""
        write_json(self.spec, spec, 0o600)

    def failure(self, now: UnitState, told: dict[str, Any]) -> Fault:
        """Return why the unit failed, in its own words where it left some."""
        if told.get("state") == "failed" and told.get("invocation") in ("", now.invocation):
            return Fault(told["message"], told["next"])
        tail = journal_tail(self.unit, 20, now.invocation)
        return Fault(
            f"{self.unit} broke off ({now.result}, exit {now.exit_status}):\n{tail}",
            f"read 'journalctl -u {self.unit}' on the host; apply again goes on where it ended",
        )

    def progress(self, *, changed: bool = False) -> dict[str, Any]:
        """Return the result of a call that leaves the unit at work.

        `changed` is for work that the next call finds done without knowing by whom.
        """
        told = self.told().get("progress") or {"label": self.unit}
        return {"changed": changed, "finished": False, "provision": {"progress": told}}
