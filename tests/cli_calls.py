# SPDX-License-Identifier: Apache-2.0
"""Call the command as a user does, with programs that note every attempt to reach a host."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from provisioner.cli import main as entry

__all__ = ["call", "connections", "good"]

GOOD = "gpu1 ansible_host=192.0.2.1 serve_engine=vllm serve_model=a/b serve_model_revision=0123\n"


@pytest.fixture
def good(tmp_path: Path) -> Path:
    path = tmp_path / "good.ini"
    path.write_text(GOOD)
    return path


@pytest.fixture
def connections(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put programs on PATH that note every attempt to reach a host, and return the file they write."""
    noted = tmp_path / "connections"
    for name in ("ssh", "scp", "sftp", "sshpass"):
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(f'#!/bin/sh\necho "$0 $*" >> {noted}\nexit 255\n')
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    return noted


def call(*arguments: object) -> int:
    with pytest.raises(SystemExit) as caught:
        entry.main([str(argument) for argument in arguments])
    return int(caught.value.code or 0)
