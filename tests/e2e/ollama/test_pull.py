# SPDX-License-Identifier: Apache-2.0
"""What `ollama pull` makes of a registry or a disk that misbehaves: nothing that is wrong is served."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.machines import Hub, Machines, phases
from tests.e2e.ollama.services import HOST, MODELS, Ollama

BLOBS = "library/smollm2/blobs/*"
SIZE = 98_000_000
LAYERS_AND_CONFIG = 5
# Where models are pulled; what follows is tested elsewhere.
PULL = ("serve",)


@pytest.fixture
def ollama(ollama_host: Machines, hub: Hub, tmp_path: Path) -> Iterator[Ollama]:
    """Give the host without models, and a sound hub."""
    found = Ollama(ollama_host, tmp_path)
    assert hub.sent() == {}
    found.sh(f"systemctl stop 'ollama*.service'; rm -rf {MODELS}")
    yield found
    hub.reset()


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "cut", "after": SIZE // 2, "count": 1},
        pytest.param({"kind": "truncate", "after": SIZE // 2, "count": 1}, marks=pytest.mark.exhaustive),
        {"kind": "wrong", "count": 1},
        pytest.param({"kind": "status", "status": 500, "count": 2}, marks=pytest.mark.exhaustive),
        {"kind": "stall", "after": SIZE // 2, "count": 1},
    ],
    ids=lambda fault: str(fault["kind"]),
)
def test_a_passing_fault_costs_a_retry(ollama: Ollama, hub: Hub, fault: Mapping[str, Any]) -> None:
    hub.faults({"path": BLOBS, **fault})
    ollama.apply(only=PULL, engine_ollama_stall_timeout=10)
    blobs = ollama.sh(f"cd {MODELS}/blobs && sha256sum *").splitlines()
    assert len(blobs) == LAYERS_AND_CONFIG
    assert [line for line in blobs if line.split()[1] != f"sha256-{line.split()[0]}"] == []


def test_a_lasting_fault_is_an_error_and_the_next_run_goes_on(ollama: Ollama, hub: Hub) -> None:
    hub.faults(
        {"path": BLOBS, "kind": "cut", "after": SIZE * 3 // 4, "count": 1},
        {"path": BLOBS, "kind": "cut", "after": 0},
    )
    (failure,) = ollama.apply(only=PULL, code=1, engine_ollama_pull_attempts=1).report["failures"]
    assert "smollm2:135m" in failure["message"]
    assert failure["next"]
    assert ollama.sh(f"find {MODELS}/manifests -type f") == ""
    first = sum(count.get("bytes", 0) for path, count in hub.sent().items() if "/blobs/" in path)
    hub.reset()
    ollama.apply(only=PULL)
    second = sum(count.get("bytes", 0) for path, count in hub.sent().items() if "/blobs/" in path)
    assert first > SIZE // 2
    assert second < SIZE - first // 2


def test_a_full_disk_is_refused_before_the_first_byte(ollama: Ollama, hub: Hub) -> None:
    ollama.sh("mkdir -p /mnt/small && mount -t tmpfs -o size=50m tmpfs /mnt/small")
    try:
        done = ollama.apply(only=PULL, code=1, engine_ollama_models_dir="/mnt/small/ollama")
    finally:
        ollama.sh("umount /mnt/small && rmdir /mnt/small")
    (failure,) = done.report["failures"]
    assert "free" in failure["message"]
    assert not [path for path in hub.sent() if "/blobs/" in path]


def test_an_interrupted_run_is_taken_up_by_the_next(ollama: Ollama, hub: Hub) -> None:
    hub.faults({"path": BLOBS, "kind": "slow", "rate": 2_000_000})
    process = ollama.machines.start("apply", ollama.inventory(), "--limit", HOST, "--yes", *phases(*PULL))
    ollama.machines.wait(HOST, f"ls {MODELS}/blobs/*-partial", "the pull has begun")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=120)
    assert process.returncode == 130
    hub.reset()
    ollama.apply(only=PULL)
