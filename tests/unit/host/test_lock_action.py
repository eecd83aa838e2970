# SPDX-License-Identifier: Apache-2.0
"""The action that takes a host's lock starts what keeps it, over the connection of the host."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from ansible.plugins.action import ActionBase

from provisioner import content
from provisioner.ansible import lifeline
from provisioner.ansible.action import host_lock


class Connection:
    """A connection that would start ssh."""

    def __init__(self, transport: str) -> None:
        self.transport = transport
        self._shell = SimpleNamespace(quote=lambda word: f"'{word}'")

    def get_option(self, name: str) -> str:
        return {"host": "gpu1", "ssh_executable": "/our/ssh"}[name]

    def _build_command(self, program: str, _kind: str, *words: str) -> list[bytes]:
        # A password reaches ssh by another program before it.
        return [b"sshpass", b"-d3", program.encode(), b"-oControlMaster=auto", *map(str.encode, words)]


def act(
    monkeypatch: pytest.MonkeyPatch, transport: str, *, held: bool = True, **answer: Any
) -> tuple[dict[str, Any], list[Sequence[str | bytes]]]:
    started: list[Sequence[str | bytes]] = []
    monkeypatch.setenv(lifeline.RUN, "20261129-1")

    def start(argv: Sequence[str | bytes]) -> bool:
        started.append(argv)
        return held

    monkeypatch.setattr(lifeline, "start", start)
    action = host_lock.ActionModule.__new__(host_lock.ActionModule)
    action._task = SimpleNamespace(args={"what": "apply"})
    action._connection = Connection(transport)
    asked: dict[str, Any] = {}

    def module(**given: Any) -> dict[str, Any]:
        asked.update(given["module_args"])
        return {"changed": False, **answer}

    monkeypatch.setattr(action, "_execute_module", module)
    monkeypatch.setattr(ActionBase, "run", lambda *_: {})
    result = action.run(task_vars={})
    assert (asked["run"], asked["what"], " on " in asked["by"]) == ("20261129-1", "apply", True)
    return result, started


def test_the_heartbeat_runs_over_the_connection_that_is_open(monkeypatch: pytest.MonkeyPatch) -> None:
    result, started = act(monkeypatch, "ssh", heartbeat=["sh", "-c", "cat", "token"])
    assert result == {"changed": False}
    head = [b"/our/ssh", b"-oBatchMode=yes", b"-oControlMaster=auto", b"gpu1"]
    assert started == [[*head, b"exec 'sh' '-c' 'cat' 'token'"]]


def test_a_local_connection_needs_no_ssh(monkeypatch: pytest.MonkeyPatch) -> None:
    _, started = act(monkeypatch, "local", heartbeat=["sh", "-c", "cat", "token"])
    assert started == [["sh", "-c", "cat", "token"]]


def test_without_a_heartbeat_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    result, _ = act(monkeypatch, "local", held=False, heartbeat=["sh"], provision={"warning": ["one"]})
    assert result["provision"]["warning"] == ["one", host_lock.UNHELD]


@pytest.mark.parametrize("answer", [{"heartbeat": []}, {"failed": True, "msg": "this host is being changed"}])
def test_check_mode_and_a_refused_run_hold_nothing(
    monkeypatch: pytest.MonkeyPatch, answer: dict[str, Any]
) -> None:
    assert act(monkeypatch, "ssh", **answer)[1] == []


@pytest.mark.parametrize("playbook", ["preflight", "remove"])
def test_what_changes_hosts_takes_the_lock_first(playbook: str) -> None:
    (play,) = yaml.safe_load(content.playbook(playbook).read_text())
    names = [task["name"] for task in play["tasks"]]
    assert names[: names.index("Take the host's lock")] == [
        "Skip hosts that are left alone",
        "Check the host",
    ]
