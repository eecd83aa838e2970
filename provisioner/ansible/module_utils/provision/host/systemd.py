# SPDX-License-Identifier: Apache-2.0
"""Query and control systemd: units and their journals; every call is bounded in time."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass

from .commands import COMMAND_SECONDS, call, need
from .fault import Fault

# Longer than most units take to stop, until systemd kills what is left.
STOP_SECONDS = 120
_UNITS_OF_TIME = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
PROPERTIES = (
    "LoadState,ActiveState,SubState,UnitFileState,Result,ExecMainStatus,MainPID,NRestarts,NeedDaemonReload,"
    "InvocationID,ActiveEnterTimestampMonotonic,InactiveEnterTimestampMonotonic,ControlGroup,Job"
)


@dataclass(frozen=True)
class UnitState:
    """Describe a unit as systemd sees it now; inactive is both never started and ended successfully."""

    load: str = "not-found"
    active: str = "inactive"
    sub: str = "dead"
    enabled: bool = False
    result: str = "success"
    main_pid: int = 0
    restarts: int = 0
    needs_reload: bool = False
    invocation: str = ""
    active_seconds: float = 0.0
    control_group: str = ""
    exit_status: int = 0
    # How long ago it ended; since the boot of the machine if it has not run.
    ended_seconds: float = 0.0

    @property
    def loaded(self) -> bool:
        """Return whether the unit exists."""
        return self.load == "loaded"

    @property
    def running(self) -> bool:
        """Return whether the unit runs, or is about to start or to end."""
        return self.serving or self.starting

    @property
    def failed(self) -> bool:
        """Return whether the unit has failed."""
        return self.active == "failed"

    @property
    def serving(self) -> bool:
        """Return whether the service answers, which the start of an engine's unit waits for."""
        return self.active in ("active", "reloading")

    @property
    def starting(self) -> bool:
        """Return whether systemd is starting the unit, including pauses between attempts."""
        return self.active in ("activating", "deactivating")

    @property
    def between_attempts(self) -> bool:
        """Return whether a start has failed and systemd waits before the next one."""
        return self.sub == "auto-restart"


def systemctl(*words: str, seconds: float = COMMAND_SECONDS) -> str:
    """Run systemctl and return what it printed."""
    step = "check 'systemctl status' and 'journalctl -b' on the host"
    try:
        return need("systemctl", *words, seconds=seconds, next_step=step)
    except Fault as fault:
        if " masked" in str(fault):
            fault.next_step = f"run `systemctl unmask {words[-1]}` on the host"
        raise


def show(unit: str, properties: str) -> dict[str, str]:
    """Return these properties of a unit, which need not exist, by name."""
    return unit_values(systemctl("show", f"--property={properties}", unit))


def unit_values(shown: str) -> dict[str, str]:
    """Return the properties that `systemctl show` printed, by name."""
    return dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)


def state(unit: str) -> UnitState:
    """Return the state of a unit, which need not exist."""
    return state_of(show(unit, PROPERTIES))


def state_of(found: dict[str, str]) -> UnitState:
    """Return the state of a unit that has these properties."""
    active = found.get("ActiveState", "inactive")
    # A queued start shows only after systemd got to it, so until then the unit still looks as before.
    if active != "deactivating" and found.get("Job", "0") not in ("", "0"):
        active = "activating"
    return UnitState(
        load=found.get("LoadState", ""),
        active=active,
        sub=found.get("SubState", "dead"),
        enabled=found.get("UnitFileState") == "enabled",
        result=found.get("Result", "success"),
        main_pid=int(found.get("MainPID") or 0),
        restarts=int(found.get("NRestarts") or 0),
        needs_reload=found.get("NeedDaemonReload") == "yes",
        invocation=found.get("InvocationID", ""),
        active_seconds=_since(found, "ActiveEnter") if active == "active" else 0.0,
        control_group=found.get("ControlGroup", ""),
        exit_status=int(found.get("ExecMainStatus") or 0),
        ended_seconds=_since(found, "InactiveEnter"),
    )


def _since(values: dict[str, str], event: str) -> float:
    return time.monotonic() - int(values.get(f"{event}TimestampMonotonic") or 0) / 1e6


def stop(unit: str) -> None:
    """Stop a unit and wait until all its processes have ended."""
    limit = show(unit, "TimeoutStopUSec").get("TimeoutStopUSec", "")
    # It holds for the command that stops the unit, and again for the processes that this leaves.
    systemctl("stop", unit, seconds=2 * duration(limit) + STOP_SECONDS)


def duration(text: str) -> float:
    """Return the seconds in a time as systemd shows it, such as `1min 30s`."""
    parts = re.findall(r"([0-9.]+)(us|ms|s|min|h|d)\b", text)
    return sum(float(number) * _UNITS_OF_TIME[unit] for number, unit in parts)


def forgive(unit: str) -> None:
    """Forget a unit's failures and past starts, which count towards its start limit."""
    # It fails for a unit that systemd has not loaded, which has nothing to forget.
    call("systemctl", "reset-failed", unit)


def journal(lines: int, *which: str) -> str:
    """Return the last lines of the journal's entries that these arguments of journalctl choose."""
    argv = ("journalctl", "--quiet", "--no-pager", "--output=cat", f"--lines={lines}", *which)
    return call(*argv).stdout.strip()


def quoted(text: str) -> str:
    """Return a text as one quoted item of a property or of a file that systemd reads."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
