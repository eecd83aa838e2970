# SPDX-License-Identifier: Apache-2.0
"""What is done to a host's driver, by what is found there: GPUs, packages, modules, signatures, holders."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from ansible.module_utils.provision.driver.decision import Decision, Seen, Wanted, decide
from ansible.module_utils.provision.driver.installed import Installed
from ansible.module_utils.provision.driver.packages import System, matches
from ansible.module_utils.provision.gpu.kernel import KernelModule
from ansible.module_utils.provision.host.fault import Fault

UBUNTU = System("ubuntu", "debian", "24.04", 24, "x86_64")
ROCKY = System("rocky", "redhat", "9.6", 9, "x86_64")
KERNEL = "6.8.0-90-generic"
BLACKWELL = "the Blackwell GPU in 0000:00:00.0"
GRACE_HOPPER = "the Grace Hopper GPU in 0000:00:00.0"
BOTH_KINDS = (
    "the Volta GPU in 0000:00:00.0 needs the proprietary kernel modules of branch 580 at most and the "
    "Blackwell GPU in 0000:01:00.0 the open ones, and a host can load only one kind"
)


def gpu(architecture: str, slot: str = "0000:01:00.0") -> dict[str, Any]:
    return {
        "slot": slot,
        "device_id": "0x1a00",
        "kind": "gpu",
        "architecture": architecture,
        "driver": None,
    }


def module(version: str = "580.159.04", flavour: str = "open", signer: str = "") -> KernelModule:
    return KernelModule(version, flavour, KERNEL, signer)


BARE = Seen(UBUNTU, [gpu("Hopper")], Installed(), KERNEL, KERNEL)
WORKING = replace(
    BARE,
    installed=Installed("nvidia", "580.159.04", {"nvidia-dkms-580-open": "580.159.04-1ubuntu1"}),
    ready=module(),
    loaded="580.159.04",
)


def refused(wanted: Wanted, seen: Seen) -> Fault:
    with pytest.raises(Fault) as fault:
        decide(wanted, seen)
    return fault.value


def chosen(decision: Decision) -> tuple[str, str, str, str]:
    return decision.action, decision.target.source, decision.target.version, decision.target.modules


@pytest.mark.parametrize(
    ("architectures", "version", "expected"),
    [
        (["Volta"], "", ("install", "nvidia", "580", "proprietary")),
        (["Volta"], "580.178.04", ("install", "nvidia", "580.178.04", "proprietary")),
        (["Pascal", "Volta"], "", ("install", "nvidia", "580", "proprietary")),
        (["Turing"], "", ("install", "nvidia", "580", "open")),
        (["Turing", "Volta"], "", ("install", "nvidia", "580", "proprietary")),
        (["Ampere"], "595", ("install", "nvidia", "595", "open")),
        (["Ada", "Ampere"], "610", ("install", "nvidia", "610", "open")),
        (["Hopper"], "", ("install", "nvidia", "580", "open")),
        (["Grace Hopper"], "595", ("install", "nvidia", "595", "open")),
        (["Blackwell"], "", ("install", "nvidia", "580", "open")),
        (["Blackwell", "Hopper"], "610", ("install", "nvidia", "610", "open")),
    ],
)
def test_a_bare_host_gets_what_its_gpus_take(
    architectures: list[str], version: str, expected: tuple[str, ...]
) -> None:
    seen = replace(BARE, devices=[gpu(kind, f"0000:0{at}:00.0") for at, kind in enumerate(architectures)])
    assert chosen(decide(Wanted(version=version), seen)) == expected


@pytest.mark.parametrize(
    ("architectures", "wanted", "refusal", "step"),
    [
        (
            ["Volta"],
            Wanted(version="595"),
            "580 is the last driver branch for the Volta GPU in 0000:00:00.0, but 595 is requested",
            "request branch 580",
        ),
        (
            ["Volta"],
            Wanted(modules="open"),
            "the Volta GPU in 0000:00:00.0 cannot use the open kernel modules and needs the proprietary ones",
            "request the proprietary ones, or auto",
        ),
        (
            ["Blackwell"],
            Wanted(modules="proprietary"),
            f"{BLACKWELL} cannot use the proprietary kernel modules and needs the open ones",
            "request the open ones, or auto",
        ),
        (
            ["Blackwell"],
            Wanted(version="550"),
            "the Blackwell GPU in 0000:00:00.0 needs driver branch 570 or newer, but 550 is requested",
            "request branch 570 or newer",
        ),
        (
            ["Grace Hopper"],
            Wanted(modules="proprietary"),
            f"{GRACE_HOPPER} cannot use the proprietary kernel modules and needs the open ones",
            "request the open ones, or auto",
        ),
        (
            ["Ampere"],
            Wanted(version="615", modules="proprietary"),
            "branch 615 has no proprietary kernel modules, which ended before 615",
            "request the open ones, or an older branch",
        ),
        (
            ["Volta", "Blackwell"],
            Wanted(),
            BOTH_KINDS,
            "remove one of the two kinds from the host, or bind it to vfio-pci for a virtual machine",
        ),
        (
            ["Kepler"],
            Wanted(),
            "the Kepler GPU in 0000:00:00.0 is not supported by drivers newer than branch 470",
            "remove it from the host, or bind it to vfio-pci for a virtual machine",
        ),
    ],
)
def test_refuses_what_no_driver_can_do(
    architectures: list[str], wanted: Wanted, refusal: str, step: str
) -> None:
    seen = replace(BARE, devices=[gpu(kind, f"0000:0{at}:00.0") for at, kind in enumerate(architectures)])
    fault = refused(wanted, seen)
    assert (str(fault), fault.next_step) == (refusal, step)


def test_a_driver_that_works_stays_and_nothing_is_asked() -> None:
    decision = decide(Wanted(), WORKING)
    assert (decision.action, decision.why, decision.consent) == ("keep", (), ())


@pytest.mark.parametrize("version", ["580", "580.159", "580.159.04"])
def test_a_branch_is_fulfilled_by_any_version_of_it(version: str) -> None:
    assert decide(Wanted(version=version), WORKING).action == "keep"


def test_versions_are_compared_number_by_number() -> None:
    assert matches("58", "580.159.04") is False
    assert matches("580.1", "580.159.04") is False
    assert matches("580", "580.159.04") is True


def test_a_working_proprietary_driver_is_no_reason_for_a_reboot() -> None:
    seen = replace(WORKING, ready=module(flavour="proprietary"))
    assert decide(Wanted(), seen).action == "keep"
    assert decide(Wanted(modules="open"), seen).action == "change"


def test_another_branch_is_a_change_that_names_what_it_stops() -> None:
    decision = decide(Wanted(version="595"), replace(WORKING, serving=["vllm.service"]))
    assert chosen(decision) == ("change", "nvidia", "595", "open")
    (need,) = decision.consent
    assert need.startswith("stop vllm.service, and replace the driver 580.159.04 that is loaded by 595 (open")
    assert need.endswith("reboot if it cannot be unloaded")


def test_who_holds_the_devices_is_named_before_a_reboot_ends_it() -> None:
    held = replace(WORKING, holders=["python3 (process 77 of ada) uses /dev/nvidia0"])
    (need,) = decide(Wanted(version="595"), held).consent
    assert need.endswith("with a reboot: python3 (process 77 of ada) uses /dev/nvidia0")


def test_without_a_reboot_a_held_device_is_refused_before_anything_changes() -> None:
    held = replace(WORKING, holders=["python3 (process 77 of ada) uses /dev/nvidia0"])
    fault = refused(Wanted(version="595", reboot="never"), held)
    assert str(fault).startswith("python3 (process 77 of ada) uses /dev/nvidia0, so the driver cannot")
    assert "end these processes" in fault.next_step


def test_a_run_on_the_host_itself_is_refused_what_needs_a_reboot_before_anything_changes() -> None:
    held = replace(WORKING, holders=["python3 (process 77 of ada) uses /dev/nvidia0"])
    waiting = replace(BARE, booting="6.8.0-101-generic", running_headers=False)
    for seen in (held, waiting, replace(BARE, nouveau=True)):
        fault = refused(Wanted(version="595", reboot="local"), seen)
        assert str(fault).endswith("and an apply on the host itself cannot reboot it")
        assert fault.next_step.startswith("apply from another machine by ssh, or ")
    # What needs none is done, and nobody is asked to agree to a reboot.
    (need,) = decide(Wanted(version="595", reboot="local"), WORKING).consent
    assert "reboot" not in need


def test_nouveau_means_a_reboot_or_a_refusal() -> None:
    seen = replace(BARE, nouveau=True)
    assert decide(Wanted(), seen).consent == ("reboot: nouveau uses the GPUs",)
    assert str(refused(Wanted(reboot="never"), seen)).startswith("nouveau uses the GPUs")


def test_a_bare_host_without_nouveau_needs_no_consent() -> None:
    assert decide(Wanted(), BARE).consent == ()


def test_a_kernel_that_waits_for_a_reboot_is_told() -> None:
    seen = replace(BARE, booting="6.8.0-101-generic", running_headers=False)
    assert decide(Wanted(), seen).consent == (
        f"reboot: kernel 6.8.0-101-generic boots next, but {KERNEL} is running",
    )
    assert "boots next" in str(refused(Wanted(reboot="never"), seen))


def test_another_hands_driver_that_works_is_not_repaired_for_want_of_our_file() -> None:
    assert decide(Wanted(), replace(WORKING, boots_nouveau=True)).action == "keep"


def test_the_running_kernel_may_have_a_module_of_another_driver() -> None:
    seen = replace(
        WORKING, booting="6.8.0-101-generic", ready=None, running_headers=False, running_module="580.105.08"
    )
    assert decide(Wanted(version="580.159.04"), seen).consent == (
        f"reboot: kernel 6.8.0-101-generic boots next, but {KERNEL} is running",
    )


def test_what_a_change_that_was_cut_off_has_stopped_is_started_again() -> None:
    decision = decide(Wanted(), replace(WORKING, unfinished=["a change of the driver was cut off"]))
    assert (decision.action, decision.why) == ("activate", ("a change of the driver was cut off",))


def test_another_source_is_a_planned_removal_first() -> None:
    decision = decide(Wanted(source="distribution"), WORKING)
    assert decision.action == "move"
    assert decision.consent[0] == (
        "remove driver 580.159.04 of source nvidia before 580 is installed from distribution"
    )


@pytest.mark.parametrize("version", ["latest", "58", "580,595", "v580"])
def test_what_is_no_version_is_refused(version: str) -> None:
    assert "neither a branch nor a version" in str(refused(Wanted(version=version), BARE))


def test_a_distribution_without_drivers_is_refused() -> None:
    fault = refused(Wanted(source="distribution"), replace(BARE, system=ROCKY))
    assert str(fault) == "rocky 9.6 has no driver packages of its own"


def test_two_sources_at_once_are_refused() -> None:
    mixed = Installed("mixed", "580.105.08", {"nvidia-utils-580": "580.159.04-1ubuntu1"})
    fault = refused(Wanted(), replace(BARE, installed=mixed))
    assert "overwrite each other's files" in str(fault)
    assert "nvidia-uninstall" in fault.next_step


def test_packages_of_strangers_are_left_alone() -> None:
    foreign = Installed("foreign", "570.86", {"akmod-nvidia": "2:570.86"})
    assert "akmod-nvidia" in str(refused(Wanted(), replace(BARE, installed=foreign)))


@pytest.mark.parametrize(
    ("system", "source", "enrolled", "stops"),
    [
        (UBUNTU, "auto", None, True),
        (UBUNTU, "distribution", None, False),  # its modules are signed by the distribution
        (UBUNTU, "auto", "/var/lib/shim-signed/mok/MOK.der", False),
        (ROCKY, "auto", None, True),
        (ROCKY, "auto", "/var/lib/dkms/mok.pub", False),
    ],
)
def test_secure_boot_stops_what_would_not_load(
    system: System, source: str, enrolled: str | None, stops: bool
) -> None:
    seen = replace(BARE, system=system, secure_boot=True, enrolled=enrolled)
    if not stops:
        assert decide(Wanted(source=source), seen).action == "install"
        return
    step = refused(Wanted(source=source), seen).next_step
    assert "mokutil --import" in step
    assert ("nvidia_driver_source: distribution" in step) is (system is UBUNTU)


@pytest.mark.parametrize(("source", "stops"), [("distribution", False), ("nvidia", True), ("runfile", True)])
def test_modules_that_the_distribution_signed_are_no_reason_to_trust_others(source: str, stops: bool) -> None:
    signed = replace(module("580.159.04"), signer="Canonical Ltd. Kernel Module Signing")
    there = replace(WORKING.installed, origin="distribution")
    seen = replace(WORKING, installed=there, ready=signed, secure_boot=True, enrolled=None)
    wanted = Wanted(source=source, version="580.159.04")
    if stops:
        assert str(refused(wanted, seen)).startswith("Secure Boot is on")
    else:
        assert decide(wanted, seen).action == "keep"


@pytest.mark.parametrize(
    ("change", "action", "why"),
    [
        ({"ready": None}, "repair", f"the kernel that boots next, {KERNEL}, has no module of the driver"),
        (
            {"ready": module("580.105.08")},
            "repair",
            f"kernel {KERNEL} has module 580.105.08 of driver 580.159.04",
        ),
        (
            {"strays": ["nvidia-fabricmanager is of version 580.105.08, and the driver of 580.159.04"]},
            "repair",
            "nvidia-fabricmanager is of version 580.105.08, and the driver of 580.159.04",
        ),
        (
            {"boots_nouveau": True, "ours": True},
            "repair",
            f"the initramfs of kernel {KERNEL} would load nouveau",
        ),
        ({"loaded": None}, "activate", "the driver is installed but not loaded"),
        (
            {"loaded": "580.105.08"},
            "activate",
            "driver 580.159.04 is installed, but 580.105.08 is loaded",
        ),
        ({"loaded": None, "nouveau": True}, "activate", "nouveau uses the GPUs"),
    ],
)
def test_what_is_half_done_is_done(change: dict[str, Any], action: str, why: str) -> None:
    decision = decide(Wanted(), replace(WORKING, **change))
    assert (decision.action, decision.why) == (action, (why,))


def test_a_driver_that_cannot_serve_its_gpus_gives_way_to_the_default_branch() -> None:
    old = Installed("nvidia", "550.90.07", {"nvidia-dkms-550-open": "550.90.07-1"})
    seen = replace(
        BARE, devices=[gpu("Blackwell")], installed=old, ready=module("550.90.07"), loaded="550.90.07"
    )
    assert chosen(decide(Wanted(), seen)) == ("change", "nvidia", "580", "open")


def test_dkms_modules_without_their_source_are_named_before_a_change() -> None:
    entries = ["/var/lib/dkms/nvidia/570.86"]
    fault = refused(Wanted(), replace(BARE, sourceless=entries))
    assert "DKMS lists modules whose source is gone (/var/lib/dkms/nvidia/570.86)" in str(fault)
    assert fault.next_step.startswith("run `rm -r /var/lib/dkms/nvidia/570.86` on the host")
    assert decide(Wanted(), replace(WORKING, sourceless=entries)).action == "keep"
