# SPDX-License-Identifier: Apache-2.0
"""Judge the NVIDIA driver of a host: what is loaded, whether it answers, and what helps when it does not."""

from __future__ import annotations

from typing import Any, Callable

from . import kernel as nvidia_kernel
from . import pci, xid
from .choice import describe
from .nvml import FAILED, HUNG, MISMATCH, NO_LIBRARY, NOT_LOADED, OK, ask

NO_DRIVER = "no driver"
# Eight healthy cards without persistence take half a minute to wake.
SECONDS = 60
# These mean that a driver was given to this host, be it a container, and that it does not work.
BROKEN = (HUNG, MISMATCH, FAILED)
KERNEL_LOG = "see `dmesg | grep -iE 'nvrm|xid'` on the host"


def inspect(
    *, container: bool, seconds: float = SECONDS
) -> tuple[list[dict[str, Any]], dict[str, Any], list[dict[str, Any]]]:
    """Return NVIDIA's devices on the bus, the driver's state with the errors that it logged, and its GPUs."""
    devices = pci.devices()
    driver, gpus = examine(devices, container=container, seconds=seconds)
    # The log is that of the machine, which may have GPUs outside this container.
    given = [gpu["pci"] for gpu in gpus] if container else None
    # Only a driver writes such errors, and most hosts of a mixed fleet have none.
    driver["xid"] = None if driver["state"] == NO_DRIVER else xid.since_boot(given)
    return devices, driver, gpus


def examine(
    devices: list[dict[str, Any]],
    *,
    container: bool = False,
    seconds: float = SECONDS,
    read: Callable[[], dict[str, Any]] | None = None,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the driver's state and the GPUs that it offers."""
    module, flavour = nvidia_kernel.loaded_driver()
    answer = ask(seconds, read)
    gpus: list[dict[str, Any]] = answer.pop("gpus")
    driver = dict(answer, module=module, flavour=flavour)
    if driver["state"] == NO_LIBRARY and module is None:
        driver["state"] = NO_DRIVER
    if driver["state"] == OK and module and driver["library"] and module != driver["library"]:
        driver["state"] = MISMATCH
    # The bus shows a container the GPUs of its machine, whoever they were given to.
    driver["expected"] = 0 if container else len(pci.own_gpus(devices))
    driver["needs"] = describe(devices)
    # What a kernel update or a half-done upgrade would show after the next boot only.
    driver["booting"] = None if container or not driver["expected"] else booting()
    driver["problem"], driver["next"] = _judge(driver, len(gpus), devices)
    return driver, gpus


def booting() -> dict[str, str | None]:
    """Return the kernel that boots next, and the version of the driver's module that it would load."""
    kernel = nvidia_kernel.booting()
    module = nvidia_kernel.module(kernel)
    return {"kernel": kernel, "module": module.version if module else None}


def _judge(
    driver: dict[str, Any], offered: int, devices: list[dict[str, Any]]
) -> tuple[str | None, str | None]:
    """Return what is wrong and what to do about it."""
    state, expected = driver["state"], driver["expected"]
    if state in BROKEN:
        return _broken(driver)
    if offered or driver["lost"] or not expected:
        return None, None
    gpus = f"{expected} NVIDIA GPU{'s' if expected > 1 else ''} on the PCI bus, but"
    needs = f": {driver['needs']}"
    if state == NO_DRIVER:
        nouveau = any(one["driver"] == "nouveau" for one in devices)
        holds = "nouveau holds the hardware and no NVIDIA driver is installed"
        absent = holds if nouveau else "no NVIDIA driver is installed"
        return f"{gpus} {absent}", f"install one{needs}"
    if state == NOT_LOADED:
        step = f"run `modprobe nvidia` on the host; when that fails, {KERNEL_LOG}. The right driver{needs}"
        return f"{gpus} the NVIDIA driver that is installed is not loaded", step
    if state == NO_LIBRARY:
        module = driver["module"]
        return f"{gpus} the driver {module} is loaded without its libraries", f"install them, at {module}"
    kernel = (
        f"the {driver['flavour']} kernel modules {driver['module']}" if driver["module"] else "the driver"
    )
    return f"{gpus} {kernel} offer none of them", f"{KERNEL_LOG}. The right driver{needs}"


def _broken(driver: dict[str, Any]) -> tuple[str, str]:
    if driver["state"] == HUNG:
        return (
            f"the NVIDIA driver hangs: {driver['error']}",
            f"{KERNEL_LOG}; as a rule only a reboot frees such a driver",
        )
    if driver["state"] == MISMATCH:
        kernel, library = driver["module"] or "another version", driver["library"] or "another version"
        reason = driver["error"] or "they must be the same"
        return (
            f"the loaded NVIDIA kernel module is {kernel} and its library {library}: {reason}",
            "reboot the host, which loads the driver that is installed, and hold both at one version",
        )
    return (
        f"the NVIDIA driver does not work: {driver['error']}",
        f"{KERNEL_LOG}; reinstall the driver" + (f": {driver['needs']}" if driver["needs"] else ""),
    )
