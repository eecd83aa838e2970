# SPDX-License-Identifier: Apache-2.0
"""The order of a change: what may fail comes first, and what is not proven is taken back."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.provision.driver import (
    hold,
    record,
    reload,
    rollback,
    runfile,
    services,
    steps,
    transaction,
)
from ansible.module_utils.provision.driver import install as nvidia_install
from ansible.module_utils.provision.driver.install import Install
from ansible.module_utils.provision.driver.orders import Orders
from ansible.module_utils.provision.driver.packages import System
from ansible.module_utils.provision.gpu import kernel
from ansible.module_utils.provision.gpu.kernel import KernelModule
from ansible.module_utils.provision.host.fault import Fault
from ansible.module_utils.provision.host.files import write_json
from ansible.module_utils.provision.host.packages import Allow, Apt, Changes
from ansible.module_utils.provision.host.packages import record as package_record
from ansible.module_utils.provision.host.packages.common import NOTHING
from ansible.module_utils.provision.host.systemd import UnitState
from ansible.module_utils.provision.jobs import progress

OLD, NEW = "580.105.08", "580.159.04"
KERNEL = "6.8.0-90-generic"


class Progress(progress.Progress):
    """The part of a job's progress that is used."""

    def __init__(self) -> None:
        self.label = ""


