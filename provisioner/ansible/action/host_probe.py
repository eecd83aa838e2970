# SPDX-License-Identifier: Apache-2.0
"""Carry NVIDIA's Python bindings to the host with the module that probes it.

They are part of the controller's installation (package nvidia-ml-py) and need not be installed on any host:
Ansible packs them as it packs every other file of the module, from a folder that holds nothing but them.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase
from ansible.plugins.loader import module_utils_loader

PACKAGE, BINDINGS = "nvidia-ml-py", "pynvml.py"


class ActionModule(ActionBase):  # type: ignore[misc]  # Ansible ships no types
    """Run the module of the same name."""

    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return what the module found."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        with bindings() as folder:
            if folder:
                module_utils_loader.add_directory(str(folder))
            return {**result, **self._execute_module(module_name="host_probe", task_vars=task_vars)}


@contextlib.contextmanager
def bindings() -> Iterator[Path | None]:
    """Yield a folder with a link to the bindings alone; None where Ansible's Python has none.

    Their own folder holds every installed package, some with the names of Ansible's own helpers. A host whose
    driver cannot be asked for want of them says so, and only there does it matter.
    """
    try:
        installed = Path(str(importlib.metadata.distribution(PACKAGE).locate_file(BINDINGS)))
    except importlib.metadata.PackageNotFoundError:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="provision-nvml-") as folder:
        (Path(folder) / BINDINGS).symlink_to(installed)
        yield Path(folder)
