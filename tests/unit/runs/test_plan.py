# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest

from provisioner.errors import UsageError
from provisioner.fleet import inventory, spec
from provisioner.runs import plan


def fleet(path: Path, text: str) -> spec.Fleet:
    path.write_text(text)
    return spec.load(inventory.load(str(path)))


def test_the_phases_are_those_of_the_site_in_its_order() -> None:
    names = [phase.name for phase in plan.phases()]
    assert names == ["preflight", "host", "gpu", "models", "serve", "verify"]


def test_the_document_says_what_is_served_where(tmp_path: Path) -> None:
    text = 'gpu1 ansible_host=192.0.2.1 serve_engine=vllm serve_model=a/b serve_env=\'{"A": "1"}\'\n'
    made = plan.make(fleet(tmp_path / "one.ini", text)).to_json()
    (host,) = made["hosts"]
    assert (host["address"], host["port"]) == ("192.0.2.1", 22)
    assert host["services"][0]["unit"] == "vllm.service"
    assert host["services"][0]["environment"] == {"A": "1"}


def test_a_moving_revision_and_an_open_port_deserve_a_note(tmp_path: Path) -> None:
    words = "serve_engine=vllm serve_model=a/b serve_address=0.0.0.0 serve_expose=everything"
    text = f"gpu[1:5] ansible_host='{{{{ inventory_hostname }}}}' {words}\n"
    moving, exposed = plan.make(fleet(tmp_path / "five.ini", text)).warnings
    assert moving.endswith("on gpu1, gpu2, gpu3 and 2 more")
    assert "not pinned" in moving
    assert "without an API key" in exposed


@pytest.mark.parametrize(
    ("engine", "open_still"),
    [("vllm", "paths that begin with /v1, /v2"), ("llamacpp", "the key itself are not encrypted")],
)
def test_a_key_does_not_end_the_note_about_an_open_address(
    tmp_path: Path, engine: str, open_still: str
) -> None:
    (tmp_path / "key").write_text("sk-test")
    words = f"serve_engine={engine} serve_model=a/b serve_model_revision=0123456789abcdef"
    words += " serve_address=0.0.0.0 serve_expose=everything serve_api_key_file=key"
    note = plan.make(fleet(tmp_path / "open.ini", f"gpu1 {words}\n")).warnings[0]
    assert note.startswith(f"{engine}.service listens on 0.0.0.0, and an API key does not protect everything")
    assert open_still in note


@pytest.mark.parametrize(
    ("more", "noted"),
    [
        ("", "four requests at once that share one context"),
        ("engine_llamacpp_parallel=4", ""),
        ("engine_llamacpp_kv_unified=false", ""),
        ("engine_llamacpp_parallel=4 engine_llamacpp_kv_unified=true", "(engine_llamacpp_kv_unified)"),
        ("""serve_env='{"LLAMA_ARG_N_PARALLEL": 4}'""", ""),
        ("serve_profile=latency", ""),
        ("serve_task=embed", ""),
    ],
)
def test_slots_that_share_one_context_are_noted(tmp_path: Path, more: str, noted: str) -> None:
    words = f"serve_engine=llamacpp serve_model=a/b-GGUF serve_model_revision=0123456789abcdef {more}"
    notes = plan.make(fleet(tmp_path / "slots.ini", f"gpu1 {words}\n")).warnings
    assert len(notes) == bool(noted)
    assert not noted or (notes[0].startswith("llamacpp.service answers ") and noted in notes[0])


def test_a_pinned_model_on_loopback_needs_no_note(tmp_path: Path) -> None:
    text = "gpu1 serve_engine=vllm serve_model=a/b serve_model_revision=0123456789abcdef\n"
    assert plan.make(fleet(tmp_path / "pinned.ini", text)).warnings == ()


def test_the_document_says_what_a_profile_sets_and_what_wins(tmp_path: Path) -> None:
    words = (
        "serve_engine=vllm serve_model=a/b serve_profile=throughput engine_vllm_max_num_batched_tokens=9000"
    )
    made = plan.make(fleet(tmp_path / "tuned.ini", f"gpu1 {words}\n")).to_json()
    assert made["hosts"][0]["services"][0]["profile"] == {
        "name": "throughput",
        "sets": {"engine_vllm_performance_mode": "throughput"},
        "overruled": {"engine_vllm_max_num_batched_tokens": 9000},
    }


