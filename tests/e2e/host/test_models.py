# SPDX-License-Identifier: Apache-2.0
"""What reaches the served directory when the hub or the disk misbehaves: nothing that is wrong."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from provisioner.lab import controller, tiny_model
from tests.e2e.host.conftest import HOST
from tests.e2e.machines import Hub, Machines, inventory_with

REPOSITORY = "faulty/model"
SHARD = 4 * 1024**2
FILES = f"{REPOSITORY}/*.safetensors"
HUGGINGFACE, MODELSCOPE = "huggingface", "modelscope"


def mostly(source: str) -> pytest.MarkDecorator:
    """Run a test with one hub's client; an exhaustive run has the other too, as tests/clients always has."""
    other = HUGGINGFACE if source == MODELSCOPE else MODELSCOPE
    return pytest.mark.parametrize("source", [source, pytest.param(other, marks=pytest.mark.exhaustive)])


@pytest.fixture
def fetch(machines: Machines, hub: Hub, source: str, tmp_path: Path) -> Iterator[tuple[str, ...]]:
    """Serve a small model on a sound hub, and return the command that fetches it on the host."""
    root = controller.cache_dir() / "models"
    shutil.rmtree(root / REPOSITORY, ignore_errors=True)
    tiny_model.make(root, REPOSITORY, shards=2, shard_bytes=SHARD)
    words = f"serve_engine=vllm serve_model={REPOSITORY} serve_model_source={source}"
    words += " model_store_attempts=3"
    inventory = inventory_with(
        tmp_path, machines.inventory, [("one ansible_port=2245", f"one ansible_port=2245 {words}")]
    )
    assert hub.sent() == {}
    yield (
        "apply",
        str(inventory),
        "--limit",
        HOST,
        "--phase",
        "host",
        "--phase",
        "models",
        "--yes",
        "--json",
    )
    machines.sh(HOST, f"rm -rf /var/lib/provision/models/{source}/faulty*")
    shutil.rmtree(root / REPOSITORY.split("/", maxsplit=1)[0])


def served(machines: Machines, source: str) -> list[str]:
    """Return the files of the directory that an engine would serve."""
    folder = f"/var/lib/provision/models/{source}/faulty--model"
    return machines.sh(HOST, f"find {folder}/main {folder}/master -type f 2>/dev/null", check=False).split()


# Each client alone meets these faults in tests/clients, and the role meets a cut and a refusal below.
@pytest.mark.exhaustive
@pytest.mark.parametrize("source", [HUGGINGFACE, MODELSCOPE])
@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "status", "status": 429, "retry_after": 1, "count": 2},
        {"kind": "cut", "after": SHARD // 2, "count": 1},
        {"kind": "wrong", "count": 1},
    ],
    ids=lambda fault: str(fault["kind"]),
)
def test_a_passing_fault_costs_a_retry(
    machines: Machines, hub: Hub, fetch: tuple[str, ...], source: str, fault: Mapping[str, Any]
) -> None:
    hub.faults({"path": FILES, **fault})
    machines.provision(*fetch)
    assert len([path for path in served(machines, source) if path.endswith(".safetensors")]) == 2


@mostly(HUGGINGFACE)
@pytest.mark.parametrize("kind", ["wrong", pytest.param("truncate", marks=pytest.mark.exhaustive)])
def test_a_lasting_fault_is_an_error_and_nothing_wrong_is_served(
    machines: Machines, hub: Hub, fetch: tuple[str, ...], source: str, kind: str
) -> None:
    hub.faults({"path": FILES, "kind": kind, "after": SHARD // 2})
    (failure,) = machines.provision(*fetch, code=1).report["failures"]
    assert ".safetensors" in failure["message"]
    assert failure["next"]
    assert served(machines, source) == []
    hub.reset()
    machines.provision(*fetch)
    assert len([path for path in served(machines, source) if path.endswith(".safetensors")]) == 2


@mostly(HUGGINGFACE)
def test_a_run_after_a_cut_resumes_where_it_stopped(
    machines: Machines, hub: Hub, fetch: tuple[str, ...], source: str
) -> None:
    cut = {"path": FILES, "kind": "cut", "after": SHARD * 3 // 4, "count": 1}
    hub.faults(cut, {"path": FILES, "kind": "status", "status": 500})
    machines.provision(*fetch, code=1)
    assert served(machines, source) == []
    first = hub.bytes_of(".safetensors")
    assert first >= SHARD // 2
    hub.reset()
    machines.provision(*fetch)
    assert served(machines, source)
    # Two files, one of them mostly there already; resuming works in steps of 1 MiB.
    assert hub.bytes_of(".safetensors") <= 2 * SHARD - first + 1.1 * 1024**2


@mostly(MODELSCOPE)
def test_a_full_disk_is_refused_before_the_first_byte(
    machines: Machines, hub: Hub, fetch: tuple[str, ...], source: str
) -> None:
    store = "/var/lib/provision/models"
    machines.sh(HOST, f"mkdir -p {store} && mount -t tmpfs -o size=1m tmpfs {store}")
    try:
        (failure,) = machines.provision(*fetch, code=1).report["failures"]
    finally:
        machines.sh(HOST, f"umount {store}")
    assert "free" in failure["message"]
    assert "need" in failure["message"]
    assert hub.bytes_of(".safetensors") == 0
    assert served(machines, source) == []
