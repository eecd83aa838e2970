# SPDX-License-Identifier: Apache-2.0
"""Serve a model that an operator has put on the host."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.machines import Hub, Machines, inventory_with, phases

FETCHED = "/var/lib/provision/models/huggingface/HuggingFaceTB--SmolLM2-135M-Instruct/main"
OWN = "/srv/models/capital"
LIMITED = ("--limit", "hf", *phases("models", "serve", "verify"))


@pytest.fixture
def own(serving: Machines, tmp_path: Path) -> Path:
    """Return an inventory that serves the operator's directory; no later test asks this host."""
    replaced = ("2241 serve_model_source=huggingface", f"2241 serve_model_source=path serve_model={OWN}")
    return inventory_with(tmp_path, serving.inventory, [replaced])


def test_a_directory_that_is_not_there_is_refused_and_the_service_stays(serving: Machines, own: Path) -> None:
    before = serving.pid("hf")
    done = serving.provision("apply", str(own), *LIMITED, "--json", "--yes", code=1)
    (failure,) = done.report["failures"]
    assert f"the model of vllm must be served from {OWN}, which is not a directory" in failure["message"]
    assert "serve_model_source" in failure["next"]
    assert serving.pid("hf") == before


def test_a_directory_of_the_host_is_served_and_nothing_is_fetched(
    serving: Machines, own: Path, hub: Hub
) -> None:
    # Without the store's own notes: the host knows of these files only that they are there.
    serving.sh("hf", f"mkdir -p {OWN} && cp {FETCHED}/* {OWN} && chmod -R a+rX /srv/models")
    arguments = (str(own), *LIMITED, "--json")
    done = serving.provision("apply", *arguments, "--yes")
    (answer,) = done.report["answers"]
    assert "Paris" in answer["text"]
    command = serving.sh("hf", f"tr '\\0' ' ' < /proc/{serving.pid('hf')}/cmdline")
    assert f"--model {OWN} " in command
    assert hub.sent() == {}

    (rung,) = [rung for rung in done.report["rungs"] if rung["rung"] == "files"]
    assert (rung["status"], OWN in rung["evidence"]) == ("not applicable", True)
    before = serving.pid("hf")
    assert serving.provision("apply", *arguments, "--yes").report["changes"] == []
    assert serving.pid("hf") == before

    # The files are the operator's to change; the engine reads them anew once somebody has agreed.
    serving.sh("hf", f"touch {OWN}/model.safetensors")
    refused = serving.provision("apply", str(own), *LIMITED, code=2)
    assert "restart vllm.service: model files changed" in refused.err
