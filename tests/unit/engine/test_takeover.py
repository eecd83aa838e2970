# SPDX-License-Identifier: Apache-2.0
"""Hosts that an earlier build has set up are taken over as they are: no restart, nothing forgotten."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from ansible.module_utils.engine_ollama import record
from ansible.module_utils.provision.engine import files, inputs, processes
from ansible.module_utils.provision.host import managed
from ansible.module_utils.provision.models.files import read_manifest

from provisioner.ansible.modules.engine_service import Inspection, Service
from tests.unit.engine.conftest import look_below

LEFT = Path(__file__).resolve().parents[2] / "data/takeover"
ENGINES = {"vllm": 8000, "ollama": 11434, "llamacpp": 8080}
EVERY_ENGINE = pytest.mark.parametrize("engine", ENGINES)


@EVERY_ENGINE
def test_its_units_are_found_as_managed(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    look_below(LEFT / engine, monkeypatch)
    expected = {"unit": f"{engine}.service", "engine": engine, "serve_name": engine, "user": engine}
    assert managed.services() == [expected]
    assert not files.is_foreign_unit(f"{engine}.service")


@EVERY_ENGINE
@pytest.mark.usefixtures("systemd")
def test_its_record_of_the_start_still_fits(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    host, unit = LEFT / engine, f"{engine}.service"
    look_below(host, monkeypatch)
    monkeypatch.setattr(processes, "holder", lambda *_: None)
    wanted = Service(
        unit=unit,
        user=engine,
        groups=[],
        unit_text=(host / "etc/systemd/system" / unit).read_text(encoding="utf-8"),
        environment_text=(host / "etc/provision" / f"{engine}.env").read_text(encoding="utf-8"),
        api_key_file=None,
        api_key_pending=False,
        key_variable="KEY",
    )
    found = Inspection(wanted)
    assert found.port == ENGINES[engine]
    # The weights themselves are not here, so theirs is the one digest that cannot fit.
    assert set(found.stale) <= {"model files"}


@EVERY_ENGINE
def test_what_a_unit_sets_for_a_crash_or_a_stop_alone_restarts_nothing(engine: str) -> None:
    text = (LEFT / engine / "etc/systemd/system" / f"{engine}.service").read_bytes()
    limits = b"LimitNOFILE=1048576\n"
    assert limits in text
    for more in (b"LimitCORE=1\n", b"# Why.\nLimitCORE=1\n", b"# Why.\nLimitCORE=infinity\n"):
        assert inputs.unit_digest(text.replace(limits, limits + more)) == inputs.unit_digest(text)
    stops = b"TimeoutStopSec=60\n"
    ends = b"# Why.\nExecStop=-x stop\nSuccessExitStatus=SIGKILL\n"
    for instead in (stops + ends, b"TimeoutStopSec=345\n" + ends, b"TimeoutStopSec=90\n"):
        assert stops in text
        assert inputs.unit_digest(text.replace(stops, instead)) == inputs.unit_digest(text)
    assert inputs.unit_digest(text) == hashlib.sha256(text).hexdigest()
    assert inputs.unit_digest(text.replace(limits, b"LimitNOFILE=1\n")) != inputs.unit_digest(text)


@pytest.mark.parametrize("engine", ["vllm", "llamacpp"])
def test_its_models_are_known(engine: str) -> None:
    (manifest,) = (LEFT / engine).rglob(".provision-manifest.json")
    known = read_manifest(manifest.parent)
    assert known is not None
    assert known.wanted.source == "huggingface"
    assert all(len(file.sha256) == 64 and file.size > 0 for file in known.files.values())


def test_its_record_of_ollamas_models_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "STATE", LEFT / "ollama/var/lib/provision/ollama")
    (found,) = record.records()
    assert found["root"] == "/var/lib/provision/models/ollama"
    assert found["models"]["smollm2:135m"]["made"] is True
    assert found["stamps"]
