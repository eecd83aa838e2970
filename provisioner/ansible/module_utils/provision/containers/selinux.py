# SPDX-License-Identifier: Apache-2.0
"""Let containers use the devices of NVIDIA's driver where SELinux is on."""

from __future__ import annotations

import os
from pathlib import Path

from ..host.commands import need
from ..host.paths import text_of

SELINUX, DEVICES = Path("/sys/fs/selinux"), Path("/dev")
# What NVIDIA's devices are labelled as, and the permission for that alone; older policies have only the one
# for every device (containers/container-selinux, pull request 306).
LABEL = "xserver_misc_device_t"
NARROW, WIDE = "container_use_xserver_devices", "container_use_devices"
SET_SECONDS = 300


def is_on() -> bool:
    """Return whether the kernel follows a policy, be it enforced or not."""
    return (SELINUX / "enforce").exists()


def is_allowed() -> bool:
    """Return whether containers may use the devices as they are labelled."""
    return is_set(WIDE) or (is_set(NARROW) and are_labelled())


def permission() -> str:
    """Return the narrowest permission of this policy that does, empty where it has none."""
    names = [NARROW, WIDE] if are_labelled() else [WIDE]
    return next((name for name in names if (SELINUX / "booleans" / name).exists()), "")


def is_set(name: str) -> bool:
    """Return whether the policy's permission is given."""
    return text_of(SELINUX / "booleans" / name).startswith("1")


def are_labelled() -> bool:
    """Return whether every device of the driver has its label; one that a program creates may lack it."""
    paths = (*DEVICES.glob("nvidia*"), *DEVICES.glob("nvidia-caps*/*"))
    return all(f":{LABEL}:" in _label(path) for path in paths if not path.is_dir())


def _label(path: Path) -> str:
    try:
        return os.getxattr(str(path), "security.selinux").decode("ascii", "replace")
    except OSError:
        return ""


def put(name: str, *, on: bool) -> None:
    """Give or take a permission, now and at every boot."""
    need("setsebool", "-P", name, "on" if on else "off", seconds=SET_SECONDS)
