# SPDX-License-Identifier: Apache-2.0
"""Know where NVIDIA's Python bindings lie, which are carried to hosts and need not be installed on any.

They are part of the controller's installation (package nvidia-ml-py) and stand in one file.
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

    Their own folder holds every installed package, some with the names of Ansible's own helpers. A host whose
    driver cannot be asked for want of them says so, and only there does it matter.
    """
    installed = file()
    if installed is None:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="provision-nvml-") as made:
        (Path(made) / installed.name).symlink_to(installed)
        yield Path(made)
