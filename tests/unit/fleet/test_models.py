# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from provisioner.fleet.models import Model
from tests.unit.fleet.made_up import reasons, service

pytestmark = pytest.mark.usefixtures("made_up_engine")
STORE = "/var/lib/provision/models"
DIGEST = "0123456789abcdef" * 4


def model(name: str, source: str, engine: str = "abacus", **given: object) -> Model:
    words = {"serve_engine": engine, "serve_model": name, "serve_model_source": source}
    return service(**words, **given).model


def test_the_format_of_the_engine_decides_about_the_folder() -> None:
    assert model("a/b", "huggingface", "vllm").directory == f"{STORE}/huggingface/a--b/main"
    gguf = model("a/b", "huggingface")
    assert (gguf.format, gguf.directory) == ("gguf", f"{STORE}/huggingface/a--b/main-gguf")


def test_a_choice_of_files_is_a_folder_of_its_own() -> None:
    chosen = model("a/b", "huggingface", serve_model_include=["*q4*"]).directory
    assert chosen.startswith(f"{STORE}/huggingface/a--b/main-")
    assert chosen.endswith("-gguf")
    assert chosen != model("a/b", "huggingface", serve_model_include=["*q8*"]).directory


def test_a_path_is_a_folder_or_one_file_of_it() -> None:
    folder = model("/models/beads", "path")
    assert (folder.directory, folder.include, folder.revision) == ("/models/beads", (), "")
    file = model("/models/beads/Small.gguf", "path")
    assert (file.directory, file.include) == ("/models/beads", ("Small.gguf",))
    assert service(serve_model="/models/Small.gguf", serve_model_source="path").served_name == "Small.gguf"


def test_an_engine_without_the_format_refuses_the_file() -> None:
    (reason,) = reasons(serve_engine="vllm", serve_model="/models/Small.gguf", serve_model_source="path")
    assert reason.startswith("serve_model: is in the GGUF format, but vLLM serves safetensors")


@pytest.mark.parametrize(
    "name",
    [
        "smollm2",
        "smollm2:135m",
        "owner/smollm2:135m",
        "hub.lab:8000/library/smollm2:135m",
        "hub.lab/a/b",
        "_a",
    ],
)
def test_ollama_has_names_of_its_own_and_no_folder(name: str) -> None:
    found = model(name, "ollama", "ollama")
    assert (found.name, found.directory, found.revision, found.is_pinned) == (name, "", "", False)


@pytest.mark.parametrize(
    "name",
    ["a b", "/a", "a/", "a:", ":a", "a.b/c", "h/a.b/c", "a/b/c/d", "a:b:c", "https://h/a/b", "-a", "é"],
)
def test_what_ollama_could_not_read_is_refused(name: str) -> None:
    (reason,) = reasons(serve_engine="ollama", serve_model=name, serve_model_source="ollama")
    assert reason.startswith("serve_model: must be name, name:tag, ")


def test_a_digest_pins_what_a_tag_means_today() -> None:
    for digest in (DIGEST, f"sha256:{DIGEST}"):
        found = model("smollm2:135m", "ollama", "ollama", serve_model_revision=digest)
        assert (found.revision, found.is_pinned) == (DIGEST, True)
    given = {"serve_engine": "ollama", "serve_model": "smollm2", "serve_model_source": "ollama"}
    (reason,) = reasons(**given, serve_model_revision="135m")
    assert reason.endswith("a tag belongs to serve_model, as name:tag")


def test_a_model_from_ollama_is_one_whole() -> None:
    given = {"serve_engine": "ollama", "serve_model": "a", "serve_model_source": "ollama"}
    (reason,) = reasons(**given, serve_model_include=["*.gguf"])
    assert reason.startswith("serve_model_include: chooses files of a repository")


def test_any_engine_may_keep_models_of_a_library_of_its_own() -> None:
    found = model("red:12", "beadshop", serve_model_revision="no.7")
    assert (found.directory, found.revision, found.is_pinned, found.kept_by_engine) == ("", "7", True, True)
    assert not model("red:12", "beadshop").is_pinned
    assert reasons(serve_model="red", serve_model_source="beadshop") == [
        "serve_model: must be colour:size, as the shop writes it; such as red:12"
    ]
    (reason,) = reasons(serve_model="red:1", serve_model_source="beadshop", serve_model_revision="blue")
    assert reason == "serve_model_revision: must be the number of a catalogue"
    (reason,) = reasons(serve_model="red:1", serve_model_source="beadshop", serve_model_include=["*.gguf"])
    assert reason == "serve_model_include: chooses files of a repository; beads come in one box"


def test_the_library_of_one_engine_is_known_and_refused_by_the_others() -> None:
    (reason,) = reasons(serve_engine="vllm", serve_model="red:1", serve_model_source="beadshop")
    assert reason == "serve_model_source: must be one of huggingface, modelscope, path for vLLM"
    (reason,) = reasons(serve_model="a/b", serve_model_source="beedshop")
    assert reason.startswith(
        "serve_model_source: must be one of beadshop, huggingface, modelscope, ollama, path"
    )


def test_pinning_is_a_matter_of_the_source() -> None:
    assert not model("a/b", "huggingface").is_pinned
    assert model("a/b", "huggingface", serve_model_revision="0123abc").is_pinned
    assert model("/models/beads", "path").is_pinned
