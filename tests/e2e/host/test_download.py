# SPDX-License-Identifier: Apache-2.0
"""What happens to a download under way when `provision` is stopped, and what the next run makes of it."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from provisioner.lab import controller, tiny_model
from tests.e2e.host.conftest import HOST
from tests.e2e.machines import Hub, Machines, interrupt, inventory_with

REPOSITORY = "stand-in/interrupted"
SHARD = 4 * 1024**2
JOB = "systemctl list-units --no-legend --state=active,activating 'provision-job-model-*' | grep -q ."
# A signal that leaves no orderly end; the other one is tested with an engine that starts.
INTERRUPTIONS = pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGKILL, -9), pytest.param(signal.SIGINT, 130, marks=pytest.mark.exhaustive)],
)


@pytest.fixture
def downloading(machines: Machines, hub: Hub, tmp_path: Path) -> Iterator[tuple[str, ...]]:
    """Serve a small model slowly, and return the command that fetches it on the host."""
    root = controller.cache_dir() / "models"
    shutil.rmtree(root / REPOSITORY, ignore_errors=True)
    tiny_model.make(root, REPOSITORY, shards=1, shard_bytes=SHARD)
    words = f"serve_engine=vllm serve_model={REPOSITORY}"
    inventory = inventory_with(
        tmp_path, machines.inventory, [("one ansible_port=2245", f"one ansible_port=2245 {words}")]
    )
    command = ("apply", str(inventory), "--limit", HOST, "--phase", "host", "--phase", "models", "--yes")
    hub.faults({"path": f"{REPOSITORY}/*.safetensors", "kind": "slow", "rate": SHARD // 8})
    yield command
    machines.sh(
        HOST,
        "systemctl stop 'provision-job-model-*'; rm -rf /var/lib/provision/models/huggingface/stand-in*",
    )
    shutil.rmtree(root / REPOSITORY.split("/", maxsplit=1)[0])


@INTERRUPTIONS
def test_a_download_goes_on_and_the_next_run_takes_it_over(
    machines: Machines, hub: Hub, downloading: tuple[str, ...], number: signal.Signals, code: int
) -> None:
    running = machines.start(*downloading)
    try:
        machines.wait(HOST, JOB, "the download has begun", 600)
        ended, said = interrupt(running, number)
    finally:
        running.kill()
    assert ended == code, said
    assert "Traceback" not in said
    machines.sh(HOST, JOB)
    machines.provision(*downloading)
    # Fetched once, by the job of the first run: each byte was sent one time.
    assert SHARD <= hub.bytes_of(".safetensors") < SHARD * 1.1
