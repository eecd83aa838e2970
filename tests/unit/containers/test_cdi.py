# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
from ansible.module_utils.provision.containers import cdi
from ansible.module_utils.provision.host.fault import Fault
from ansible.module_utils.provision.host.systemd import UnitState

from tests.unit.fakes import Answers

LISTED = """\
INFO[0000] Found 3 CDI devices
nvidia.com/gpu=0
nvidia.com/gpu=GPU-1
nvidia.com/gpu=all
vendor.com/net=eth
"""
# As nvidia-ctk 1.18 warns of it; logrus escapes the quotes.
CLASH = (
    'time="2026-11-29T09:00:00Z" level=warning msg="CDI registry has errors: conflicting device '
    '\\"nvidia.com/gpu=0\\" (specs \\"/etc/cdi/nvidia.yaml\\", \\"/etc/cdi/mine.yaml\\")"\n'
)
GPUS: list[dict[str, Any]] = [{"uuid": "GPU-1", "mig": None}]


def test_names_the_gpus_that_are_not_there() -> None:
    gpus = [*GPUS, {"uuid": "GPU-2", "mig": False}, {"uuid": "GPU-3", "mig": True}]
    assert cdi.missing(gpus, {"0", "1", "GPU-1", "2:0", "MIG-4"}) == ["GPU-2"]


def test_reads_which_driver_is_described(tmp_path: Path) -> None:
    (tmp_path / "nvidia.yaml").write_text("hostPath: /usr/lib/x86_64-linux-gnu/libcuda.so.580.159.04\n")
    (tmp_path / "other.yaml").write_text("hostPath: /usr/lib/libcuda.so.1.1\n")
    assert cdi.described_drivers((tmp_path, tmp_path / "none")) == {"580.159.04"}


