# SPDX-License-Identifier: Apache-2.0
"""Which processes prevent that a driver is unloaded."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible.module_utils.provision.driver import reload


def start(proc: Path, pid: int, group: str, name: str, *devices: str) -> None:
    folder = proc / str(pid)
    (folder / "fd").mkdir(parents=True)
    (folder / "comm").write_text(f"{name}\n")
    (folder / "cgroup").write_text(f"0::{group}\n")
    for number, device in enumerate(devices):
        (folder / f"fd/{number}").symlink_to(device)


def test_describes_who_else_uses_the_devices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "owner", lambda _: "ada")
    start(
        tmp_path, 101, "/user.slice/session-1.scope", "python3", "/dev/nvidia1", "/dev/nvidia0", "/dev/null"
    )
    start(tmp_path, 12, "/system.slice/theirs.service", "train", "/dev/nvidiactl")
    start(tmp_path, 13, "/system.slice/vllm.service", "vllm", "/dev/nvidia0")
    start(tmp_path, 14, "/system.slice/nvidia-persistenced.service", "nvidia-persiste", "/dev/nvidia0")
    start(tmp_path, 15, "/user.slice/session-1.scope", "bash", "/dev/null")
    assert reload.strangers(["vllm.service"], tmp_path) == [
        "train (process 12 of ada, theirs.service) uses /dev/nvidiactl",
        "python3 (process 101 of ada) uses /dev/nvidia0, /dev/nvidia1",
    ]
