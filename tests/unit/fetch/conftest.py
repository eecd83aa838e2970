# SPDX-License-Identifier: Apache-2.0
"""Serve an archive on loopback, and write the orders of a fetch."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.fetch.served import Site, noise


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    for name in ("http_proxy", "https_proxy", "no_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    with Site() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.released.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Note the pauses between attempts instead of making them."""
    slept: list[float] = []
    monkeypatch.setattr("ansible.module_utils.provision.jobs.patience.time.sleep", slept.append)
    return slept


@pytest.fixture
def release(site: Site) -> bytes:
    """Serve an archive that does not compress."""
    site.content = noise()
    return site.content


@pytest.fixture
def orders(site: Site, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Return a function that writes the orders of a fetch of what is served now."""

    def make(**changes: Any) -> dict[str, Any]:
        digest = changes.get("sha256") or hashlib.sha256(site.content).hexdigest()
        spec = {
            "name": "tool",
            "version": "1.0",
            "sha256": digest,
            "executable": "bin/tool",
            "title": "tool 1.0",
            "root": str(tmp_path / "archives"),
            "cache": str(tmp_path / "cache"),
            "directory": str(tmp_path / "archives/tool" / f"1.0-{digest[:12]}"),
            "result": str(tmp_path / "run/job.json"),
            "needed_bytes": 4 * 1024**2,
            "reserve_bytes": 0,
            "attempts": 3,
            "stall_seconds": 30,
        }
        return {**spec, **changes}

    return make
