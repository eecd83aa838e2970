# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest
from ansible.module_utils.provision.host import managed

from provisioner.ansible.modules import host_probe

UNIT = "# Managed by provision; x\n[Unit]\nX=1\n\n[Service]\nUser={user}\n"
SAID = UNIT + "\n# Whose it is.\n[X-Provision]\nEngine={engine}\n"


@pytest.fixture
def units(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(managed, "UNITS", tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("unit", "text", "expected"),
    [
        ("ollama.service", SAID.format(engine="ollama", user="ollama"), ("ollama", "ollama", "ollama")),
        ("ollama@chat-b.service", SAID.format(engine="ollama", user="o"), ("ollama", "chat-b", "o")),
        ("vllm.service", UNIT.format(user="vllm"), ("vllm", "vllm", "vllm")),
        ("vllm-b-c.service", UNIT.format(user="vllm"), ("vllm", "b-c", "vllm")),
        ("odd.service", SAID.format(engine="../../tmp/x", user="odd"), ("odd", "odd", "odd")),
        ("text.service", UNIT.format(user="u") + "X=[X-Provision]\nEngine=vllm\n", ("text", "text", "u")),
        ("two.service", UNIT.format(user="u") + "[X-Provision]\n[Y]\nEngine=vllm\n", ("two", "two", "u")),
        ("bare.service", "# Managed by provision;\n", ("bare", "bare", "bare")),
    ],
)
def test_knows_a_units_engine_and_name(
    units: Path, unit: str, text: str, expected: tuple[str, str, str]
) -> None:
    (units / unit).write_text(text)
    engine, name, user = expected
    assert managed.services() == [{"unit": unit, "engine": engine, "serve_name": name, "user": user}]


def test_the_probe_lists_units_of_ours_alone(units: Path) -> None:
    (units / "ssh.service").write_text("[Service]\nUser=root\n")
    (units / "vllm.service").write_text(UNIT.format(user="vllm"))
    (units / "alias.service").symlink_to("vllm.service")
    assert managed.unnamed(["vllm.service"]) == []
    assert managed.unnamed([]) == ["vllm.service"]
    listed = host_probe.probe(0.0, None)["services"]
    assert [service["unit"] for service in listed] == ["vllm.service"]
