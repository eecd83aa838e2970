# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from ansible.module_utils.engine_ollama.names import REGISTRY, Name, Source, plain
from ansible.module_utils.provision.host.fault import Fault


@pytest.mark.parametrize(
    ("text", "path", "listed"),
    [
        ("smollm2", "registry.ollama.ai/library/smollm2/latest", "smollm2:latest"),
        ("smollm2:135m", "registry.ollama.ai/library/smollm2/135m", "smollm2:135m"),
        ("owner/m:q4", "registry.ollama.ai/owner/m/q4", "owner/m:q4"),
        ("hub.lab:8000/library/m:q4", "hub.lab:8000/library/m/q4", "hub.lab:8000/library/m:q4"),
        ("hub.lab:8000/library/m", "hub.lab:8000/library/m/latest", "hub.lab:8000/library/m:latest"),
    ],
)
def test_reads_names_as_ollama_does(text: str, path: str, listed: str) -> None:
    assert Name.parse(text).path == path
    assert str(Name.parse(text)) == listed


@pytest.mark.parametrize(
    "text", ["", "a/b/c/d", "../x", "a b", "m:", "a..b/m", "http://host/m", "m:t/../../x"]
)
def test_refuses_what_is_no_name(text: str) -> None:
    with pytest.raises(Fault, match="is not the name of an Ollama model"):
        Name.parse(text)


@pytest.mark.parametrize(
    ("hub", "name"),
    [
        ("HuggingFaceTB/SmolLM2-135M-Instruct-GGUF", "HuggingFaceTB/SmolLM2-135M-Instruct-GGUF"),
        ("01.ai/Yi 6B", "01-ai/Yi-6B"),
        ("model.Q4_1.gguf", "model.Q4_1.gguf"),
        (".hidden", "hidden"),
    ],
)
def test_gives_a_model_of_a_hub_the_same_name_where_it_can(hub: str, name: str) -> None:
    assert plain(hub) == name
    assert str(Name.parse(name)).startswith(name)


def test_a_mirror_is_asked_by_its_own_name() -> None:
    source = Source(Name.parse("smollm2:135m"), "http://hub.lab:8000")
    assert source.asked == "http://hub.lab:8000/library/smollm2:135m"
    assert source.manifest_url == "http://hub.lab:8000/v2/library/smollm2/manifests/135m"
    assert source.insecure
    official = Source(Name.parse("smollm2:135m"), REGISTRY)
    assert (official.asked, official.insecure) == ("smollm2:135m", False)


def test_a_name_with_a_host_of_its_own_is_not_mirrored() -> None:
    source = Source(Name.parse("other.example/library/m:q4"), "http://hub.lab:8000")
    assert source.asked == "other.example/library/m:q4"
    assert source.manifest_url == "https://other.example/v2/library/m/manifests/q4"
