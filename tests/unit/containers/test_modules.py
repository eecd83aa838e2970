# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from types import SimpleNamespace

import pytest
from ansible.module_utils.provision.containers import modules
from ansible.module_utils.provision.driver import hold as holds
from ansible.module_utils.provision.gpu import kernel as kernels
from ansible.module_utils.provision.host.fault import Fault
from ansible.module_utils.provision.host.packages import Apt, Dnf

from tests.unit.fakes import Answers

OLD, NEW = "6.12.0-124.8.1.el10_1.x86_64", "6.12.0-124.20.1.el10_1.x86_64"


@pytest.fixture
def programs(monkeypatch: pytest.MonkeyPatch) -> Answers:
    """Return the programs of a host whose kernels lack the module."""
    found = Answers(monkeypatch)
    monkeypatch.setattr(modules, "driver_manager", Dnf)
    monkeypatch.setattr(kernels, "running", lambda: OLD)
    monkeypatch.setattr(kernels, "booting", lambda: NEW)
    found.answer("modinfo", code=1)
    return found


def test_finds_the_package_of_every_kernel_that_lacks_the_module(
    programs: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = [f"kernel-modules-extra-{OLD}", f"kernel-modules-extra-{NEW}"]
    assert modules.missing_packages(Dnf()) == both
    programs.answer(f"modinfo -k {OLD}")
    assert modules.missing_packages(Dnf()) == both[1:]
    monkeypatch.setattr(kernels, "booting", lambda: OLD)
    assert modules.missing_packages(Dnf()) == []
    monkeypatch.setattr(kernels, "running", lambda: "6.12.0-1.el10.aarch64+64k")
    assert modules.missing_packages(Dnf()) == ["kernel-64k-modules-extra-6.12.0-1.el10.aarch64"]


def test_kernels_of_apt_have_it_all(programs: Answers, monkeypatch: pytest.MonkeyPatch) -> None:
    assert modules.missing_packages(Apt()) == []
    monkeypatch.setattr(holds, "LEDGER", SimpleNamespace(exists=lambda: True))
    monkeypatch.setattr(modules, "driver_manager", Apt)
    assert modules.loose() == []
    assert programs.ran == []


def test_refuses_a_kernel_whose_package_is_gone(programs: Answers) -> None:
    name = f"kernel-modules-extra-{OLD}"
    programs.answer("dnf -q --disableplugin=versionlock list", code=1, err="Error: \nNo match\n")
    with pytest.raises(Fault, match=rf"{name}, but dnf finds that in no .*\(No match\)") as caught:
        modules.refuse_missing(Dnf(), [name])
    assert "upgrade kernel`" in caught.value.next_step
    with pytest.raises(Fault) as caught:
        modules.refuse_missing(Dnf(), ["kernel-64k-modules-extra-6.12.0-1.el10.aarch64"])
    assert "upgrade kernel-64k`" in caught.value.next_step
    programs.answer("dnf -q --disableplugin=versionlock list")
    modules.refuse_missing(Dnf(), [name])


def test_only_what_this_project_holds_is_held_with_it(
    programs: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    del programs
    line = f"kernel-modules-extra-0:{OLD.rpartition('.')[0]}.*"
    monkeypatch.setattr(holds, "missing", lambda _manager: ["nvidia-driver-3:580.*", line])
    monkeypatch.setattr(holds, "LEDGER", SimpleNamespace(exists=lambda: False))
    assert modules.loose() == []
    monkeypatch.setattr(holds, "LEDGER", SimpleNamespace(exists=lambda: True))
    assert modules.loose() == [line]
