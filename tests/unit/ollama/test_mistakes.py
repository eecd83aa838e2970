# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest

from provisioner.errors import InventoryError
from provisioner.fleet import inventory, spec

CASES = Path(__file__).resolve().parents[2] / "data/inventories"


def test_every_wrong_variable_is_refused_with_the_right_word() -> None:
    with pytest.raises(InventoryError) as caught:
        spec.load(inventory.load(str(CASES / "ollama_mistakes.ini")))
    found = []
    for problem in caught.value.problems:
        place = problem.origin.split("/")[-1]
        parts = (",".join(problem.hosts), place, problem.variable, problem.reason, problem.hint)
        found.append(" | ".join(filter(None, parts)))
    expected = (CASES / "ollama_mistakes.expected").read_text().splitlines()
    assert len(expected) >= 12
    assert sorted(found) == sorted(expected)


def test_every_variable_that_has_a_word_is_accepted(tmp_path: Path) -> None:
    path = tmp_path / "one.ini"
    variables = (
        '{"OLLAMA_NUM_PARALLEL": "3", "OLLAMA_FLASH_ATTENTION": 1, "OLLAMA_KEEP_ALIVE": -1, "GGML_X": "y"}'
    )
    path.write_text(
        f"gpu1 serve_engine=ollama serve_model=smollm2 serve_model_source=ollama serve_env='{variables}'\n"
    )
    (host,) = spec.load(inventory.load(str(path))).hosts
    settings = host.services[0].settings
    assert settings["engine_ollama_num_parallel"] == 3
    assert settings["engine_ollama_flash_attention"] is True
    assert settings["engine_ollama_keep_alive"] == "-1"
    assert settings["serve_env"] == {"GGML_X": "y"}
