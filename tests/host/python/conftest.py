# SPDX-License-Identifier: Apache-2.0
"""Write the orders of an installation, and keep what the machine's own settings would add out of it."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.provision.python import conda_place

from tests.host.python.standin import installer, place

Orders = Callable[..., dict[str, Any]]


@pytest.fixture
def orders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Orders:
    """Return a function that puts a stand-in in its place and writes the orders to install it."""
    for name in [name for name in os.environ if name.lower().endswith("_proxy")] + ["NETRC"]:
        monkeypatch.delenv(name, raising=False)

    # The folders of tests have longer names than a host's.
    monkeypatch.setattr(conda_place, "LONGEST_PREFIX", 200)

    def make(content: bytes | None = None, **changes: Any) -> dict[str, Any]:
        url, digest = place(tmp_path, content or installer())
        monkeypatch.setenv("PYTHON_ENV_CONDA_URL", url)
        spec = {
            "provider": "miniforge",
            "version": "26.1.1-3",
            "sha256": digest,
            "python": "3.12.11",
            "packages": [],
            "channels": ["conda-forge"],
            "channel_alias": "",
            "custom_channels": {},
            "default_channels": [],
            "ca_bundle": "",
            "accept_terms": False,
            "prefix": "",
            "needed_bytes": 1000,
            "python_bytes": 1000,
            "reserve_bytes": 0,
            "attempts": 2,
            "stall_seconds": 30,
            "root": str(tmp_path / "conda"),
            "cache": str(tmp_path / "cache"),
            "title": "Python",
            "result": str(tmp_path / "run/job.json"),
        }
        asked = {**spec, **changes}
        wanted = conda_place.Wanted.of(asked)
        return {**asked, **asdict(wanted), "interpreter": str(wanted.interpreter)}

    return make
