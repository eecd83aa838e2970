# SPDX-License-Identifier: Apache-2.0
"""Run long work on the host as a transient systemd unit with a fixed name."""

from __future__ import annotations

import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from ..host.commands import COMMAND_SECONDS, CommandFault, active_state, call, unit_values
from ..host.fault import Fault
from ..host.files import replace_file

SYSTEMD_MARKER = Path("/run/systemd/system")
REPORTED = Path("/run/provision/reported")
STOP_SECONDS = 120
# A failure nobody has read yet is reported once; an older one belongs to a run that is gone.
FRESH_FAILURE_SECONDS = 60
START_ATTEMPTS = 25
RUNNING = ("active", "activating", "deactivating", "reloading")
PROPERTIES = "ActiveState,Result,ExecMainStatus,InvocationID,Job,InactiveEnterTimestampMonotonic"


@dataclass(frozen=True)
class UnitState:
    """Describe a unit as systemd sees it now."""

    active: str
    result: str
    exit_status: int
    invocation: str

    @property
    def running(self) -> bool:
        """Return whether the unit is running or about to."""
        return self.active in RUNNING

    @property
    def failed(self) -> bool:
        """Return whether the unit has failed."""
        return self.active == "failed"


def _command(*argv: str, seconds: float = COMMAND_SECONDS) -> subprocess.CompletedProcess[str]:
    done: subprocess.CompletedProcess[str] = call(*argv, seconds=seconds)
    return done


def require_systemd() -> None:
    """Refuse a host whose PID 1 is not systemd."""
    if SYSTEMD_MARKER.is_dir():
        return
    try:
        init = Path("/proc/1/comm").read_text(encoding="utf-8").strip()
    except OSError:
        init = "unknown"
    raise Fault(
        f"this host runs {init} as PID 1, not systemd",
        "use a virtual machine, a physical host or a container that boots systemd",
    )


def _service(name: str) -> str:
    return name if name.endswith(".service") else name + ".service"


def _show(name: str) -> dict[str, str]:
    require_systemd()
    shown = _command("systemctl", "show", "--property=" + PROPERTIES, _service(name))
    if shown.returncode != 0:
        raise Fault(
            f"systemctl show {name} failed: {shown.stderr.strip()}",
            "run 'systemctl status' on the host",
        )
    values: dict[str, str] = unit_values(shown.stdout)
    return values


def _state_of(values: dict[str, str]) -> UnitState:
    status = values.get("ExecMainStatus", "0")
    return UnitState(
        active=active_state(values),
        result=values.get("Result", "success"),
        exit_status=int(status) if status.lstrip("-").isdigit() else 0,
        invocation=values.get("InvocationID", ""),
    )


def state(name: str) -> UnitState:
    """Return the unit's state in systemd; inactive is both never started and finished successfully."""
    return _state_of(_show(name))


def _was_reported(name: str, invocation: str) -> bool:
    try:
        return (REPORTED / name).read_text(encoding="utf-8") == invocation
    except OSError:
        return False


def _mark_reported(name: str, invocation: str) -> None:
    replace_file(REPORTED / name, invocation.encode(), 0o644)


def _unread_failure(name: str, values: dict[str, str]) -> bool:
    """Return whether the unit failed between two polls, so that the failure is reported once."""
    ended = values.get("InactiveEnterTimestampMonotonic", "0")
    age = time.monotonic() - int(ended) / 1e6 if ended.isdigit() else FRESH_FAILURE_SECONDS
    invocation = values.get("InvocationID", "")
    return age < FRESH_FAILURE_SECONDS and not _was_reported(name, invocation)


def _run_arguments(
    name: str, argv: list[str], properties: dict[str, object], environment_file: str | None
) -> list[str]:
    arguments = ["systemd-run", "--quiet", "--no-block", "--unit=" + _service(name)]
    for key, value in properties.items():
        for one in value if isinstance(value, (list, tuple)) else [value]:
            text = ("yes" if one else "no") if isinstance(one, bool) else str(one)
            if key == "Environment":
                # systemd splits this one at blanks.
                text = '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
            arguments.append(f"--property={key}={text}")
    if environment_file:
        arguments.append("--property=EnvironmentFile=" + environment_file)
    # systemd expands $NAME in the command line of a service; what the caller wrote is meant literally.
    return [*arguments, "--", *(word.replace("$", "$$") for word in argv)]


def start_or_attach(
    name: str,
    argv: list[str],
    *,
    properties: dict[str, object],
    environment_file: str | None = None,
) -> bool:
    """Start the unit and return True, or return False when it runs already or has an unread failure.

    systemd itself refuses a second unit of the same name, so of two callers exactly one starts it.
    """
    arguments = _run_arguments(name, argv, properties, environment_file)
    refusal = ""
    for attempt in range(START_ATTEMPTS):
        values = _show(name)
        now = _state_of(values)
        if now.running:
            return False
        if now.failed:
            if attempt or _unread_failure(name, values):
                return False
            _command("systemctl", "reset-failed", _service(name))
        started = _command(*arguments)
        if started.returncode == 0:
            return True
        refusal = started.stderr.strip()
        if "already" not in refusal:
            break
        # Another caller was first, or systemd has not yet let go of the last run.
        time.sleep(0.2)
    raise Fault(
        "systemd refused to start {}: {}".format(name, refusal or "unit name is taken"),
        f"run 'systemctl status {name}' on the host; 'systemctl reset-failed {name}' clears an old run",
    )


def wait(name: str, seconds: float) -> UnitState:
    """Wait at most `seconds` for the unit to end and return its state; a failure counts as read then."""
    deadline = time.monotonic() + seconds
    pause = 0.1
    now = state(name)
    while now.running and time.monotonic() < deadline:
        time.sleep(max(0.0, min(pause, deadline - time.monotonic())))
        pause = min(pause * 1.5, 1.0)
        now = state(name)
    if now.failed:
        _mark_reported(name, now.invocation)
    return now


def journal_tail(name: str, lines: int = 20, invocation: str = "") -> str:
    """Return the last lines the unit wrote; with `invocation`, of that one run only."""
    argv = ["journalctl", "--quiet", "--no-pager", "--output=cat", f"--lines={lines}"]
    argv += ["_SYSTEMD_INVOCATION_ID=" + invocation] if invocation else ["--unit=" + _service(name)]
    try:
        return _command(*argv).stdout.strip()
    except CommandFault as error:
        return f"(no journal: {error})"


def stop(name: str) -> None:
    """Stop the unit and all its processes and forget a failure; nothing happens when it does not run."""
    require_systemd()
    # The name only exists while the unit runs or has failed, so a refusal here says it is gone already.
    _command("systemctl", "stop", _service(name), seconds=STOP_SECONDS)
    _command("systemctl", "reset-failed", _service(name))
