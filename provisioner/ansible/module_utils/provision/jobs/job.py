# SPDX-License-Identifier: Apache-2.0
"""Run a job as a transient unit and follow it: its orders, state and outcome are files in /run."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Mapping

from ..host.fault import Fault
from ..host.files import read_json, write_json
from ..host.systemd import UnitState, state
from .orders import Written
from .program import Program
from .unit import journal_tail, start_or_attach, wait

# The options of every module whose job downloads. A task waits for `timeout`, and one call for `poll`.
DOWNLOADS: dict[str, dict[str, Any]] = {
    "environment_file": {"type": "path"},
    "reserve_bytes": {"type": "int", "default": 1024**3},
    "attempts": {"type": "int", "default": 5},
    "stall_seconds": {"type": "int", "default": 60},
    "poll": {"type": "int", "default": 5},
    "timeout": {"type": "int", "default": 14400},
    "runtime": {"type": "path", "default": "/run/provision"},
    "programs": {"type": "path", "default": "/usr/local/lib/provision"},
}
# What only reads waits while anything else uses the disk.
IDLE: dict[str, object] = {"IOSchedulingClass": "idle"}


class Job:
    """Represent a unit that runs one of this project's programs with the orders in a file."""

    def __init__(self, unit: str, program: Program, params: Mapping[str, Any]) -> None:
        self.unit = unit
        self.program = program
        self.programs = Path(params["programs"])
        self.poll: float = params["poll"]
        self.environment_file: str | None = params.get("environment_file") or None
        self.spec = Path(params["runtime"], f"{unit}.spec.json")
        self.result = Path(params["runtime"], f"{unit}.json")

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
        self, key: str, verb: str, orders: Written, limits: dict[str, object]
    ) -> dict[str, Any] | None:
        """Return the outcome of these orders once there is one; others have another value of `key`.

        While the unit works on others, this waits for it, and does not report their failure.
        """
        mine = orders.to_dict()[key]
        if self.running and self.orders().get(key) != mine:
            wait(self.unit, self.poll)
            return None
        try:
            report = self.advance(verb, orders, limits)
        except Fault:
            if self.report().get(key) in (None, mine):
                raise
            return None
        return report if report and report.get(key) == mine else None

    def advance(self, verb: str, orders: Written, limits: dict[str, object]) -> dict[str, Any] | None:
        """Start or attach, wait a little, and return the outcome once the unit has succeeded."""
        if not self.running:
            path, spec = str(self.program.install(self.programs)), orders.to_dict()
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
            return Fault(report["message"], report["next"], report.get("detail", ""))
        tail = journal_tail(self.unit, 20, now.invocation)
        return Fault(
            f"{self.unit} failed ({now.result}, exit {now.exit_status}):\n{tail}",
            f"read 'journalctl -u {self.unit}' on the host; apply again to resume",
        )

    def progress(self, *, changed: bool = False) -> dict[str, Any]:
        """Return the result of a call that ends before the unit; `changed` if the next may find it done."""
        report = self.report().get("progress") or {"label": self.unit}
        return {"changed": changed, "finished": False, "provision": {"progress": report}}
