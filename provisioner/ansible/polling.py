# SPDX-License-Identifier: Apache-2.0
"""Run a module again and again until its work on the host has ended.

A module of long work starts a job on the host, waits a few seconds and returns `finished: false` with
`provision.progress` as long as the job is at work. An action plugin of the module's name, derived from
PollingAction, makes one task of these calls. The job belongs to the host: Ctrl-C or a lost connection ends
the task, not the job, and the next run follows it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from provisioner.runs import events

# Between the starts of two calls; a module that waits by itself is called again at once.
INTERVAL_SECONDS = 1.0
# Jobs end by themselves much earlier.
TIMEOUT_SECONDS = 14400
GOES_ON = "the work goes on on the host: run the same command again to follow it"


class PollingAction(ActionBase):  # type: ignore[misc]  # Ansible ships no types
    """Run the module of the task's own name until it has finished or failed."""

    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the last answer of the module, with what earlier ones have changed."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        begun, attempt = time.monotonic(), 1
        progress = Progress(self._task, task_vars or {})
        answer = self._call(task_vars)
        while is_at_work(answer):
            limit = int(self._task.args.get("timeout") or TIMEOUT_SECONDS)
            if time.monotonic() - begun >= limit:
                return {**result, **timed_out(answer, limit)}
            progress.report(answer, attempt)
            answer = joined(answer, self._call(task_vars))
            attempt += 1
        return {**result, **answer}

    def _call(self, task_vars: dict[str, Any] | None) -> dict[str, Any]:
        """Run the module once; where it has not waited itself, wait a little after it."""
        begun = time.monotonic()
        arguments = dict(self._task.args)  # Ansible adds its own to what it is given
        answer: dict[str, Any] = self._execute_module(
            module_name=self._task.action, module_args=arguments, task_vars=task_vars
        )
        if is_at_work(answer):
            time.sleep(max(0.0, INTERVAL_SECONDS - (time.monotonic() - begun)))
        return answer


class Progress:
    """Report how far a task is: as an event of the run, and on Ansible's own screen."""

    def __init__(self, task: Any, task_vars: Mapping[str, Any]) -> None:
        self._task = task
        self._host = str(task_vars.get("inventory_hostname", ""))
        self._phase = str(task_vars.get("ansible_play_name", ""))
        self._events = events.EventFile()
        self._shown = ""

    def report(self, answer: Mapping[str, Any], attempt: int) -> None:
        """Report what the module says; of a task with secrets, only that it goes on."""
        shown = {} if self._task.no_log else events.payload(answer.get("provision"))
        where = events.place(self._host, self._phase, self._task)
        self._events.write("progress", **where, attempt=attempt, provision=shown)
        line = f"working: [{self._host}] {described(shown.get('progress') or {})}".rstrip()
        if line != self._shown:
            Display().display(line)
            self._shown = line


def is_at_work(answer: Mapping[str, Any]) -> bool:
    """Return whether a module has to be called again."""
    ended = answer.get("failed") or answer.get("unreachable") or answer.get("skipped")
    return answer.get("finished") is False and not ended


def joined(earlier: Mapping[str, Any], later: Mapping[str, Any]) -> dict[str, Any]:
    """Return the later answer, with what the earlier one has changed, shown and warned of."""
    kept = {
        "diff": _differences(earlier.get("diff"), later.get("diff")),
        "warnings": _both(earlier, later, "warnings"),
        "deprecations": _both(earlier, later, "deprecations"),
    }
    changed = bool(earlier.get("changed") or later.get("changed"))
    return {**later, "changed": changed, **{name: value for name, value in kept.items() if value}}


def _both(earlier: Mapping[str, Any], later: Mapping[str, Any], key: str) -> list[Any]:
    before = list(earlier.get(key) or ())
    return before + [one for one in later.get(key) or () if one not in before]


def _differences(earlier: Any, later: Any) -> Any:
    """Return what was different before the first call; steps that were listed since then follow."""
    if isinstance(earlier, list) and isinstance(later, list):
        return earlier + [one for one in later if one not in earlier]
    return earlier or later


def timed_out(answer: Mapping[str, Any], limit: int) -> dict[str, Any]:
    """Return the failure of a task that has waited long enough."""
    last = described((answer.get("provision") or {}).get("progress") or {})
    message = f"not finished after {limit} s" + (f"; last progress: {last}" if last else "")
    given = {**(answer.get("provision") or {}), "next": GOES_ON}
    return {**answer, "failed": True, "msg": message, "provision": given}


def described(progress: Mapping[str, Any]) -> str:
    """Return progress as one line."""
    label, done, total = (progress.get(key) for key in ("label", "done_bytes", "total_bytes"))
    part = f"{done / total:.0%} of {total / 1e9:.2f} GB" if done is not None and total else ""
    return " ".join(filter(None, (str(label or ""), part)))
