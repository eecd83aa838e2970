# SPDX-License-Identifier: Apache-2.0
"""The rungs of the verification ladder, and those that a host itself climbs."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ansible.module_utils.host_facts import nvidia_devices

PASSED, FAILED, NOT_APPLICABLE = "passed", "failed", "not applicable"
DRIVER_STEP = (
    "install or repair the NVIDIA driver until `nvidia-smi` answers, or let the services run on the CPU, "
    "with engine_<name>_device: cpu"
)


@dataclass(frozen=True)
class Rung:
    """Say how one check ended, on what evidence, and what to do when it failed."""

    rung: str
    status: str
    evidence: str
    service: str | None = None
    next: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the rung as the run's events carry it."""
        return asdict(self)


def host_rungs(
    gpus: list[dict[str, Any]], driver: str, systemd: int, *, gpus_expected: bool = False
) -> list[Rung]:
    """Return the rungs of a host: that it answers, and what it has of NVIDIA."""
    reachable = Rung("reachable", PASSED, f"answered over SSH as root, systemd {systemd}")
    on_bus = nvidia_devices(Path("/sys/bus/pci/devices"))
    if not gpus:
        evidence = "no NVIDIA device on the PCI bus"
        if on_bus:
            evidence = f"{plural(on_bus, 'NVIDIA device')} on the PCI bus, but no driver offers it here"
        if on_bus and gpus_expected:
            broken = Rung("driver", FAILED, evidence, next=DRIVER_STEP)
            return [reachable, broken, Rung("gpus", NOT_APPLICABLE, evidence)]
        return [reachable, *(Rung(name, NOT_APPLICABLE, evidence) for name in ("driver", "gpus"))]
    names = ", ".join(f"{gpu['index']}: {gpu['name']}" for gpu in gpus)
    lost = on_bus > len(gpus)
    evidence = f"{len(gpus)} of {on_bus} on the PCI bus: {names}" if lost else names
    step = "see `dmesg | grep -i xid` on the host" if lost else None
    return [
        reachable,
        Rung("driver", PASSED, f"version {driver} answers"),
        Rung("gpus", FAILED if lost else PASSED, evidence, next=step),
    ]


def plural(count: int, one: str, many: str = "") -> str:
    """Return a number with its noun."""
    return f"{count} {one if count == 1 else many or one + 's'}"
