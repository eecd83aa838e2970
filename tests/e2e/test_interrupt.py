# SPDX-License-Identifier: Apache-2.0
"""What happens to work under way when `provision` is stopped, and what the next run makes of it."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from provisioner.lab import controller, tiny_model
from tests.e2e.machines import Hub, Machines, interrupt, inventory_with

REPOSITORY = "stand-in/interrupted"
SHARD = 4 * 1024**2
JOB = "systemctl list-units --no-legend --state=active,activating 'provision-job-model-*' | grep -q ."
# Its process is there, and does not answer yet.
STARTING = (
    'test "$(systemctl is-active vllm.service)" = activating'
    ' && test "$(systemctl show -P MainPID vllm.service)" != 0'
)
# The journal's name for the message that systemd is starting a unit.
STARTS = "journalctl -q --output=cat UNIT=vllm.service MESSAGE_ID=7d4958e842da4a758f6c1cdc7b36dcc5 | wc -l"
# Whoever presses Ctrl-C gets an orderly end; the other signal leaves none.
INTERRUPTIONS = pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -9)])


@pytest.fixture
def downloading(machines: Machines, hub: Hub, tmp_path: Path) -> Iterator[tuple[str, ...]]:
    """Serve a small model slowly, and return the command that fetches it on the third host."""
    root = controller.cache_dir() / "models"
    shutil.rmtree(root / REPOSITORY, ignore_errors=True)
    tiny_model.make(root, REPOSITORY, shards=1, shard_bytes=SHARD)
    words = f"serve_engine=vllm serve_model={REPOSITORY}"
    inventory = inventory_with(
        tmp_path, machines.inventory, [("third ansible_port=2243", f"third ansible_port=2243 {words}")]
    )
    command = ("apply", str(inventory), "--limit", "third", "--phase", "host", "--phase", "models", "--yes")
    hub.faults({"path": f"{REPOSITORY}/*.safetensors", "kind": "slow", "rate": SHARD // 8})
    yield command
    machines.sh(
        "third",
        "systemctl stop 'provision-job-model-*'; rm -rf /var/lib/provision/models/huggingface/stand-in*",
    )
    shutil.rmtree(root / REPOSITORY.split("/", maxsplit=1)[0])


@INTERRUPTIONS
def test_a_download_goes_on_and_the_next_run_takes_it_over(
    machines: Machines, hub: Hub, downloading: tuple[str, ...], number: signal.Signals, code: int
) -> None:
    running = machines.start(*downloading)
    try:
        machines.wait("third", JOB, "the download has begun", 180)
        ended, said = interrupt(running, number)
    finally:
        running.kill()
    assert ended == code, said
    assert "Traceback" not in said
    machines.sh("third", JOB)
    machines.provision(*downloading)
    # Fetched once, by the job of the first run: each byte was sent one time.
    assert SHARD <= hub.bytes_of(".safetensors") < SHARD * 1.1


def test_a_start_goes_on_and_the_next_run_takes_it_over(serving: Machines, tmp_path: Path) -> None:
    """Change the environment, so that the service has to restart."""
    env = 'hf ansible_port=2241 serve_env=\'{"VLLM_LOG_STATS_INTERVAL": "2"}\''
    changed = inventory_with(tmp_path, serving.inventory, [("hf ansible_port=2241", env)])
    command = ("apply", str(changed), "--limit", "hf", "--yes")
    starts = int(serving.sh("hf", STARTS))
    running = serving.start(*command)
    try:
        serving.wait("hf", STARTING, "the engine starts", 180)
        starting = serving.pid("hf")
        ended, said = interrupt(running, signal.SIGINT)
    finally:
        running.kill()
    assert ended == 130, said
    assert "Traceback" not in said
    assert serving.pid("hf") == starting
    serving.provision(*command)
    assert serving.sh("hf", "systemctl is-active vllm.service") == "active"
    # Started once, by the first run: the second waited for that very process.
    assert serving.pid("hf") == starting
    assert int(serving.sh("hf", STARTS)) == starts + 1
    assert serving.sh("hf", "systemctl show -P NRestarts vllm.service") == "0"
