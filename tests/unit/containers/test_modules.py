# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from types import SimpleNamespace

import pytest
from ansible.module_utils.provision.containers import modules
from ansible.module_utils.provision.driver import hold as holds
from ansible.module_utils.provision.gpu import kernel as kernels
from ansible.module_utils.provision.host.fault import Fault

OLD, NEW = "6.12.0-124.8.1.el10_1.x86_64", "6.12.0-124.20.1.el10_1.x86_64"


@pytest.fixture
def having(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Return kernels that have the module, and packages that a repository has; a test adds to it."""
    there: set[str] = set()

    def call(program: str, *words: str, **_more: object) -> SimpleNamespace:
        found = (words[1] if program == "modinfo" else words[-1]) in there
        return SimpleNamespace(returncode=int(not found), stderr="" if found else "Error: \nNo match\n")

    monkeypatch.setattr(modules, "call", call)
    monkeypatch.setattr(modules, "is_apt", lambda: False)
    monkeypatch.setattr(kernels, "running", lambda: OLD)
    monkeypatch.setattr(kernels, "booting", lambda: NEW)
    return there


def test_names_the_package_of_every_kernel_that_lacks_the_module(
    having: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    both = [f"kernel-modules-extra-{OLD}", f"kernel-modules-extra-{NEW}"]
    assert modules.missing_packages() == both
    having.add(OLD)
    assert modules.missing_packages() == both[1:]
    monkeypatch.setattr(kernels, "booting", lambda: OLD)
    assert modules.missing_packages() == []
    monkeypatch.setattr(kernels, "running", lambda: "6.12.0-1.el10.aarch64+64k")
    assert modules.missing_packages() == ["kernel-64k-modules-extra-6.12.0-1.el10.aarch64"]


def test_kernels_of_apt_have_it_all(having: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    del having
    monkeypatch.setattr(modules, "is_apt", lambda: True)
    assert modules.missing_packages() == []
    assert modules.loose() == []


def test_refuses_a_kernel_whose_package_is_gone(having: set[str]) -> None:
    name = f"kernel-modules-extra-{OLD}"
    with pytest.raises(Fault, match=rf"{name}, and dnf finds that in no .*\(No match\)") as caught:
        modules.refuse_missing([name])
    assert "upgrade kernel`" in caught.value.next_step
    with pytest.raises(Fault) as caught:
        modules.refuse_missing(["kernel-64k-modules-extra-6.12.0-1.el10.aarch64"])
    assert "upgrade kernel-64k`" in caught.value.next_step
    having.add(name)
    modules.refuse_missing([name])


def test_only_what_this_project_holds_is_held_with_it(
    having: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    del having
    line = f"kernel-modules-extra-0:{OLD.rpartition('.')[0]}.*"
    monkeypatch.setattr(holds, "missing", lambda: ["nvidia-driver-3:580.*", line])
    monkeypatch.setattr(holds, "LEDGER", SimpleNamespace(exists=lambda: False))
    assert modules.loose() == []
    monkeypatch.setattr(holds, "LEDGER", SimpleNamespace(exists=lambda: True))
    assert modules.loose() == [line]
