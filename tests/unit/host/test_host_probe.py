# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from provisioner.ansible.modules import host_probe


def test_counts_gpus_that_the_driver_does_not_offer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_probe, "run", lambda *_: "")
    monkeypatch.setattr("shutil.which", lambda _: "/usr/bin/nvidia-smi")
    monkeypatch.setattr(host_probe, "nvidia_devices", lambda _: 8)
    facts = host_probe.probe(0.0, None)
    assert (facts["nvidia_pci"], facts["gpus"], facts["driver"]) == (8, [], {"version": None})
