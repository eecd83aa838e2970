# SPDX-License-Identifier: Apache-2.0
"""Say what the simulated kernels of all distributions share; pure."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from simulated_gpu.vendor.package import Content, Copy, Text
from simulated_gpu.vendor.parts import SOURCE

Table = Mapping[str, Any]
PARTS_OF_TREE = {
    "modules.builtin": "kernel/fs/ext4/ext4.ko\n",
    "modules.builtin.modinfo": "",
    "modules.order": "kernel/drivers/gpu/drm/nouveau/nouveau.ko\n",
}
KEY = "/usr/share/simulated-kernel/distribution.der"
OVERLAY = (SOURCE / "overlay.sh").read_text()
# What the script made; the package's own file goes with the package.
UNDO = "find {headers} -mindepth 1 ! -name README -delete"
MADE = "made by the package's script\n"


def tree(kernel: str, build: Path) -> dict[str, Content]:
    """Return the folder of a kernel's modules, of which nouveau is one."""
    folder = f"/usr/lib/modules/{kernel}"
    nouveau = f"{folder}/kernel/drivers/gpu/drm/nouveau/nouveau.ko"
    listed = {f"{folder}/{name}": Text(text) for name, text in PARTS_OF_TREE.items()}
    return {nouveau: Copy(build / "kernels" / kernel / "nouveau.ko"), **listed}


def names(tables: Table) -> list[str]:
    """Return the release of every kernel for which modules are built."""
    found = [f"{one}-generic" for row in tables["ubuntu"].values() for one in row["kernels"]]
    found += [f"{one}-amd64" for row in tables["debian"].values() for one in row["kernels"]]
    for row in tables["rocky"].values():
        found += [f"{one}.x86_64" for one in (*row["kernels"], row["vault"])]
    return found