@pytest.mark.usefixtures("made_up_engine")
def test_a_tag_of_ollama_is_not_pinned_but_a_digest_is(tmp_path: Path) -> None:
    text = "gpu1 serve_engine=ollama serve_model_source=ollama serve_model=beads:small\n"
    (warning,) = plan.make(fleet(tmp_path / "tag.ini", text)).warnings
    assert warning.startswith("beads:small from ollama is not pinned (serve_model_revision takes its digest)")
    pinned = text.replace("\n", f" serve_model_revision={'0123456789abcdef' * 4}\n")
    assert plan.make(fleet(tmp_path / "pinned.ini", pinned)).warnings == ()


def test_every_address_of_ollama_is_one_of_both_families(tmp_path: Path) -> None:
    pinned = f"serve_model=qwen3:8b serve_model_revision={'0123456789abcdef' * 4}"
    words = f"serve_engine=ollama serve_model_source=ollama {pinned} serve_expose=everything"
    (warning,) = plan.make(fleet(tmp_path / "open.ini", f"gpu1 {words} serve_address=0.0.0.0\n")).warnings
    assert warning.startswith("ollama.service listens on 0.0.0.0 and :: without an API key")
    (one,) = fleet(tmp_path / "one.ini", f"gpu1 {words} serve_address=192.0.2.1\n").hosts[0].services
    assert one.listens_on == ("192.0.2.1",)
    vllm = "gpu1 serve_engine=vllm serve_model=a/b serve_expose=everything serve_address=0.0.0.0\n"
    (other,) = fleet(tmp_path / "other.ini", vllm).hosts[0].services
    assert other.for_ansible()["listens_on"] == ["0.0.0.0"]


@pytest.mark.usefixtures("made_up_engine")
def test_an_engine_that_checks_no_key_is_not_asked_for_one(tmp_path: Path) -> None:
    words = "serve_engine=abacus serve_model=/a serve_model_source=path serve_address=0.0.0.0"
    words += " serve_expose=everything"
    (warning,) = plan.make(fleet(tmp_path / "open.ini", f"gpu1 {words}\n")).warnings
    expected = "abacus.service listens on 0.0.0.0 without an API key (Abacus does not support one)"
    assert warning == f"{expected}, on gpu1"


@pytest.mark.usefixtures("made_up_engine")
@pytest.mark.parametrize(("beads", "noted"), [(13, True), (12, False)])
def test_an_engine_has_its_own_notes_for_certain_values(tmp_path: Path, beads: int, noted: bool) -> None:
    words = f"serve_engine=abacus serve_model=/a serve_model_source=path engine_abacus_beads={beads}"
    notes = plan.make(fleet(tmp_path / "beads.ini", f"gpu1 {words}\n")).warnings
    assert notes == (("abacus.service has an unlucky number of beads, on gpu1",) if noted else ())


def test_hosts_of_others_are_listed_before_anything_is_done_to_them(tmp_path: Path) -> None:
    words = "serve_engine=vllm serve_model=a/b serve_model_revision=0123456789abcdef"
    text = f"[storage]\nnfs1\n[bastions]\njump site=x\n[gpu]\ngpu1 {words}\nspare serve_port=8001\n"
    (warning,) = plan.make(fleet(tmp_path / "cluster.ini", text)).warnings
    assert warning.startswith("no service and no variable of this tool is set, so the host is left alone")
    assert warning.endswith(", on jump, nfs1")


@pytest.mark.parametrize("words", ["ansible_connection=local", "ansible_connection=ansible.builtin.local"])
def test_a_host_on_which_the_tool_runs_is_known_not_to_be_rebooted(tmp_path: Path, words: str) -> None:
    base = f"localhost {words} serve_engine=vllm serve_model=a/b serve_model_revision=0123456789abcdef"
    (warning,) = plan.make(fleet(tmp_path / "one.ini", base)).warnings
    assert warning.startswith("this tool runs on the host itself and cannot reboot it")
    for more in ("nvidia_driver_state=ignored", "nvidia_driver_state=ignored ansible_connection=ssh"):
        assert plan.make(fleet(tmp_path / "other.ini", f"{base} {more}")).warnings == ()


def test_a_host_that_is_left_alone_may_be_reached_in_any_way_and_have_any_address(tmp_path: Path) -> None:
    text = """\
[others]
sw1 ansible_host=192.0.2.1 ansible_connection=ansible.netcommon.network_cli
alias ansible_host=192.0.2.3
win1 ansible_connection=winrm
[gpu]
gpu1 ansible_host=192.0.2.3 serve_port=8001
"""
    made = plan.make(fleet(tmp_path / "cluster.ini", text)).to_json()
    alone = [host["name"] for host in made["hosts"] if host["left_alone"]]
    assert alone == ["sw1", "alias", "win1"]


def test_a_phase_that_is_none_is_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no phase server"):
        plan.make(fleet(tmp_path / "one.ini", "gpu1\n"), ["server"])
