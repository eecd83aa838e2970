# SPDX-License-Identifier: Apache-2.0
"""Run a job as a transient unit and follow it: its orders, state and outcome are files in /run."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Callable

from ..host.fault import Fault
from ..host.json_files import read_json, write_json
from ..host.systemd import UnitState, state
from .unit import journal_tail, start_or_attach, wait


class Job:
    """Represent a unit that runs one of this project's programs with the orders in a file."""

    def __init__(self, unit: str, runtime: Path, poll: float, environment_file: str | None = None) -> None:
        self.unit = unit
        self.poll = poll
        self.environment_file = environment_file
        self.spec = runtime / f"{unit}.spec.json"
        self.result = runtime / f"{unit}.json"

    @property
    def running(self) -> bool:
        """Return whether the unit is running."""
        return state(self.unit).running

    def orders(self) -> dict[str, Any]:
        """Return the orders of the latest start."""
        return dict(read_json(self.spec, {}))

    def report(self) -> dict[str, Any]:
        """Return the latest content of the unit's state file."""
        return dict(read_json(self.result, {}))

    def answer(
        self,
        key: str,
        program: Callable[[], Path],
        verb: str,
        spec: dict[str, Any],
        limits: dict[str, object],
    ) -> dict[str, Any] | None:
        """Return the outcome of these orders, which `key` tells from others of the same unit, once it exists.

        While the unit works on other orders, this waits for it; their failure is not one of these.
        """
        if self.running and self.orders().get(key) != spec[key]:
            wait(self.unit, self.poll)
            return None
        try:
            report = self.advance(program, verb, spec, limits)
        except Fault:
            if self.report().get(key) in (None, spec[key]):
                raise
            return None
        return report if report and report.get(key) == spec[key] else None

    def advance(
        self, program: Callable[[], Path], verb: str, spec: dict[str, Any], limits: dict[str, object]
    ) -> dict[str, Any] | None:
        """Start or attach, wait a little, and return the outcome once the unit has succeeded."""
        if not self.running:
            path = str(program())
            self.write_orders({**spec, "program": path, "result": str(self.result)})
            start_or_attach(
                self.unit,
                [sys.executable, path, verb, str(self.spec)],
                properties={
                    "Description": spec["title"],
                    "UMask": "0027",
                    "Nice": 10,
                    "NoNewPrivileges": True,
                    **limits,
                },
                environment_file=self.environment_file,
            )
        now = wait(self.unit, self.poll)
        if now.running:
            return None
        report = self.report()
        if now.failed:
            raise self.failure(now, report)
        if report.get("state") != "done":
            raise Fault(
                f"{self.unit} ended without a result",
                f"read 'journalctl -u {self.unit}' on the host and apply again",
            )
        return report

    def write_orders(self, spec: dict[str, Any]) -> None:
        """Write the orders of the next start, readable by root only."""
        write_json(self.spec, spec, 0o600)

    def failure(self, now: UnitState, report: dict[str, Any]) -> Fault:
        """Return why the unit failed, from its state file if it wrote one."""
        if report.get("state") == "failed" and report.get("invocation") in ("", now.invocation):
            return Fault(report["message"], report["next"])
        tail = journal_tail(self.unit, 20, now.invocation)
        return Fault(
            f"{self.unit} failed ({now.result}, exit {now.exit_status}):\n{tail}",
            f"read 'journalctl -u {self.unit}' on the host; apply again to resume",
        )

    def progress(self, *, changed: bool = False) -> dict[str, Any]:
        """Return the result of a call after which the unit is still running.

        `changed` is for work that the next call finds done without knowing what did it.
        """
        report = self.report().get("progress") or {"label": self.unit}
        return {"changed": changed, "finished": False, "provision": {"progress": report}}
