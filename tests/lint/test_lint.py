# SPDX-License-Identifier: Apache-2.0
"""Lint the whole tree beside the first tests."""

from __future__ import annotations

import subprocess
from pathlib import Path


def test_nothing_is_found(checkout: Path) -> None:
    done = subprocess.run(
        [checkout / "scripts/lint"],
        cwd=checkout,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
