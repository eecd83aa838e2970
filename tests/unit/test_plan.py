# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest

from provisioner import inventory, plan, spec
from provisioner.errors import UsageError


def fleet(path: Path, text: str) -> spec.Fleet:
    path.write_text(text)
    return spec.load(inventory.load(str(path)))


def test_the_phases_are_those_of_the_site_in_its_order() -> None:
    names = [phase.name for phase in plan.phases()]
    assert names == ["preflight", "host", "models", "serve", "verify"]


def test_the_document_says_what_is_served_where(tmp_path: Path) -> None:
    text = 'gpu1 ansible_host=192.0.2.1 serve_engine=vllm serve_model=a/b serve_env=\'{"A": "1"}\'\n'
    made = plan.make(fleet(tmp_path / "one.ini", text)).to_json()
    (host,) = made["hosts"]
    assert (host["address"], host["port"]) == ("192.0.2.1", 22)
    assert host["services"][0]["unit"] == "vllm.service"
    assert host["services"][0]["environment"] == {"A": "1"}


def test_a_moving_revision_and_an_open_port_deserve_a_note(tmp_path: Path) -> None:
    words = "serve_engine=vllm serve_model=a/b serve_address=0.0.0.0"
    text = f"gpu[1:5] ansible_host='{{{{ inventory_hostname }}}}' {words}\n"
    moving, exposed = plan.make(fleet(tmp_path / "five.ini", text)).warnings
    assert moving.endswith("on gpu1, gpu2, gpu3 and 2 more")
    assert "not pinned" in moving
    assert "without an API key" in exposed


def test_a_pinned_model_on_loopback_needs_no_note(tmp_path: Path) -> None:
    text = "gpu1 serve_engine=vllm serve_model=a/b serve_model_revision=0123456789abcdef\n"
    assert plan.make(fleet(tmp_path / "pinned.ini", text)).warnings == ()


def test_a_phase_that_is_none_is_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no phase server"):
        plan.make(fleet(tmp_path / "one.ini", "gpu1\n"), ["server"])
