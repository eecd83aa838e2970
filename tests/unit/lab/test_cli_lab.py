# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

from provisioner.cli import main as entry
from provisioner.lab import lifecycle

LAB = "[lab]\none ansible_port=2301\n[lab:vars]\nansible_host=127.0.0.1\n"
SIGNALS = (signal.SIGTERM, signal.SIGHUP)


@pytest.fixture(autouse=True)
def _as_in_a_terminal() -> Iterator[None]:
    before = {number: signal.signal(number, signal.SIG_DFL) for number in SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def inventory(tmp_path: Path) -> Path:
    path = tmp_path / "lab.ini"
    path.write_text(LAB)
    return path


@pytest.mark.parametrize("first", SIGNALS)
def test_a_closed_terminal_and_kill_end_a_lab_command_like_an_interrupt(
    first: signal.Signals,
    inventory: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    steps: list[str] = []

    def up(*_: Any, **__: Any) -> NoReturn:
        try:
            signal.raise_signal(first)
        finally:
            steps.append("undoing")
            for number in SIGNALS:
                signal.raise_signal(number)
            steps.append("undone")
        raise AssertionError

    monkeypatch.setattr(lifecycle, "up", up)
    with pytest.raises(SystemExit) as ended:
        entry.main(["lab", "up", str(inventory)])
    assert ended.value.code == 130
    assert steps == ["undoing", "undone"]
    assert "interrupted" in capsys.readouterr().err
    assert [signal.getsignal(number) for number in SIGNALS] == [signal.SIG_DFL, signal.SIG_DFL]


def test_who_asked_for_no_hangup_gets_none(inventory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def down(*_: Any, **__: Any) -> None:
        signal.raise_signal(signal.SIGHUP)

    monkeypatch.setattr(lifecycle, "down", down)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with pytest.raises(SystemExit) as ended:
        entry.main(["lab", "down", str(inventory)])
    assert ended.value.code == 0
