# SPDX-License-Identifier: Apache-2.0
"""Run long work on the host as a transient systemd unit with a fixed name."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Iterator, Mapping, Sequence

from ..host import proxy
from ..host.commands import CommandFault, call
from ..host.fault import Fault
from ..host.files import replace_file
from ..host.paths import text_of
from ..host.systemd import STOP_SECONDS, UnitState, forgive, journal, quoted, state

REPORTED = Path("/run/provision/reported")
# A failure nobody has read yet is reported once; an older one belongs to a run that is gone.
FRESH_FAILURE_SECONDS = 60
START_ATTEMPTS = 25


def start_or_attach(
    name: str, argv: Sequence[str], *, properties: Mapping[str, object], environment_file: str | None = None
) -> bool:
    """Start the unit and return True, or return False when it runs already or has an unread failure.

    systemd itself refuses a second unit of the same name, so of two callers exactly one starts it.
    """
    # Of two files, what the later one sets counts: a role's own settings win over the host's proxy.
    files = [f"-{proxy.FILE}"] * proxy.FILE.exists() + [environment_file] * bool(environment_file)
    given = {**properties, **({"EnvironmentFile": files} if files else {})}
    run = ["systemd-run", "--quiet", "--no-block", f"--unit={name}.service", *_options(given), "--"]
    # systemd expands $NAME in the command line of a service; what the caller wrote is meant literally.
    run += [word.replace("$", "$$") for word in argv]
    refusal = ""
    for attempt in range(START_ATTEMPTS):
        now = state(name)
        if now.running or (now.failed and (attempt or _is_unread(name, now))):
            return False
        if now.failed:
            forgive(name)
        started = call(*run)
        if started.returncode == 0:
            return True
        refusal = started.stderr.strip()
        if "already" not in refusal:
            break
        # Another caller was first, or systemd has not yet let go of the last run.
        time.sleep(0.2)
    raise Fault(
        f"systemd refused to start {name}: {refusal or 'unit name is taken'}",
        f"run 'systemctl status {name}' on the host; 'systemctl reset-failed {name}' clears an old run",
    )


def _options(properties: Mapping[str, object]) -> Iterator[str]:
    for key, value in properties.items():
        for one in value if isinstance(value, (list, tuple)) else [value]:
            text = ("yes" if one else "no") if isinstance(one, bool) else str(one)
            # systemd splits this one at blanks.
            yield f"--property={key}={quoted(text) if key == 'Environment' else text}"


def _is_unread(name: str, now: UnitState) -> bool:
    """Return whether the unit failed between two polls, so that the failure is reported once."""
    return now.ended_seconds < FRESH_FAILURE_SECONDS and text_of(REPORTED / name) != now.invocation


def wait(name: str, seconds: float) -> UnitState:
    """Wait at most `seconds` for the unit to end and return its state; a failure counts as read then."""
    deadline, pause = time.monotonic() + seconds, 0.1
    while (now := state(name)).running and time.monotonic() < deadline:
        time.sleep(max(0.0, min(pause, deadline - time.monotonic())))
        pause = min(pause * 1.5, 1.0)
    if now.failed:
        replace_file(REPORTED / name, now.invocation.encode(), 0o644)
    return now


def journal_tail(name: str, lines: int = 20, invocation: str = "") -> str:
    """Return the last lines the unit wrote; with `invocation`, of that one run only."""
    which = f"_SYSTEMD_INVOCATION_ID={invocation}" if invocation else f"--unit={name}.service"
    try:
        return journal(lines, which)
    except CommandFault as error:
        return f"(no journal: {error})"


def stop(name: str) -> None:
    """Stop the unit and all its processes and forget a failure; nothing happens when it does not run."""
    # The name only exists while the unit runs or has failed, so a refusal here says it is gone already.
    call("systemctl", "stop", name, seconds=STOP_SECONDS)
    forgive(name)
