# SPDX-License-Identifier: Apache-2.0
"""From bare hosts to an answer, and what a second apply does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from provisioner import lab
from tests.e2e.machines import LAB, Done, Machines, inventory_with


def test_bare_hosts_end_with_an_answer(first_apply: Done) -> None:
    answers = {answer["host"]: answer for answer in first_apply.report["answers"]}
    assert set(answers) == {"hf", "ms"}
    for answer in answers.values():
        assert "Paris" in answer["text"]
        assert answer["ttft_s"] > 0
        assert answer["tokens_per_s"] > 0


def test_rungs_that_need_a_gpu_are_not_called_passed(first_apply: Done) -> None:
    found = {(rung["host"], rung["rung"]): rung for rung in first_apply.report["rungs"]}
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


def test_a_check_shows_the_change_and_makes_none_then_only_that_service_restarts(
    serving: Machines, tmp_path: Path
) -> None:
    """Change one environment variable of one service: check it, then apply it."""
    changed = inventory_with(
        tmp_path,
        serving.inventory,
        [("hf ansible_port=2241", 'hf ansible_port=2241 serve_env=\'{"VLLM_LOG_STATS_INTERVAL": "7"}\'')],
    )
    pids = {host: serving.pid(host) for host in ("hf", "ms")}
    files = lab.filesystem_digest("hf", lab=LAB)
    arguments = ("apply", str(changed), "--limit", "serving")
    check = serving.provision(*arguments, "--check", "--diff")
    assert "VLLM_LOG_STATS_INTERVAL" in check.out
    assert differences(files, lab.filesystem_digest("hf", lab=LAB)) == []
    assert serving.pid("hf") == pids["hf"]

    refused = serving.provision(*arguments, code=2)
    assert "vllm.service" in refused.err
    assert "--yes" in refused.err
    assert serving.pid("hf") == pids["hf"]

    serving.provision(*arguments, "--yes")
    assert serving.pid("hf") != pids["hf"]
    assert serving.pid("ms") == pids["ms"]
    environment = serving.sh("hf", f"tr '\\0' '\\n' < /proc/{serving.pid('hf')}/environ")
    assert "VLLM_LOG_STATS_INTERVAL=7" in environment.splitlines()


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
