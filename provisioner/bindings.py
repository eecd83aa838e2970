# SPDX-License-Identifier: Apache-2.0
"""Find NVIDIA's Python bindings, which are sent to hosts and need not be installed there.

They are part of the controller's installation (package nvidia-ml-py), in one file.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import tempfile
from collections.abc import Iterator
from pathlib import Path

PACKAGE, MODULE = "nvidia-ml-py", "pynvml"


def file() -> Path | None:
    """Return the file of the bindings; None where this Python has none."""
    try:
        found = Path(str(importlib.metadata.distribution(PACKAGE).locate_file(f"{MODULE}.py")))
    except importlib.metadata.PackageNotFoundError:
        return None
    return found if found.is_file() else None


@contextlib.contextmanager
def folder() -> Iterator[Path | None]:
    """Yield a folder with a link to the bindings alone; None where there are none.

    Their installed folder holds every other package too, and some of those have the names of Ansible's own
    helpers. Without the bindings only a host with a driver cannot report its GPUs, and it says so.
    """
    installed = file()
    if installed is None:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="provision-nvml-") as made:
        (Path(made) / installed.name).symlink_to(installed)
        yield Path(made)
