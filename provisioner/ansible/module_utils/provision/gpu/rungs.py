# SPDX-License-Identifier: Apache-2.0
"""The rungs of the verification ladder that a host itself climbs."""

from __future__ import annotations

from typing import Any

from ..host.payload import FAILED, NOT_APPLICABLE, PASSED, Rung
from .health import GpuFault, gpu_faults, gpu_notes, wrong_boot, xid_faults


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
    return [reachable, _driver(driver), _gpus(gpus, driver, faults)]


def _driver(driver: dict[str, Any]) -> Rung:
    """Return whether the driver that works now is the one that the next boot loads."""
    wrong = wrong_boot(driver)
    if wrong:
        return Rung("driver", FAILED, f"{_versions(driver)}, but {wrong.says}", next=wrong.fix)
    booting = driver.get("booting")
    ready = f" = module for kernel {booting['kernel']}, which boots next" if booting else ""
    return Rung("driver", PASSED, f"{_versions(driver)}{ready}")


def _gpus(gpus: list[dict[str, Any]], driver: dict[str, Any], faults: list[GpuFault]) -> Rung:
    """Return whether every GPU is there and well; what programs did to themselves is only named."""
    names = ", ".join(f"{gpu['index']}: {gpu['name']}" for gpu in gpus)
    said = [*(fault.says for fault in faults), *([names] if names else []), *gpu_notes(gpus, driver)]
    return Rung("gpus", FAILED if faults else PASSED, "; ".join(said), next=faults[0].fix if faults else None)


def _versions(driver: dict[str, Any]) -> str:
    """Return which versions agree: that of the loaded module, of its flavour, and of the library."""
    flavour = f" ({driver['flavour']})" if driver["flavour"] else ""
    module = driver["module"] or driver["version"]
    return f"loaded module {module}{flavour} = library {driver['library'] or driver['version']}"
