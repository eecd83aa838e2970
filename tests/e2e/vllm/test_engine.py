# SPDX-License-Identifier: Apache-2.0
"""What an engine survives, and what verify finds."""

from __future__ import annotations

import shlex
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from provisioner import lab
from tests.e2e.machines import LAB, Hub, Machines, inventory_with, phases

WEIGHTS = "/var/lib/provision/models/modelscope/HuggingFaceTB--SmolLM2-135M-Instruct/master/model.safetensors"
# Answers like a healthy engine as long as nobody asks it to generate.
HOLLOW = """
import http.server
class Hollow(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
        self.wfile.write(b'{"data": [{"id": "HuggingFaceTB/SmolLM2-135M-Instruct", "max_model_len": 2048}]}')
    def do_POST(self):
        self.send_response(500); self.end_headers()
http.server.ThreadingHTTPServer(("127.0.0.1", 8000), Hollow).serve_forever()
"""
DROP_IN = """[Service]
ExecStartPre=
ExecStart=
ExecStart=/usr/bin/python3 -c {program}
ExecStartPost=
"""


def test_a_flipped_byte_is_named_and_only_that_file_fetched_again(serving: Machines, hub: Hub) -> None:
    path = shlex.quote(WEIGHTS)
    right = serving.sh("ms", f"sha256sum {path}").split()[0]
    serving.sh("ms", f"printf '\\377' | dd of={path} bs=1 seek=100000 count=1 conv=notrunc status=none")
    wrong = serving.sh("ms", f"sha256sum {path}").split()[0]
    assert right != wrong
    broken = serving.verify("--deep", "--limit", "ms", code=1).report
    (rung,) = [rung for rung in broken["rungs"] if rung["rung"] == "files"]
    assert rung["status"] == "failed"
    for part in ("model.safetensors", right, wrong):
        assert part in rung["evidence"]
    serving.apply("--limit", "ms", *phases("models", "serve"))
    assert serving.sh("ms", f"sha256sum {path}").split()[0] == right
    assert {name.rpartition("/")[2] for name, count in hub.sent().items() if count.get("bytes")} == {
        "model.safetensors"
    }
    serving.verify("--limit", "ms")


def test_a_killed_worker_is_replaced_and_leaves_no_orphan(serving: Machines) -> None:
    before = serving.pid("ms")
    group = "cat /sys/fs/cgroup/system.slice/vllm.service/cgroup.procs"
    old = set(serving.sh("ms", group).split())
    worker = serving.sh("ms", "pgrep -f '^VLLM::' | tail -n 1")
    assert worker in old - {str(before)}
    serving.sh("ms", f"kill -KILL {worker}")
    serving.wait(
        "ms", f'test "$(systemctl show -P MainPID vllm.service)" != {before}', "the main process is replaced"
    )
    serving.wait("ms", "systemctl is-active vllm.service", "the engine is back")
    alive = set(serving.sh("ms", "ps -e -o pid=").split())
    assert not old & alive
    serving.verify("--limit", "ms")


def test_a_server_that_is_healthy_and_cannot_generate_fails_verify(serving: Machines, tmp_path: Path) -> None:
    folder = "/etc/systemd/system/vllm.service.d"
    drop_in = DROP_IN.format(program=shlex.quote(HOLLOW).replace("\n", "\\n"))
    serving.sh(
        "ms", f"printf %s {shlex.quote(HOLLOW)} > /usr/local/hollow.py; chmod 755 /usr/local/hollow.py"
    )
    drop_in = DROP_IN.format(program="").replace("-c", "/usr/local/hollow.py")
    serving.sh("ms", f"mkdir -p {folder}; printf %s {shlex.quote(drop_in)} > {folder}/hollow.conf")
    junit = tmp_path / "verify.xml"
    try:
        serving.sh("ms", "systemctl daemon-reload; systemctl restart vllm.service")
        serving.wait(
            "ms",
            "curl -fs http://127.0.0.1:8000/health || python3 -c 'import urllib.request as u;"
            'u.urlopen("http://127.0.0.1:8000/health")\'',
            "the hollow server answers",
        )
        report = serving.verify("--limit", "ms", "--junit", str(junit), code=1).report
    finally:
        serving.sh(
            "ms",
            f"rm -r {folder} /usr/local/hollow.py; systemctl daemon-reload; systemctl stop vllm.service",
        )
    assert "token" in {rung["rung"] for rung in report["rungs"] if rung["status"] == "failed"}
    assert report["answers"] == []
    assert ET.parse(junit).getroot().findall(".//failure")  # noqa: S314 - we wrote it ourselves


# The test before leaves the engine stopped: one start is enough for both.
def test_after_a_reboot_the_engine_is_back_by_itself(serving: Machines) -> None:
    lab.reboot("ms", lab=LAB)
    serving.wait("ms", "systemctl is-active vllm.service", "the engine is back")
    assert serving.verify("--limit", "ms").report["answers"][0]["host"] == "ms"


def test_a_taken_port_is_refused_and_its_owner_named(serving: Machines, tmp_path: Path) -> None:
    before = serving.pid("hf")
    moved = inventory_with(
        tmp_path, serving.inventory, [("hf ansible_port=2241", "hf ansible_port=2241 serve_port=8009")]
    )
    squatter = "systemd-run --quiet --collect --unit=squatter python3 -m http.server 8009 --bind 127.0.0.1"
    serving.sh("hf", squatter)
    try:
        owner = serving.sh("hf", "systemctl show -P MainPID squatter.service")
        serving.wait("hf", "ss -ltn | grep -q :8009", "the squatter listens")
        arguments = ("--limit", "hf", "--yes", "--json", *phases("serve"))
        refused = serving.provision("apply", str(moved), *arguments, code=1)
    finally:
        serving.sh("hf", "systemctl stop squatter.service")
    (failure,) = refused.report["failures"]
    for part in ("8009", "python3", owner):
        assert part in failure["message"]
    assert serving.pid("hf") == before


@pytest.mark.parametrize("word", ["KillMode=control-group", "User=vllm", "Restart="])
def test_the_unit_is_written_for_recovery(serving: Machines, word: str) -> None:
    assert word in serving.sh("hf", "systemctl cat vllm.service")
