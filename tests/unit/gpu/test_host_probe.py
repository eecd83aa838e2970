# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.provision.gpu import kernel, pci, xid
from ansible.module_utils.provision.gpu import nvml as nvidia_nvml
from ansible.module_utils.provision.gpu import state as nvidia_driver

from provisioner.ansible.modules import host_probe

CHECKOUT = Path(__file__).resolve().parents[3]
HOPPER = {"slot": "0000:1b:00.0", "kind": "gpu", "architecture": "Hopper", "driver": None}


@pytest.mark.usefixtures("programs")
def test_counts_gpus_that_the_driver_does_not_offer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(pci, "devices", lambda: [HOPPER] * 8)
    monkeypatch.setattr(kernel, "LOADED_DRIVER", tmp_path / "version")
    monkeypatch.setattr(nvidia_nvml, "LIBRARY", str(tmp_path / "libnvidia-ml.so.1"))
    facts = host_probe.probe(0.0, None, 60)
    assert (len(facts["nvidia_pci"]), facts["gpus"]) == (8, [])
    assert facts["driver"]["state"] == "no driver"
    assert facts["driver"]["problem"] == "8 NVIDIA GPUs on the PCI bus, but no NVIDIA driver is installed"


def test_the_kernels_log_is_read_where_a_driver_writes_it_and_nowhere_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[list[str] | None] = []

    def since_boot(slots: list[str] | None) -> dict[str, Any]:
        asked.append(slots)
        return {"errors": []}

    def examine(_: object, **_container: bool) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        return {"state": state}, [{"pci": "0000:1b:00.0"}]

    monkeypatch.setattr(pci, "devices", list)
    monkeypatch.setattr(nvidia_driver, "examine", examine)
    monkeypatch.setattr(xid, "since_boot", since_boot)
    state = "no driver"
    assert nvidia_driver.inspect(container=False)[1]["xid"] is None
    state = "hung"
    assert nvidia_driver.inspect(container=False)[1]["xid"] == {"errors": []}
    nvidia_driver.inspect(container=True)
    assert asked == [None, ["0000:1b:00.0"]]
