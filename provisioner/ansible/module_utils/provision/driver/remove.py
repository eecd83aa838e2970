# SPDX-License-Identifier: Apache-2.0
"""Remove a driver that provision has installed, with all that belongs to it."""

from __future__ import annotations

from functools import partial
from typing import Any

from ..gpu import kernel as kernels
from ..host.fault import undo
from ..host.settings import write_file
from ..jobs.orders import job_of
from ..jobs.progress import Progress
from . import hold as holds
from . import reload, runfile, steps, transaction
from .orders import Orders
from .packages import RUNFILE, is_family
from .record import RECORD
from .services import Services


def _remove(orders: Orders, progress: Progress) -> dict[str, Any]:
    warnings: list[str] = []
    manager = transaction.driver_manager()
    manager.require_lock(orders.lock_timeout, progress.say)
    manager.repair()
    services, held = Services(orders, warnings), holds.LEDGER.exists()
    try:
        progress.say("stopping the services that use the GPUs")
        services.stop()
        stays = reload.unload()
        if stays:
            warnings.append(f"{stays}: they are unloaded by the next reboot")
        progress.say("removing the driver")
        holds.release(manager)
        if orders.source == RUNFILE:
            runfile.uninstall()
        elif family := [name for name in manager.versions() if is_family(name)]:
            transaction.remove(manager, family)
    except BaseException as error:
        # What is left of the driver stays held as it was, and what served with it continues.
        undo(error, *([partial(holds.hold, manager)] if held else []), services.start)
        raise
    transaction.pin(manager, None)
    transaction.reset_stream(manager)
    _allow_nouveau(orders.booting)
    RECORD.unlink(missing_ok=True)
    return {"changed": True, "warnings": warnings}


def _allow_nouveau(kernel: str) -> None:
    """Remove the files against nouveau, and rebuild the initramfs, which has copies of them."""
    copies = any(name.endswith(steps.BLACKLIST.lstrip("/")) for name in kernels.initramfs_files(kernel))
    for path in (*steps.FILES, steps.DRACUT):
        write_file(path, None)
    if copies:
        steps.make_initramfs(kernel)


remove = job_of(
    Orders, lambda orders, progress: {"outcome": _remove(orders, progress)}, "verb", "asked", "source"
)