class Tool:
    """Stands in for nvidia-ctk and systemctl."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.called: list[str] = []
        self.service = self.makes = True
        self.devices = ""

    def state(self, _unit: str) -> UnitState:
        return UnitState(load="loaded" if self.service else "not-found")

    def call(self, *argv: str, **_more: Any) -> CompletedProcess[str]:
        self.called.append(" ".join(argv[:3]))
        if argv[:2] == ("systemctl", "restart") and self.makes:
            self.devices = LISTED
        if argv[1:3] == ("cdi", "generate"):
            self.devices = LISTED
        return CompletedProcess(argv, 0, self.devices if argv[1:3] == ("cdi", "list") else "", "")


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Tool:
    fake = Tool(tmp_path)
    monkeypatch.setattr(cdi, "call", fake.call)
    monkeypatch.setattr(cdi, "state", fake.state)
    monkeypatch.setattr(cdi.shutil, "which", lambda _name: "/usr/bin/nvidia-ctk")
    monkeypatch.setattr(cdi, "KEPT", tmp_path / "etc/cdi/nvidia.yaml")
    monkeypatch.setattr(cdi, "PASSING", tmp_path / "run/cdi/nvidia.yaml")
    monkeypatch.setattr(cdi, "described_drivers", set)
    return fake


def test_has_the_toolkits_own_unit_make_the_specification(tool: Tool) -> None:
    assert cdi.generate(GPUS, "580.159.04") is None
    assert not any("generate" in argv for argv in tool.called)


def test_makes_the_specification_where_the_unit_does_not(tool: Tool) -> None:
    tool.makes = False
    assert cdi.generate(GPUS, "580.159.04") == tool.folder / "etc/cdi/nvidia.yaml"


def test_replaces_a_specification_that_would_hide_it(tool: Tool) -> None:
    tool.service = False
    passing = tool.folder / "run/cdi/nvidia.yaml"
    passing.parent.mkdir(parents=True)
    passing.touch()
    assert cdi.generate(GPUS, "580.159.04") == passing


def test_a_gpu_that_stays_unknown_is_a_fault(tool: Tool) -> None:
    tool.service = False
    with pytest.raises(Fault, match="no CDI device for GPU-2"):
        cdi.generate([{"uuid": "GPU-2"}], "580.159.04")


def test_a_specification_of_another_driver_is_a_fault(tool: Tool, monkeypatch: pytest.MonkeyPatch) -> None:
    tool.devices = LISTED
    assert cdi.fault_of(GPUS, "580.178.04") == ""
    monkeypatch.setattr(cdi, "described_drivers", lambda: {"580.159.04"})
    assert cdi.fault_of(GPUS, "580.159.04") == ""
    assert "is for driver 580.159.04, but 580.178.04 is loaded" in cdi.fault_of(GPUS, "580.178.04")


def test_reads_the_list_of_devices(tool: Tool) -> None:
    tool.devices = LISTED
    assert cdi.listed() == {"0", "GPU-1", "all"}


def test_without_the_tool_nothing_is_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cdi.shutil, "which", lambda _name: None)
    assert cdi.listed() == set()


def test_finds_devices_without_a_link(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    numbers = {"nvidia0": os.makedev(195, 0), "nvidiactl": os.makedev(195, 255)}
    for name in (*numbers, "nvidia-caps"):
        (tmp_path / name).touch()
    (tmp_path / "char").mkdir()
    (tmp_path / "char/195:0").symlink_to("../nvidia0")

    def lstat(path: Path) -> os.stat_result:
        mode = 0o020666 if path.name in numbers else 0o100644
        return os.stat_result((mode, *[0] * 9), {"st_rdev": numbers.get(path.name, 0)})

    monkeypatch.setattr(Path, "lstat", lstat)
    assert cdi.unlinked(tmp_path) == ["/dev/nvidiactl"]


def test_says_when_links_cannot_be_made(tool: Tool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cdi, "unlinked", lambda: ["/dev/nvidia0"])
    assert cdi.link() == "there is no link in /dev/char for /dev/nvidia0"
    assert tool.called == ["nvidia-ctk system create-dev-char-symlinks"]
    failed = CompletedProcess([], 1, "", "no such device")
    monkeypatch.setattr(cdi, "call", lambda *_argv, **_more: failed)
    assert cdi.link().endswith("--create-all --load-kernel-modules failed: no such device")


@pytest.mark.parametrize("said", [CLASH, CLASH.replace("\\", "")])
def test_two_specifications_that_hide_a_gpu_are_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, said: str
) -> None:
    programs = Answers(monkeypatch)
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(cdi, "KEPT", tmp_path / "etc/cdi/nvidia.yaml")
    programs.answer("nvidia-ctk cdi list", err=said)
    named = "/etc/cdi/mine.yaml and /etc/cdi/nvidia.yaml both describe nvidia.com/gpu=0"
    assert cdi.fault_of(GPUS, None).startswith(named)
    with pytest.raises(Fault, match=named):
        cdi.generate(GPUS, None)
    assert not any("generate" in line or "restart" in line for line in programs.ran)


@pytest.mark.parametrize(
    ("name", "text", "ours"),
    [
        ("mine.yaml", "cdiVersion: 0.5.0\nkind: nvidia.com/gpu\ndevices: []\n", False),
        ("mine.json", '{"cdiVersion": "0.5.0",\n "kind": "nvidia.com/gpu"}', False),
        ("network.yaml", "kind: vendor.com/net\n", True),
        ("notes.txt", "kind: nvidia.com/gpu\n", True),
    ],
)
def test_ours_is_written_only_where_no_other_describes_gpus(
    tool: Tool, name: str, text: str, ours: bool
) -> None:
    tool.service = False
    (tool.folder / "etc/cdi").mkdir(parents=True)
    (tool.folder / "etc/cdi" / name).write_text(text)
    if ours:
        assert cdi.generate(GPUS, None) == cdi.KEPT
        return
    with pytest.raises(Fault, match=rf"{name} describes GPUs too, and two such files hide them"):
        cdi.generate(GPUS, None)
    assert "nvidia-ctk cdi generate" not in tool.called
