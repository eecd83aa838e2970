# SPDX-License-Identifier: Apache-2.0
"""Take a driver from a host that provision has brought there, with all that belongs to it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..gpu import kernel as kernels
from ..host.fault import undo
from ..host.settings import write_file
from ..jobs.command import note
from ..jobs.progress import Progress
from . import hold as holds
from . import reload, runfile, steps
from .installed import listed
from .managers import driver_manager, wait_for_lock
from .packages import RUNFILE, is_family
from .process import run
from .record import RECORD
from .services import Services


def remove(spec: dict[str, Any]) -> None:
    """Do the job, and write its outcome."""
    about = {word: spec[word] for word in ("verb", "asked", "source")}
    with Progress(Path(spec["result"]), spec["title"], about) as progress:
        progress.finish(**about, outcome=_remove(spec, progress))


def _remove(spec: dict[str, Any], progress: Progress) -> dict[str, Any]:
    warnings: list[str] = []
    manager = driver_manager()

    def say(label: str) -> None:
        progress.label = label
        note(label)

    wait_for_lock(manager, spec["lock_timeout"], say)
    manager.repair()
    services, held = Services(spec, warnings), holds.LEDGER.exists()
    try:
        say("stopping what uses the GPUs")
        services.stop()
        stays = reload.unload()
        if stays:
            warnings.append(f"{stays}: they go with the next reboot")
        say("removing the driver")
        holds.release()
        if spec["source"] == RUNFILE:
            runfile.uninstall()
        elif family := [name for name in listed() if is_family(name)]:
            manager.remove(family)
    except BaseException as error:
        # What is left of the driver stays as it was held, and what served with it serves on.
        undo(error, *([holds.hold] if held else []), services.start)
        raise
    manager.unpin()
    manager.leave()
    _forget_nouveau(spec["booting"])
    RECORD.unlink(missing_ok=True)
    return {"changed": True, "warnings": warnings}


def _forget_nouveau(kernel: str) -> None:
    """Take the files against nouveau away, and make the initramfs again, which has copies of them."""
    copies = any(name.endswith(steps.BLACKLIST.lstrip("/")) for name in kernels.initramfs_files(kernel))
    for path in (*steps.FILES, steps.DRACUT):
        write_file(path, None)
    image = kernels.initramfs(kernel)
    if copies and image:
        program = ["update-initramfs", "-u", "-k", kernel]
        argv = program if image.name.startswith("initrd") else ["dracut", "--force", str(image), kernel]
        run(argv, f"making the initramfs of kernel {kernel}")
