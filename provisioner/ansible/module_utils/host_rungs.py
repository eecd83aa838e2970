# SPDX-License-Identifier: Apache-2.0
"""The rungs of the verification ladder, and those that a host itself climbs."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

PASSED, FAILED, NOT_APPLICABLE = "passed", "failed", "not applicable"


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
    gpus: list[dict[str, Any]], driver: dict[str, Any], systemd: int, *, gpus_expected: bool = False
) -> list[Rung]:
    """Return the rungs of a host: that it answers, and what it has of NVIDIA."""
    reachable = Rung("reachable", PASSED, f"answered over SSH as root, systemd {systemd}")
    problem = driver["problem"]
    if problem:
        status = FAILED if gpus_expected else NOT_APPLICABLE
        step = driver["next"] if gpus_expected else None
        return [
            reachable,
            Rung("driver", status, problem, next=step),
            Rung("gpus", NOT_APPLICABLE, "the driver offers none"),
        ]
    lost = [*driver["lost"], *_missing(len(gpus) + len(driver["lost"]), driver["expected"])]
    if not gpus and not lost:
        none = "no NVIDIA GPU is given to this host"
        return [reachable, *(Rung(name, NOT_APPLICABLE, none) for name in ("driver", "gpus"))]
    evidence = "; ".join([*lost, ", ".join(f"{gpu['index']}: {gpu['name']}" for gpu in gpus)])
    step = "see `dmesg | grep -i xid` on the host; a GPU that fell off the bus needs a power cycle"
    return [
        reachable,
        Rung("driver", PASSED, _versions(driver)),
        Rung("gpus", FAILED if lost else PASSED, evidence, next=step if lost else None),
    ]


def _missing(seen: int, expected: int) -> list[str]:
    return [f"{seen} of the {expected} on the PCI bus"] if seen < expected else []


def _versions(driver: dict[str, Any]) -> str:
    """Return which versions agree: that of the loaded module, of its flavour, and of the library."""
    flavour = f" ({driver['flavour']})" if driver["flavour"] else ""
    module = driver["module"] or driver["version"]
    return f"loaded module {module}{flavour} = library {driver['library'] or driver['version']}"


def plural(count: int, one: str, many: str = "") -> str:
    """Return a number with its noun."""
    return f"{count} {one if count == 1 else many or one + 's'}"
