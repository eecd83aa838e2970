# SPDX-License-Identifier: Apache-2.0
"""What an operator asks of hosts that serve."""

from __future__ import annotations

import json
from pathlib import Path

from tests.e2e.machines import Machines, inventory_with

QUESTION = "What is the capital of France?"


def test_status_names_services_and_models(serving: Machines) -> None:
    done = serving.provision("status", str(serving.inventory), "--limit", "serving", "--json")
    hosts = {host["name"]: host for host in done.report["hosts"]}
    assert set(hosts) == {"hf", "ms"}
    for host in hosts.values():
        assert host["well"]
        assert host["services"][0]["model"] == "HuggingFaceTB/SmolLM2-135M-Instruct"
        assert host["last_run"]["result"] == "done"


def test_a_host_with_another_key_is_one_line_and_harms_no_other(serving: Machines, tmp_path: Path) -> None:
    """Swap the ports of two hosts: each answers with a key that is not its own."""
    known = tmp_path / "known_hosts"
    good = serving.provision(
        "exec", str(serving.inventory), "--limit", "ms", "--", "cat /etc/ssh/ssh_host_ed25519_key.pub"
    )
    kind, key = next(line for line in good.out.splitlines() if "ssh-ed25519" in line).split()[:2]
    known.write_text(f"[127.0.0.1]:2241 {kind} {key}\n")
    changed = inventory_with(tmp_path, serving.inventory, [("{{ key_folder }}/known_hosts", str(known))])
    done = serving.provision("status", str(changed), "--limit", "serving", "--json", code=1)
    hosts = {host["name"]: host for host in done.report["hosts"]}
    assert hosts["ms"]["well"]
    assert "not the one seen before" in hosts["hf"]["trouble"]
    assert str(known) in hosts["hf"]["next"]


def test_chat_answers_through_a_tunnel_and_logs_show_it(serving: Machines) -> None:
    done = serving.provision("chat", str(serving.inventory), "ms", QUESTION, "--temperature", "0")
    assert "Paris" in done.out
    log = serving.provision("logs", str(serving.inventory), "ms/vllm", "--since", "5m")
    assert "POST /v1/chat/completions" in log.out


def test_exec_runs_as_root_and_fails_when_one_host_does(serving: Machines) -> None:
    arguments = ("exec", str(serving.inventory), "--limit", "serving", "--json", "--become", "--")
    done = serving.provision(*arguments, 'id -u; [ "$(hostname)" = hf ]', code=1)
    hosts = json.loads(done.out)["hosts"]
    assert [hosts[name]["stdout"] for name in ("hf", "ms")] == ["0\n", "0\n"]
    assert [hosts[name]["code"] for name in ("hf", "ms")] == [0, 1]


def test_doctor_finds_nothing_wrong_with_hosts_that_serve(serving: Machines) -> None:
    done = serving.provision("doctor", str(serving.inventory), "--limit", "serving", "--json")
    findings = done.report["findings"]
    assert {"hf", "ms"} <= {finding["host"] for finding in findings}
    assert not [finding for finding in findings if finding["level"] == "wrong"]


def test_doctor_names_the_program_that_holds_a_port(serving: Machines, tmp_path: Path) -> None:
    changed = inventory_with(
        tmp_path, serving.inventory, [("hf ansible_port=2241", "hf ansible_port=2241 serve_port=8011")]
    )
    squatter = "systemd-run --quiet --collect --unit=squatter python3 -m http.server 8011 --bind 127.0.0.1"
    serving.sh("hf", squatter)
    try:
        serving.wait("hf", "ss -ltn | grep -q :8011", "the squatter listens")
        done = serving.provision("doctor", str(changed), "--limit", "hf", "--json", code=1)
    finally:
        serving.sh("hf", "systemctl stop squatter.service")
    (wrong,) = {finding["says"] for finding in done.report["findings"] if finding["level"] == "wrong"}
    assert "vllm.service needs port 8011, which is in use by python3" in wrong
