# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest

from provisioner.errors import InventoryError
from provisioner.fleet import inventory, spec, written

HOST = "serve_engine=vllm serve_model=a/b"
DROPPED = "must be text, but Ansible reads it as a number and drops digits"


def problems(path: Path, text: str, extra_vars: tuple[str, ...] = ()) -> list[tuple[object, str, str]]:
    path.write_text(text)
    try:
        spec.load(inventory.load(str(path)), extra_vars)
    except InventoryError as error:
        return [(problem.value, problem.reason, problem.hint) for problem in error.problems]
    return []


@pytest.mark.parametrize(
    "line",
    [
        "serve_model_revision=7e12345",
        "serve_model_revision=1e5",
        "serve_model_revision=1_000",
        "serve_model_revision=0x1f",
        "python_env_python=3.10",
        "nvidia_driver_version=580.10",
        "engine_vllm_cpu_version=1.20",
    ],
)
def test_digits_that_are_lost_are_found_on_the_line_of_a_host(tmp_path: Path, line: str) -> None:
    name, _, spelt = line.partition("=")
    hint = f"""put it in quotes twice, as in {name}="'…'\""""
    assert (spelt, DROPPED, hint) in problems(tmp_path / "hosts.ini", f"h1 {HOST} {line}\n")
    quoted = f"""h1 {HOST} {name}="'{spelt}'"\n"""
    assert DROPPED not in [reason for _, reason, _ in problems(tmp_path / "hosts.ini", quoted)]


def test_digits_that_are_lost_are_found_in_a_group_and_in_quotes_they_are_kept(tmp_path: Path) -> None:
    text = f"[g]\nh1 {HOST}\n[g:vars]\npython_env_python = {{}}\n"
    expected = ("3.10", DROPPED, "put it in quotes")
    assert problems(tmp_path / "hosts.ini", text.format("3.10")) == [expected]
    assert problems(tmp_path / "hosts.ini", text.format('"3.10"')) == []


@pytest.mark.parametrize("spelt", ["3.10", "1_000", ".inf", "0x1F", "1:30"])
def test_digits_that_are_lost_are_found_in_yaml(tmp_path: Path, spelt: str) -> None:
    text = "all: {hosts: {h1: {serve_engine: vllm, serve_model: a/b, serve_model_revision: SPELT}}}\n"
    path = tmp_path / "hosts.yml"
    assert problems(path, text.replace("SPELT", spelt)) == [(spelt, DROPPED, "put it in quotes")]
    assert problems(path, text.replace("SPELT", f"'{spelt}'")) == []


def test_digits_that_are_lost_are_found_in_lists_and_in_services(tmp_path: Path) -> None:
    text = """\
all:
  hosts:
    h1:
      serve_engine: vllm
      host_base_packages: [1.10]
      serve_services:
        - {serve_model: a/b, serve_model_revision: 1_000}
"""
    found = problems(tmp_path / "hosts.yml", text)
    # What is in services may be a secret, so it is not shown.
    assert [value for value, *_ in found] == ["1.10", None]
    assert {reason for _, reason, _ in found} == {DROPPED}


@pytest.mark.parametrize("spelt", ["580", "3.12", "12345678", "-5", "0.5"])
def test_a_number_that_is_shown_as_it_was_written_is_a_text(tmp_path: Path, spelt: str) -> None:
    assert problems(tmp_path / "hosts.ini", f"h1 {HOST} serve_model_revision={spelt}\n") == []


def test_a_whole_number_of_unknown_place_has_all_its_digits_and_a_fraction_may_not() -> None:
    assert written.lost(580, []) is None
    assert written.lost(580, ["570"]) is None
    assert written.lost(3.1, []) == ""


def test_a_secret_that_is_a_number_is_not_shown(tmp_path: Path) -> None:
    found = problems(tmp_path / "hosts.ini", f"h1 {HOST} serve_api_key_file=1_234\n")
    assert DROPPED in [reason for _, reason, _ in found]
    assert "234" not in repr(found)
