# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: SLF001  Ansible gives callbacks the names of files and tasks as private attributes only.
"""Write one JSON line for each event of a run; never a secret, never to the screen."""

from __future__ import annotations

import re
import sys
import time
from pathlib import Path
from typing import Any

from ansible import context
from ansible.plugins.callback import CallbackBase

# In a checkout, `ansible-playbook` may belong to a Python in which the package is not installed.
sys.path.append(str(Path(__file__).resolve().parents[3]))

from provisioner.ansible import lifeline
from provisioner.runs.events import TEXT_LIMIT, EventFile, origin, payload, place, shorten

DOCUMENTATION = """
name: provision_events
type: notification
short_description: Write the events of a run as JSON lines
description:
  - Writes to the file in the environment variable E(PROVISION_EVENTS); writes nothing if it is not set.
  - Opens the pipe by which the locks of hosts end with Ansible.
"""

DIFF_LIMIT = 16000
NOISE = re.compile(r"^(debug[123]: .*|OpenSSH_\d.*)\n?", re.MULTILINE)  # what -vvv makes ssh say
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class CallbackModule(CallbackBase):  # type: ignore[misc]
    """Write events to the file in PROVISION_EVENTS."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "provision_events"
    CALLBACK_NEEDS_ENABLED = False

    def __init__(self) -> None:
        super().__init__()
        lifeline.open_for_this_process()
        self._events = EventFile()
        self.disabled = not self._events
        self._phase = ""
        self._begun: dict[tuple[str, str], float] = {}
        self._diffs: dict[tuple[str, str], str] = {}

    def v2_playbook_on_start(self, playbook: Any) -> None:
        """Report the playbook."""
        check = bool(context.CLIARGS.get("check"))
        self._events.write("run_start", playbook=playbook._file_name.rpartition("/")[2], check=check)

    def v2_playbook_on_play_start(self, play: Any) -> None:
        """Report a phase: the name of a play."""
        self._phase = str(play.get_name())
        hosts = play.get_variable_manager().get_vars(play=play).get("ansible_play_hosts_all", [])
        self._events.write("phase_start", phase=self._phase, hosts=[str(host) for host in hosts])

    def v2_runner_on_start(self, host: Any, task: Any) -> None:
        """Report that a host begins a task."""
        self._begun[host.name, task._uuid] = time.monotonic()
        self._events.write("task_start", **place(host.name, self._phase, task), **origin(task))

    def v2_runner_on_ok(self, result: Any) -> None:
        """Report a success."""
        self._result(result, "changed" if result.is_changed() else "ok")

    def v2_runner_on_skipped(self, result: Any) -> None:
        """Report a skipped task."""
        self._result(result, "skipped")

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        """Report a failure."""
        self._result(result, "failed", ignored=bool(ignore_errors))

    def v2_runner_on_unreachable(self, result: Any) -> None:
        """Report that the host is unreachable."""
        self._result(result, "unreachable", ignored=bool(result.task.ignore_unreachable))

    def v2_runner_item_on_ok(self, result: Any) -> None:
        """Report the payload of an item of a loop; the loop itself has one result at its end."""
        if not _hidden(result) and result.result.get("provision"):
            self._result(result, "changed" if result.is_changed() else "ok", item=_label(result))

    def v2_runner_item_on_failed(self, result: Any) -> None:
        """Report which item of a loop failed."""
        status = "unreachable" if result.is_unreachable() else "failed"
        ignored = result.task.ignore_errors is True
        self._result(result, status, ignored=ignored, item=_label(result))

    def v2_runner_retry(self, result: Any) -> None:
        """Report the progress of a task that Ansible retries; our modules report from their action plugin."""
        data = result.result
        shown = {} if _hidden(result) else payload(data.get("provision"))
        tries = {"attempt": data.get("attempts"), "attempts": data.get("retries")}
        where = place(result.host.name, self._phase, result.task)
        self._events.write("progress", **where, **tries, provision=shown)

    def v2_on_file_diff(self, result: Any) -> None:
        """Keep the diff for the result; Ansible calls this only if diffs are enabled."""
        diff = result.result.get("diff")
        if diff and result.is_changed() and result.task.diff is True and not _hidden(result):
            key = (result.host.name, result.task._uuid)
            shown = [_with_rights(part, result.task) for part in (diff if isinstance(diff, list) else [diff])]
            self._diffs[key] = self._diffs.get(key, "") + COLOUR.sub("", self._get_diff(shown))

    def v2_playbook_on_stats(self, stats: Any) -> None:
        """End with Ansible's own counts."""
        self._events.write(
            "run_end", stats={str(host): stats.summarize(host) for host in sorted(stats.processed)}
        )

    def _result(self, result: Any, status: str, ignored: bool = False, item: str | None = None) -> None:
        key = (result.host.name, result.task._uuid)
        shown: dict[str, Any] = {"status": status, "ignored": ignored, "item": item}
        if item is None:
            shown["duration_s"] = round(time.monotonic() - self._begun.pop(key, time.monotonic()), 3)
            shown["diff"] = shorten(self._diffs.pop(key, ""), DIFF_LIMIT)
        if not _hidden(result):
            shown["provision"] = payload(result.result.get("provision"))
            if status in ("failed", "unreachable"):
                shown["msg"] = shorten(NOISE.sub("", str(result.result.get("msg", ""))).strip(), TEXT_LIMIT)
        where = place(result.host.name, self._phase, result.task)
        self._events.write("result", **where, **origin(result.task), **shown)


def _with_rights(part: Any, task: Any) -> Any:
    """Return a part of a diff with the place, mode and owner of a new file, which Ansible leaves out."""
    given = {name: str(task.args.get(name) or "") for name in ("dest", "mode", "owner", "group")}
    known = {name: value for name, value in given.items() if value and "{{" not in value}
    if not (isinstance(part, dict) and part.get("after_header") and known):
        return part
    # Ansible's own header is the file on the controller.
    place_of = known.pop("dest", part["after_header"])
    rights = ", ".join(f"{name} {value}" for name, value in known.items())
    return {**part, "after_header": f"{place_of} ({rights})" if rights else place_of}


def _hidden(result: Any) -> bool:
    return "censored" in result.result or bool(result.result.get("_ansible_no_log"))


def _label(result: Any) -> str:
    label = result.result.get("_ansible_item_label", result.result.get("item"))
    return str(label)[:200] if isinstance(label, str | int) and not _hidden(result) else "(item)"
