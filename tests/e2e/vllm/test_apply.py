# SPDX-License-Identifier: Apache-2.0
"""From bare hosts to an answer, and what a second apply does."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

from provisioner import lab
from tests.e2e.machines import LAB, Done, Machines, inventory_with, phases


def test_a_bare_host_ends_with_an_answer_and_so_does_one_that_has_served_another_model(
    first_apply: Done, both: Done
) -> None:
    found = [*first_apply.report["answers"], *both.report["answers"]]
    assert sorted(answer["host"] for answer in found) == ["hf", "hf", "ms"]
    for answer in found:
        assert "Paris" in answer["text"]
        assert answer["ttft_s"] > 0
        assert answer["tokens_per_s"] > 0


def test_rungs_that_need_a_gpu_are_not_called_passed(both: Done) -> None:
    found = {(rung["host"], rung["rung"]): rung for rung in both.report["rungs"]}
    for host in ("hf", "ms"):
        for rung in ("driver", "gpus", "device"):
            assert found[host, rung]["status"] == "not applicable"
        for rung in ("reachable", "files", "unit", "api", "token", "settings"):
            assert found[host, rung]["status"] == "passed", found[host, rung]


def test_a_second_apply_changes_nothing_and_restarts_nothing(serving: Machines) -> None:
    before = [serving.pid(host) for host in ("hf", "ms")]
    again = serving.apply("--limit", "serving")
    assert again.report["changes"] == []
    assert [serving.pid(host) for host in ("hf", "ms")] == before


def test_a_host_that_is_down_does_not_stop_the_others(serving: Machines, tmp_path: Path) -> None:
    """Look for one host at a port that refuses connections, as a machine does on which no sshd runs."""
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        port = reserved.getsockname()[1]
    down = [("\n[serving]\n", f"down ansible_port={port}\n\n[serving]\n")]
    inventory = str(inventory_with(tmp_path, serving.inventory, down))
    arguments = ("--limit", "serving,down", "--yes", "--json", *phases("serve", "verify"))
    done = serving.provision("apply", inventory, *arguments, code=1)
    (failure,) = done.report["failures"]
    assert (failure["host"], failure["kind"]) == ("down", "unreachable")
    assert "\n" not in failure["message"]
    assert {answer["host"] for answer in done.report["answers"]} == {"hf", "ms"}


def test_a_check_shows_the_change_and_makes_none_and_a_restart_needs_consent(
    serving: Machines, tmp_path: Path
) -> None:
    """Change one environment variable of one service; test_interrupt.py applies it."""
    changed = inventory_with(
        tmp_path,
        serving.inventory,
        [("hf ansible_port=2241", 'hf ansible_port=2241 serve_env=\'{"VLLM_LOG_STATS_INTERVAL": "7"}\'')],
    )
    before = serving.pid("hf")
    files = lab.filesystem_digest("hf", lab=LAB)
    check = serving.provision("apply", str(changed), "--limit", "serving", "--check", "--diff")
    assert "VLLM_LOG_STATS_INTERVAL" in check.out
    assert differences(files, lab.filesystem_digest("hf", lab=LAB)) == []
    assert serving.pid("hf") == before

    refused = serving.provision("apply", str(changed), "--limit", "serving", *phases("serve"), code=2)
    assert "vllm.service" in refused.err
    assert "--yes" in refused.err
    assert serving.pid("hf") == before


def test_plain_ansible_playbook_runs_the_same_site(serving: Machines, checkout: Path) -> None:
    argv = [sys.executable, "-m", "ansible", "playbook", "playbooks/site.yml"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    done = subprocess.run(
        [*argv, "-i", str(serving.inventory), "--limit", "ms"],
        cwd=checkout,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert "changed=0 " in done.stdout


def differences(before: dict[str, str], after: dict[str, str]) -> list[str]:
    """Return the paths that differ, without what the login itself and Python leave."""
    changed = {path for path in {*before, *after} if before.get(path) != after.get(path)}
    return sorted(
        path for path in changed if not path.startswith(("/home/lab/.ansible", "/root/.ansible", "/tmp"))
    )