class Host(Apt):
    """A host whose package manager, kernel and services do what a test says, and note the order."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        super().__init__()
        self.packages = {"libnvidia-compute-580": f"{OLD}-1ubuntu1", "bash": "5.2"}
        self.done: list[str] = []
        self.loaded: str | None = OLD
        self.ready: KernelModule | None = KernelModule(NEW, "open", KERNEL, "")
        self.fault: BaseException | None = None
        self.holders: list[str] = []
        self.unload = ""
        self.by_runfile: list[str | None] = [None]
        note = self.done.append
        monkeypatch.setattr(nvidia_install, "driver_manager", lambda: self)
        monkeypatch.setattr(record, "RECORD", folder / "record.json")
        write_json(folder / "record.json", {"source": "nvidia", "version": OLD, "state": "done"}, 0o644)
        monkeypatch.setattr(rollback, "STREAM_FILE", folder / "stream")
        monkeypatch.setattr(rollback, "PINS", folder / "pins")
        monkeypatch.setattr(transaction, "pin", self.pin)
        monkeypatch.setattr(hold, "LEDGER", folder / "holds.json")
        monkeypatch.setattr(package_record, "LEDGER", folder / "brought.json")
        monkeypatch.setattr(services, "STOPPED", folder / "stopped.json")
        monkeypatch.setattr(services.Services, "_ask", self.systemctl)
        for name in ("room", "keep_nouveau_off", "rebuild_initramfs"):
            monkeypatch.setattr(steps, name, lambda *_, name=name: note(name))
        monkeypatch.setattr(steps, "headers", lambda *_: note("headers"))
        monkeypatch.setattr(steps, "prove", self.prove)
        for name in ("prepare", "release", "hold", "hold_kernel"):
            monkeypatch.setattr(hold, name, lambda *_, name=name: note(name))
        monkeypatch.setattr(rollback, "runfile_version", lambda _: self.by_runfile[-1])
        monkeypatch.setattr(reload, "strangers", lambda _: self.holders)
        monkeypatch.setattr(reload, "unload", self.let_go)
        monkeypatch.setattr(reload, "drop_nouveau", lambda: True)
        monkeypatch.setattr(reload, "load", lambda: note("load"))
        monkeypatch.setattr(kernel, "module", lambda _: self.ready)
        monkeypatch.setattr(kernel, "loaded_driver", lambda: (self.loaded, "open"))
        monkeypatch.setattr(kernel, "has_headers", lambda _: True)
        monkeypatch.setattr(kernel, "booting", lambda: KERNEL)
        monkeypatch.setattr(services, "state", self.unit_state)

    def let_go(self) -> str:
        self.done.append("unload")
        return self.unload

    def unit_state(self, unit: str) -> UnitState:
        return UnitState(active="activating" if unit == "vllm.service" else "inactive")

    def systemctl(self, *words: str) -> bool:
        if words[0] in ("stop", "--no-block"):
            self.done.append(" ".join(word for word in words if word != "--no-block"))
        return not words[0].startswith("is-") or words[-1] == "vllm.service"

    def prove(self, *_: Any, **__: Any) -> None:
        self.done.append("prove")
        if self.fault:
            raise self.fault

    def versions(self, *_names: str) -> dict[str, str]:
        return dict(self.packages)

    def lock_owner(self) -> str:
        return ""

    def repair(self) -> None:
        self.done.append("repair")

    def stale(self, max_age: float) -> bool:
        return max_age == 0

    def origin(self, repository: str) -> str:
        return f"https://mirror/{repository}"

    def refresh(self, repository: str = "", *, strict: bool = True) -> None:
        assert strict is bool(repository)
        self.done.append("refresh")

    def offers(self, name: str) -> list[tuple[str, str]]:
        if name == "nvidia-modprobe":
            return []
        ours = "https://mirror/provision-nvidia  Packages"
        return [(f"{NEW}-1ubuntu1", ours), (f"{OLD}-1ubuntu1", ours), ("610.1-1ubuntu1", "https://archive")]

    def offered_names(self, prefix: str) -> list[str]:
        return [prefix, f"{prefix}-580"]

    def pin(self, _packages: object, version: str | None) -> None:
        self.done.append(f"pin {version}" if version else "unpin")

    def simulate(self, specs: Iterable[str], allow: Allow = NOTHING, *, cached: bool = False) -> Changes:
        assert list(specs)
        assert (allow, cached) == (Allow(older=True, held=True, removal=True), False)
        return Changes()

    def download(self, specs: Iterable[str], _what: str, _allow: Allow = NOTHING) -> None:
        assert list(specs)
        self.done.append("fetch")

    def install(self, specs: Iterable[str], _what: str, allow: Allow = NOTHING) -> None:
        assert allow == Allow(older=True, held=True, removal=True)
        self.done.append("install")
        for spec in specs:
            name, _, version = spec.partition("=")
            self.packages[name] = version

    def would_remove(self, names: Iterable[str]) -> set[str]:
        return set(names)

    def remove(self, names: Iterable[str], _what: str, _allow: Allow = NOTHING) -> None:
        for name in names:
            self.done.append(f"remove {name}")
            del self.packages[name]

    def orders(self, **words: Any) -> dict[str, Any]:
        orders: dict[str, Any] = {
            "verb": "install",
            "title": "driver 580.159",
            "action": "change",
            "source": "nvidia",
            "version": "580.159",
            "modules": "open",
            "system": System("ubuntu", "debian", "24.04", 24, "x86_64"),
            "running": KERNEL,
            "booting": KERNEL,
            "installed_version": OLD,
            "installed_source": "nvidia",
            "serving": ["vllm.service"],
            "lock_timeout": 1,
            "stop_seconds": 1,
        }
        return {**orders, **words}

    def change(self, **words: Any) -> Install:
        return Install(Orders(**self.orders(**words)), Progress())


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Host:
    return Host(monkeypatch, tmp_path)


def test_a_change_reloads_the_driver_and_starts_what_it_stopped(host: Host) -> None:
    outcome = host.change().run()
    assert (outcome["version"], outcome["reboot"]) == (NEW, "")
    order = [
        host.done.index(step) for step in ("refresh", "headers", "fetch", "stop vllm.service", "install")
    ]
    assert order == sorted(order)
    after = host.done[host.done.index("install") :]
    assert after[:4] == ["install", "prove", f"pin {NEW}", "hold"]
    assert after.index("unload") < after.index("load") < after.index("start vllm.service")
    assert host.packages["libnvidia-compute-580"] == f"{NEW}-1ubuntu1"


def test_what_is_not_in_the_repository_is_left_out_with_a_warning(host: Host) -> None:
    assert host.change().run()["warnings"] == [
        f"nvidia-modprobe {NEW} is not in the repository and was left out"
    ]


def test_a_module_that_does_not_build_takes_the_packages_back(host: Host) -> None:
    before = dict(host.packages)
    host.fault = Fault("DKMS cannot build its modules", "choose another version")
    host.ready = KernelModule(OLD, "open", KERNEL, "")
    with pytest.raises(Fault, match="DKMS cannot build"):
        host.change().run()
    assert host.packages == before
    assert host.done.index("prove") < host.done.index("hold")
    assert f"pin {OLD}" in host.done
    # The old driver is still loaded, so what served goes on.
    assert "start vllm.service" in host.done
    assert "load" not in host.done


def test_a_driver_of_another_hand_is_neither_pinned_nor_held_by_an_attempt_that_failed(host: Host) -> None:
    record.RECORD.unlink()
    host.fault = Fault("DKMS cannot build its modules", "choose another version")
    host.ready = KernelModule(OLD, "open", KERNEL, "")
    with pytest.raises(Fault, match="DKMS cannot build"):
        host.change().run()
    assert f"pin {OLD}" not in host.done
    assert "hold" not in host.done
    assert host.done[host.done.index("prove") :].count("unpin") == 1
    assert not record.RECORD.exists()


def test_a_first_driver_that_fails_leaves_no_package_behind(host: Host) -> None:
    host.packages = {"bash": "5.2"}
    host.loaded = None
    host.fault = Fault("DKMS cannot build its modules", "choose another version")
    with pytest.raises(Fault):
        host.change(action="install", installed_version=None).run()
    assert host.packages == {"bash": "5.2"}


def test_a_version_that_nobody_has_is_refused_before_anything_stops(host: Host) -> None:
    with pytest.raises(Fault, match=f"driver 610 is in no repository.*available: {OLD}, {NEW}"):
        host.change(version="610").run()
    assert "stop vllm.service" not in host.done


def test_a_stranger_on_the_gpu_ends_it_where_no_reboot_may_follow(host: Host) -> None:
    host.holders = ["python3 (process 7 of ada) uses /dev/nvidia0"]
    with pytest.raises(Fault, match=r"python3 \(process 7 of ada\) uses /dev/nvidia0"):
        host.change(may_reboot=False).run()
    assert "install" not in host.done
    assert host.done[-4:-1] == [f"pin {OLD}", "hold", "start nvidia-persistenced.service"]
    assert host.done[-1] == "start vllm.service"


def test_a_driver_that_cannot_be_unloaded_asks_for_a_reboot(host: Host) -> None:
    host.unload = "nvidia stay loaded: in use"
    outcome = host.change().run()
    assert outcome["reboot"] == f"driver {OLD} cannot be unloaded: nvidia stay loaded: in use"
    assert "load" not in host.done


def test_where_no_reboot_may_follow_the_engine_goes_on_and_the_reason_is_told(host: Host) -> None:
    host.unload = "nvidia stay loaded: in use"
    with pytest.raises(Fault, match=r"it becomes active after a reboot: driver .* cannot be unloaded"):
        host.change(may_reboot=False).run()
    assert host.done[-1] == "start vllm.service"


def test_packages_that_do_not_come_back_are_told_beside_the_first_fault(host: Host) -> None:
    host.fault = Fault("DKMS cannot build its modules", "choose another version")
    host.ready = None
    with pytest.raises(Fault, match=rf"driver {OLD} is restored, but kernel {KERNEL} no longer has a module"):
        host.change().run()


def test_a_kernel_without_the_module_asks_for_a_reboot(host: Host) -> None:
    host.ready = None
    outcome = host.change(running="6.8.0-88-generic").run()
    assert outcome["reboot"] == f"kernel {KERNEL} has driver {NEW}, and kernel 6.8.0-88-generic is running"


def test_an_installed_driver_is_loaded_without_touching_packages(host: Host) -> None:
    host.loaded, host.ready = None, KernelModule(OLD, "open", KERNEL, "")
    outcome = host.change(action="activate").run()
    assert (outcome["version"], outcome["reboot"]) == (OLD, "")
    assert "refresh" not in host.done
    assert "install" not in host.done
    assert "load" in host.done


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), ValueError("a defect"), SystemExit(143)]
)
def test_whatever_ends_a_change_the_packages_are_restored(host: Host, error: BaseException) -> None:
    before = dict(host.packages)
    host.fault, host.ready = error, KernelModule(OLD, "open", KERNEL, "")
    with pytest.raises(type(error)):
        host.change().run()
    assert host.packages == before
    assert host.done[-1] == "start vllm.service"


@pytest.mark.parametrize(("before", "arrived"), [(None, NEW), (OLD, OLD), (OLD, NEW)])
def test_a_run_installer_that_is_not_proven_is_taken_away_and_no_other(
    host: Host, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, before: str | None, arrived: str
) -> None:
    """An installer that gives up leaves the driver of before where it was."""
    left = arrived if arrived == before else None
    there = host.by_runfile = [before]
    monkeypatch.setattr(runfile, "fetch", lambda *_: tmp_path / "driver.run")
    monkeypatch.setattr(runfile, "install", lambda *_: there.append(arrived))
    monkeypatch.setattr(runfile, "uninstall", lambda: there.append(None))
    monkeypatch.setattr(host, "refresh", lambda **_: None)
    host.packages, host.fault = {"bash": "5.2"}, Fault("no module", "choose another version")
    host.ready = KernelModule(OLD, "open", KERNEL, "") if left else None
    words = {
        "source": "runfile",
        "installed_version": before,
        "installed_source": "runfile" if before else "none",
    }
    with pytest.raises(Fault, match="no module") as failed:
        host.change(action="change" if before else "install", version=NEW, **words).run()
    assert there[-1] == left
    assert ("of the .run installer is gone" in str(failed.value)) is bool(before and not left)


def test_another_source_is_removed_first(host: Host) -> None:
    host.change(action="move", source="nvidia", installed_source="distribution").run()
    assert host.done.index("remove libnvidia-compute-580") < host.done.index("install")
