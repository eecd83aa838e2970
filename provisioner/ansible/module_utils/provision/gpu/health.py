# SPDX-License-Identifier: Apache-2.0
"""Judge the driver and the GPUs of a host by what it reports and has written into the kernel's log; pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..host.payload import FAILED, NOT_APPLICABLE, PASSED, Rung
from .xid import RESET, meaning

BUS = "see `dmesg | grep -i xid` on the host; a GPU that fell off the bus needs a power cycle"
APPLY = "run `provision apply` again, which builds it, before the host boots"


@dataclass(frozen=True)
class GpuFault:
    """What is wrong and what to do about it."""

    says: str
    fix: str


def host_rungs(
    gpus: list[dict[str, Any]], driver: dict[str, Any], systemd: int, *, gpus_expected: bool = False
) -> list[Rung]:
    """Return the rungs of a host: that it answers, and what it has of NVIDIA."""
    reachable = Rung("reachable", PASSED, f"answered over SSH as root, systemd {systemd}")
    problem = driver["problem"]
    if problem:
        status = FAILED if gpus_expected else NOT_APPLICABLE
        step = driver["next"] if gpus_expected else None
        # A driver that hangs may have said why before.
        said = "; ".join([problem, *(fault.says for fault in xid_faults(driver))])
        return [
            reachable,
            Rung("driver", status, said, next=step),
            Rung("gpus", NOT_APPLICABLE, "the driver offers none"),
        ]
    faults = gpu_faults(gpus, driver)
    if not gpus and not faults:
        none = "no NVIDIA GPU is given to this host"
        return [reachable, *(Rung(name, NOT_APPLICABLE, none) for name in ("driver", "gpus"))]
    return [reachable, _driver_rung(driver), _gpus_rung(gpus, driver, faults)]


def _driver_rung(driver: dict[str, Any]) -> Rung:
    """Return whether the driver that works now is the one that the next boot loads."""
    wrong = wrong_boot(driver)
    if wrong:
        return Rung("driver", FAILED, f"{_versions(driver)}, but {wrong.says}", next=wrong.fix)
    booting = driver.get("booting")
    ready = f" = module for kernel {booting['kernel']}, which boots next" if booting else ""
    return Rung("driver", PASSED, f"{_versions(driver)}{ready}")


def _gpus_rung(gpus: list[dict[str, Any]], driver: dict[str, Any], faults: list[GpuFault]) -> Rung:
    """Return whether every GPU is there and well; what programs did to themselves is only named."""
    names = ", ".join(f"{gpu['index']}: {gpu['name']}" for gpu in gpus)
    said = [*(fault.says for fault in faults), *([names] if names else []), *gpu_notes(gpus, driver)]
    return Rung("gpus", FAILED if faults else PASSED, "; ".join(said), next=faults[0].fix if faults else None)


def _versions(driver: dict[str, Any]) -> str:
    """Return which versions agree: that of the loaded module, of its flavour, and of the library."""
    flavour = f" ({driver['flavour']})" if driver["flavour"] else ""
    module = driver["module"] or driver["version"]
    return f"loaded module {module}{flavour} = library {driver['library'] or driver['version']}"


def wrong_boot(driver: dict[str, Any]) -> GpuFault | None:
    """Return what other driver the next boot would load, None if it is the same or unknown."""
    booting, loaded = driver.get("booting"), driver.get("module") or driver.get("version")
    if not booting or booting["module"] == loaded:
        return None
    has = f"module {booting['module']}" if booting["module"] else "no module"
    return GpuFault(f"kernel {booting['kernel']}, which boots next, has {has}", APPLY)


def gpu_faults(gpus: list[dict[str, Any]], driver: dict[str, Any]) -> list[GpuFault]:
    """Return what is wrong with the GPUs, the worst first."""
    lost = driver["lost"]
    faults = [GpuFault(one, BUS) for one in lost]
    seen = len(gpus) + len(lost)
    if seen < driver["expected"]:
        faults.append(GpuFault(f"{seen} of the {driver['expected']} on the PCI bus", BUS))
    faults += xid_faults(driver)
    for gpu in gpus:
        count = gpu.get("ecc_uncorrected") or 0
        if count:
            errors = "1 uncorrected error" if count == 1 else f"{count} uncorrected errors"
            says = f"{errors} of memory (ECC) on GPU {gpu['index']} since the driver was loaded"
            faults.append(GpuFault(says, RESET.format(slot=gpu["pci"])))
    return faults


def gpu_notes(gpus: list[dict[str, Any]], driver: dict[str, Any]) -> list[str]:
    """Return what else is known of the GPUs: the good, and what programs did to themselves."""
    expected = driver["expected"]
    notes = [f"{len(gpus)} of {expected} on the PCI bus"] if len(gpus) >= expected > 0 else []
    if gpus and all(gpu.get("ecc_uncorrected") == 0 for gpu in gpus):
        notes.append("no uncorrected error of memory (ECC)")
    log = driver.get("xid")
    if not log:
        return notes
    if log["problem"]:
        return [*notes, f"Xids are not known, because {log['problem']}"]
    harmless = [f"note: {_xid(one).says}" for one in log["errors"] if _is_note(one)]
    if not log["errors"]:
        harmless = [
            "no Xid since boot"
            if log["whole"]
            else "no Xid in the kernel's log, which no longer goes back to the boot"
        ]
    return [*notes, *harmless]


def xid_faults(driver: dict[str, Any]) -> list[GpuFault]:
    """Return the Xids after which a GPU is no longer to be trusted."""
    return [_xid(one) for one in _errors(driver) if not _is_note(one)]


def xid_notes(driver: dict[str, Any]) -> list[GpuFault]:
    """Return the Xids that are not a fault of the GPU, with what to do."""
    return [_xid(one) for one in _errors(driver) if _is_note(one)]


def _is_note(error: dict[str, Any]) -> bool:
    return bool(error["past"]) or not meaning(error["xid"]).harmful


def _errors(driver: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (driver.get("xid") or {}).get("errors") or []
    return found


def _xid(error: dict[str, Any]) -> GpuFault:
    what = meaning(error["xid"])
    times = f", {error['count']} times" if error["count"] > 1 else ""
    past = ", before the driver was loaded again" if error["past"] else ""
    text = f": {error['text']}" if error["text"] else ""
    says = f"Xid {error['xid']} of {error['slot']}{times}{past} ({what.text}{text})"
    return GpuFault(says, what.next_step.format(slot=error["slot"]))
