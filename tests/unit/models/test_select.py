# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Any

import pytest
from ansible.module_utils.provision.host.fault import Fault
from ansible.module_utils.provision.models.files import RemoteFile, Wanted
from ansible.module_utils.provision.models.select import select


def wanted(**changes: Any) -> Wanted:
    return Wanted.of({"source": "huggingface", "model": "org/name", "revision": "main", **changes})


def chosen(names: list[str], **changes: Any) -> list[str]:
    return [remote.name for remote in select([RemoteFile(name, 1) for name in names], wanted(**changes))]


REPOSITORY = [
    ".gitattributes",
    "LICENSE",
    "README.md",
    "config.json",
    "model.safetensors",
    "modeling_name.py",
    "original/consolidated.00.pth",
    "pytorch_model.bin",
    "tokenizer.model",
    "chat_template.jinja",
]


def test_takes_weights_and_what_engines_read_beside_them() -> None:
    expected = {"LICENSE", "config.json", "model.safetensors", "tokenizer.model", "chat_template.jinja"}
    assert set(chosen(REPOSITORY)) == expected


def test_takes_code_and_pickles_of_a_model_that_was_named() -> None:
    pickles = {"original/consolidated.00.pth", "pytorch_model.bin"}
    assert set(chosen(REPOSITORY, allow_unsafe=True)) - set(chosen(REPOSITORY)) == {"modeling_name.py"}
    alone = [name for name in REPOSITORY if name != "model.safetensors"]
    # The weights that all engines read beside other layouts of the same ones.
    assert pickles & set(chosen(alone, allow_unsafe=True)) == {"pytorch_model.bin"}


def test_include_and_exclude_are_globs_over_the_whole_path() -> None:
    names = ["a-1.safetensors", "a-2.safetensors", "sub/b-1.safetensors", "config.json"]
    assert chosen(names, include=["*1.safetensors"]) == ["a-1.safetensors", "sub/b-1.safetensors"]
    assert chosen(names, include=["*.safetensors"], exclude=["sub/*", "*-2*"]) == ["a-1.safetensors"]


def test_takes_the_weights_of_one_format_only() -> None:
    both = [*REPOSITORY, "a-Q4.gguf"]
    assert chosen(both) == chosen(REPOSITORY)
    weights = {"a-Q4.gguf", "model.safetensors"}
    assert weights & set(chosen(both, format="gguf")) == {"a-Q4.gguf"}
    assert set(chosen(both, format="gguf", allow_unsafe=True)) == set(chosen(both, format="gguf"))


@pytest.mark.parametrize(
    ("names", "format_", "fault"),
    [
        (["a.gguf"], "safetensors", "offers GGUF and no safetensors file"),
        (["a.safetensors"], "gguf", "offers safetensors and no GGUF file"),
        (["a.bin"], "gguf", "offers no GGUF file among the 1 selected of 1 files"),
    ],
)
def test_refuses_the_other_format(names: list[str], format_: str, fault: str) -> None:
    with pytest.raises(Fault, match=fault) as caught:
        chosen(names, format=format_)
    assert "unsafe" not in caught.value.next_step


def test_refuses_a_model_of_pickles_and_names_the_word_that_accepts_it() -> None:
    with pytest.raises(Fault, match=r"only formats that can run code .*: pytorch_model\.bin") as caught:
        chosen(["config.json", "pytorch_model.bin"])
    assert "org/name to model_store_unsafe_models" in caught.value.next_step


def test_refuses_a_choice_without_weights() -> None:
    with pytest.raises(Fault, match="no safetensors file among the 1 selected of 2") as caught:
        chosen(["config.json", "model.safetensors"], include=["*.json"])
    assert "serve_model_include" in caught.value.next_step


@pytest.mark.parametrize(
    "name",
    [
        "/etc/cron.d/x.json",
        "../x.json",
        "a/../../x.json",
        "a\\..\\x.json",
        "a\nb.json",
        "",
        ".cache/x.json",
        ".provision-manifest.json",
    ],
)
def test_refuses_names_that_lead_elsewhere(name: str) -> None:
    with pytest.raises(Fault, match="lists a file named"):
        chosen(["model.safetensors", name])
