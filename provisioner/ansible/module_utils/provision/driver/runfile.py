# SPDX-License-Identifier: Apache-2.0
"""Install a driver with NVIDIA's .run installer, pinned by its sha256, and remove it again."""

from __future__ import annotations

import os
from pathlib import Path

from ..fetch.download import Download
from ..fetch.source import Source, Variables
from ..host.commands import call
from ..host.fault import Fault
from ..host.paths import last_lines, require_room
from ..jobs.progress import Progress
from .installed import UNINSTALLER
from .orders import Orders
from .steps import attempt, run

# Where the unit finds the address: it may hold a password, so neither orders nor command lines do.
URL_VARIABLE = "NVIDIA_DRIVER_RUNFILE_URL"
SOURCE = Variables(
    url="nvidia_driver_runfile_url",
    ca_bundle="host_base_ca_certificates",
    environment="nvidia_driver_environment",
    login="give user and password in the URL",
)
CACHE = Path("/var/cache/provision/nvidia_driver")
INSTALLER_LOG = Path("/var/log/nvidia-installer.log")
UNPACKED_BYTES = 3 * 1024**3
OPTIONS = ("--silent", "--dkms", "--no-x-check", "--no-install-compat32-libs", "--no-rebuild-initramfs")
# Without these it gives up while nouveau or the driver of before is loaded; some versions lack some.
WHILE_LOADED = ("--no-nouveau-check", "--skip-module-load", "--allow-installation-with-running-driver")


def fetch(orders: Orders, progress: Progress) -> Path:
    """Download the installer, and return it once its hash is right."""
    CACHE.mkdir(mode=0o755, parents=True, exist_ok=True)
    place = CACHE / f"{orders.runfile_sha256[:16]}.run"
    if place.exists():
        return place
    part = place.with_suffix(".part")
    wanted = {**orders.to_dict(), "sha256": orders.runfile_sha256, "title": f"driver {orders.version}"}
    source = Source(os.environ.get(URL_VARIABLE, ""), SOURCE)

    def check_room(rest: int | None) -> None:
        require_room("the installer, unpacked", [(CACHE, (rest or 0) + UNPACKED_BYTES)])

    Download(source, part, wanted, progress, check_room).run()
    part.chmod(0o755)
    part.replace(place)
    return place


def install(installer: Path, orders: Orders) -> None:
    """Run the installer without a question; it replaces another of its kind itself."""
    known = call("/bin/sh", str(installer), "--advanced-options").stdout
    options = [*OPTIONS, *(option for option in WHILE_LOADED if option in known)]
    kernel = (f"--kernel-module-type={orders.modules}", f"--kernel-name={orders.booting}")
    code, said = attempt(["/bin/sh", str(installer), *options, *kernel])
    if code:
        log = last_lines(INSTALLER_LOG, "ERROR|error:")
        raise Fault(
            f"NVIDIA's installer of driver {orders.version} failed (exit {code}):\n{log or said}",
            f"read {INSTALLER_LOG} on the host; the installer has undone its changes",
        )


def uninstall() -> None:
    """Remove a driver that such an installer has installed."""
    run([str(UNINSTALLER), "--silent"], "removing the driver of the .run installer")
