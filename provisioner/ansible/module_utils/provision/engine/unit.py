# SPDX-License-Identifier: Apache-2.0
"""Inspect and control the systemd unit of an engine; every call is bounded."""

from __future__ import annotations

import time
from dataclasses import dataclass

from ..host.commands import COMMAND_SECONDS, call
from ..host.fault import Fault
from ..host.systemd import active_state, unit_values

# Longer than TimeoutStopSec, after which systemd kills what is left.
STOP_SECONDS = 120
PROPERTIES = (
    "LoadState,ActiveState,SubState,UnitFileState,Result,MainPID,NRestarts,NeedDaemonReload,InvocationID,"
    "ActiveEnterTimestampMonotonic,ControlGroup,Job"
)


@dataclass(frozen=True)
class UnitStatus:
    """Describe a unit as systemd sees it now."""

    loaded: bool
    active: str
    sub: str
    enabled: bool
    result: str
    main_pid: int
    restarts: int
    needs_reload: bool
    invocation: str
    active_seconds: float
    control_group: str

    @property
    def serving(self) -> bool:
        """Return whether the engine answers, which the unit's start waits for."""
        return self.active in ("active", "reloading")

    @property
    def starting(self) -> bool:
        """Return whether systemd is starting the engine, including pauses between attempts."""
        return self.active in ("activating", "deactivating")

    @property
    def between_attempts(self) -> bool:
        """Return whether a start has failed and systemd waits before the next one."""
        return self.sub == "auto-restart"


def systemctl(*words: str, seconds: float = COMMAND_SECONDS) -> str:
    """Run systemctl and return what it printed."""
    done = call("systemctl", *words, seconds=seconds)
    if done.returncode != 0:
        raise Fault(
            "systemctl {} failed: {}".format(" ".join(words), done.stderr.strip() or done.stdout.strip()),
            "check 'systemctl status' and 'journalctl -b' on the host",
        )
    return done.stdout


def status(unit: str) -> UnitStatus:
    """Return the state of `unit`, which need not exist."""
    shown = systemctl("show", "--property=" + PROPERTIES, unit)
    found = unit_values(shown)
    active = active_state(found)
    entered = int(found.get("ActiveEnterTimestampMonotonic") or 0) / 1e6
    return UnitStatus(
        loaded=found.get("LoadState") == "loaded",
        active=active,
        sub=found.get("SubState", "dead"),
        enabled=found.get("UnitFileState") == "enabled",
        result=found.get("Result", "success"),
        main_pid=int(found.get("MainPID") or 0),
        restarts=int(found.get("NRestarts") or 0),
        needs_reload=found.get("NeedDaemonReload") == "yes",
        invocation=found.get("InvocationID", ""),
        active_seconds=time.monotonic() - entered if active == "active" else 0.0,
        control_group=found.get("ControlGroup", ""),
    )


def stop(unit: str) -> None:
    """Stop `unit` and wait until all its processes have ended."""
    systemctl("stop", unit, seconds=STOP_SECONDS)


def forgive(unit: str) -> None:
    """Forget the unit's failures and past starts, which count towards its start limit."""
    # It fails for a unit that systemd has not loaded, which has nothing to forget.
    call("systemctl", "reset-failed", unit)


def journal(unit: str, lines: int, invocation: str = "") -> list[str]:
    """Return the last lines of the unit's journal, of one start only if `invocation` is given."""
    which = [f"_SYSTEMD_INVOCATION_ID={invocation}", "+", f"INVOCATION_ID={invocation}"] if invocation else []
    unit_words = [] if which else ["--unit", unit]
    shown = call(
        "journalctl", "--no-pager", "--quiet", "--output=cat", f"--lines={lines}", *unit_words, *which
    )
    return [line for line in shown.stdout.splitlines() if line.strip()]
