# SPDX-License-Identifier: Apache-2.0
"""Stop what uses the GPUs while a driver changes, and start it again afterwards."""

from __future__ import annotations

from pathlib import Path

from ..host.commands import call
from ..host.fault import Fault
from ..host.files import read_json, write_json
from ..host.paths import text_of
from ..host.systemd import state
from . import reload
from .orders import Orders

# It outlives a job that was cut off, and ends with the boot, which starts every service by itself.
STOPPED = Path("/run/provision/nvidia_driver.stopped.json")
PERSISTENCE, FABRIC = "nvidia-persistenced.service", "nvidia-fabricmanager.service"


def on_gpu(units: list[str]) -> list[str]:
    """Return the services that are running and may use the GPUs."""
    found = []
    for unit in units:
        now = state(unit)
        if now.active in ("active", "activating") and _visible_devices(now.main_pid) not in ("", "-1"):
            found.append(unit)
    return found


def _visible_devices(pid: int) -> str | None:
    """Return which GPUs a process is restricted to, None where it is not or has ended."""
    variables = text_of(Path(f"/proc/{pid}/environ")).split("\0")
    return dict(word.split("=", 1) for word in variables if "=" in word).get("CUDA_VISIBLE_DEVICES")


class Services:
    """The services of a host that a change of its driver interrupts."""

    def __init__(self, orders: Orders, warnings: list[str]) -> None:
        self.orders = orders
        self.warnings = warnings

    def stop(self) -> None:
        """Stop our services on the GPUs; raises Fault if others use them."""
        units = [*self.orders.serving, *reload.SERVICES]
        # An engine that loads its model holds the GPU as well.
        active = [unit for unit in units if state(unit).active in ("active", "activating", "reloading")]
        write_json(STOPPED, sorted({*read_json(STOPPED, []), *active}), 0o644)
        for unit in active:
            self._ask("stop", unit)
        others = reload.strangers(units)
        if others and not self.orders.may_reboot:
            raise Fault(
                f"{'; '.join(others)}: the driver cannot be changed while it runs, and nothing was",
                f"end these processes, or {self.orders.reboot_step}; then apply again",
            )

    def enable(self) -> None:
        """Enable the installed services of the driver."""
        for unit in self._own():
            self._ask("enable", unit)

    def start(self) -> None:
        """Start what was stopped, and the installed services of the driver."""
        wanted = {*read_json(STOPPED, []), *self._own()}
        # Those of the driver first: engines ask for what they offer.
        for unit in sorted(wanted, key=lambda name: not name.startswith("nvidia-")):
            if not self._ask("--no-block", "start", unit):
                self.warnings.append(f"{unit} did not start again: see `systemctl status {unit}`")
        STOPPED.unlink(missing_ok=True)

    def _own(self) -> list[str]:
        units = (PERSISTENCE, FABRIC) if self.orders.fabric else (PERSISTENCE,)
        return [unit for unit in units if self._ask("cat", unit)]

    def _ask(self, *words: str) -> bool:
        done = call("systemctl", *words, seconds=self.orders.stop_seconds)
        return bool(done.returncode == 0)
