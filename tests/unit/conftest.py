# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible.module_utils.provision.jobs import unit

from provisioner import content
from provisioner.fleet import engines, variables
from tests.unit.fakes import Programs, Systemd

ROLES = Path(__file__).resolve().parents[2] / "scripts/skeleton/roles"


@pytest.fixture
def programs(monkeypatch: pytest.MonkeyPatch) -> Programs:
    """Give a host on which no program is installed but what the test adds."""
    return Programs(monkeypatch)


@pytest.fixture
def systemd(programs: Programs, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Systemd:
    """Give a host whose one unit does not exist yet."""
    monkeypatch.setattr(unit, "REPORTED", tmp_path / "reported")
    monkeypatch.setattr(unit.time, "sleep", lambda _seconds: None)
    return Systemd(programs)


@pytest.fixture
def made_up_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Add the role of an engine that nothing in the package can know."""
    folder = tmp_path / "roles"
    folder.mkdir()
    for role in [*content.roles().iterdir(), *ROLES.iterdir()]:
        (folder / role.name).symlink_to(role)
    monkeypatch.setattr(content, "roles", lambda: folder)
    _forget()
    yield
    _forget()


def _forget() -> None:
    engines.load.cache_clear()
    variables.load.cache_clear()
