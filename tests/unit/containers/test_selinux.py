# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from ansible.module_utils.provision.containers import selinux
from ansible.module_utils.provision.containers.selinux import NARROW, WIDE
from ansible.module_utils.provision.host.fault import Fault

from tests.unit.fakes import Programs, Said


@pytest.fixture
def policy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Return the folder of the policy's permissions on a host with SELinux and one GPU."""
    booleans = tmp_path / "selinux/booleans"
    booleans.mkdir(parents=True)
    (tmp_path / "selinux/enforce").write_text("1")
    (tmp_path / "dev/nvidia-caps").mkdir(parents=True)
    for name in ("nvidia0", "nvidiactl", "nvidia-uvm"):
        (tmp_path / "dev" / name).touch()
    monkeypatch.setattr(selinux, "SELINUX", tmp_path / "selinux")
    monkeypatch.setattr(selinux, "DEVICES", tmp_path / "dev")
    label(monkeypatch)
    return booleans


def label(monkeypatch: pytest.MonkeyPatch, **other: str) -> None:
    found = SimpleNamespace(labels={name.replace("_", "-"): kind for name, kind in other.items()})

    def read(path: Path) -> str:
        return f"system_u:object_r:{found.labels.get(path.name, selinux.LABEL)}:s0"

    monkeypatch.setattr(selinux, "_label", read)


def test_takes_the_narrowest_permission_of_the_policy(policy: Path) -> None:
    assert selinux.permission() == ""
    (policy / WIDE).write_text("0 0")
    assert selinux.permission() == WIDE
    (policy / NARROW).write_text("0 0")
    assert selinux.permission() == NARROW
    assert not selinux.is_allowed()
    (policy / NARROW).write_text("1 1")
    assert selinux.is_allowed()


def test_a_device_with_another_label_needs_the_permission_for_all(
    policy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (policy / NARROW).write_text("1 1")
    (policy / WIDE).write_text("0 0")
    (policy.parents[1] / "dev/nvidia-caps/nvidia-cap1").touch()
    assert selinux.is_allowed()
    label(monkeypatch, nvidia_cap1="device_t")
    assert not selinux.is_allowed()
    label(monkeypatch, nvidia_uvm="device_t")
    assert not selinux.is_allowed()
    assert selinux.permission() == WIDE
    (policy / WIDE).write_text("1 1")
    assert selinux.is_allowed()


def test_a_host_without_selinux_is_told_from_one_with_it(policy: Path) -> None:
    assert selinux.is_on()
    (policy.parent / "enforce").unlink()
    assert not selinux.is_on()


def test_a_permission_is_given_for_good(programs: Programs) -> None:
    programs.add("setsebool")
    selinux.put(NARROW, on=True)
    selinux.put(NARROW, on=False)
    assert programs.calls == [("setsebool", "-P", NARROW, "on"), ("setsebool", "-P", NARROW, "off")]
    programs.add("setsebool", Said(code=1, err="Could not change boolean"))
    with pytest.raises(Fault, match="Could not change boolean"):
        selinux.put(NARROW, on=True)
