# SPDX-License-Identifier: Apache-2.0
"""Weights that a repository has twice are downloaded once, and the rest is reported."""

from __future__ import annotations

import pytest
from ansible.module_utils.provision.host.fault import Fault
from ansible.module_utils.provision.models.files import RemoteFile, Wanted
from ansible.module_utils.provision.models.select import PICKLES, copies, select, selected
from ansible.module_utils.provision.models.twice import Named, rest, unclear

GB = 10**9
CONFIG = {"config.json": 1000, "tokenizer.json": 1000}
INDEX = {"model.safetensors.index.json": 1000}
SHARDS = {f"model-{number:05}-of-00002.safetensors": 5 * GB for number in (1, 2)}
NAMES = list(SHARDS)
SAID = "not downloaded: {}, because {} has the weights already; serve_model_include chooses others"
WEIGHTS = (".safetensors", *PICKLES)


def files(given: dict[str, int]) -> list[RemoteFile]:
    return [RemoteFile(name, size) for name, size in (CONFIG | given).items()]


def chosen(given: dict[str, int], named: Named | None = None, **changes: object) -> set[str]:
    wanted = Wanted("huggingface", "org/model", "main", **changes)  # type: ignore[arg-type]
    return {remote.name for remote in select(files(given), wanted, named)} - set(CONFIG)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        # Parts with an index, and the same weights beside them or in a folder.
        (
            {**INDEX, **SHARDS, "consolidated.safetensors": 10 * GB, "params.json": 9},
            {*INDEX, *SHARDS, "params.json"},
        ),
        ({**INDEX, **SHARDS, "model.safetensors": 10 * GB}, {*INDEX, *SHARDS}),
        (
            {**INDEX, **SHARDS, "original/model.safetensors": 10 * GB, "original/config.json": 9},
            {*INDEX, *SHARDS},
        ),
        ({**INDEX, **SHARDS, "mistral/consolidated-00001.safetensors": 10 * GB}, {*INDEX, *SHARDS}),
        # Parts that are counted from 0, and parts without an index.
        (
            {
                "model-00000-of-00002.safetensors": GB,
                "model-00001-of-00002.safetensors": GB,
                "model.safetensors": GB,
            },
            {"model-00000-of-00002.safetensors", "model-00001-of-00002.safetensors"},
        ),
        # One whole file.
        ({"model.safetensors": GB, "consolidated.00.safetensors": GB}, {"model.safetensors"}),
        ({"model.safetensors": 2 * GB, "model.fp16.safetensors": GB}, {"model.safetensors"}),
        ({"model.safetensors": GB, "fp16/model.safetensors": GB // 2}, {"model.safetensors"}),
        # What is there once stays: another layout alone, a part in a folder, files that are no parts.
        ({"consolidated.safetensors": GB}, {"consolidated.safetensors"}),
        ({"0_Transformer/model.safetensors": GB}, {"0_Transformer/model.safetensors"}),
        (
            {"model.safetensors": GB, "2_Dense/model.safetensors": GB // 50, "2_Dense/config.json": 9},
            {"model.safetensors", "2_Dense/model.safetensors", "2_Dense/config.json"},
        ),
        ({"model.safetensors": GB, "mtp.safetensors": GB // 9}, {"model.safetensors", "mtp.safetensors"}),
    ],
)
def test_one_set_of_weights_is_downloaded(given: dict[str, int], kept: set[str]) -> None:
    assert chosen(given) == kept


def test_what_the_index_lists_counts_more_than_names() -> None:
    given = {**INDEX, "first.safetensors": GB, "extra/second.safetensors": GB, "model.safetensors": 2 * GB}
    named = {"model.safetensors.index.json": {"first.safetensors", "extra/second.safetensors"}}
    assert chosen(given, named) == {*INDEX, "first.safetensors", "extra/second.safetensors"}


def test_an_index_of_weights_that_are_not_there_is_left_out_as_well() -> None:
    named = {"model.safetensors.index.json": set(NAMES)}
    assert chosen({**INDEX, "model.safetensors": GB}, named) == {"model.safetensors"}


def test_an_upload_that_is_not_complete_is_refused() -> None:
    given = {**INDEX, NAMES[0]: GB}
    with pytest.raises(Fault, match=f"index.json lists {NAMES[1]}, which the repository does not contain"):
        chosen(given, {"model.safetensors.index.json": set(NAMES)})


def test_of_safetensors_and_pickles_the_first_are_taken() -> None:
    given = {**INDEX, **SHARDS, "pytorch_model.bin": 10 * GB}
    assert chosen(given, allow_unsafe=True) == {*INDEX, *SHARDS}
    parts = {f"pytorch_model-{number:05}-of-00002.bin": GB for number in (1, 2)}
    index = {"pytorch_model.bin.index.json": 9}
    given = {**index, **parts, "pytorch_model.bin": 2 * GB, "consolidated.00.pth": 2 * GB}
    assert chosen(given, allow_unsafe=True) == {*index, *parts}


def test_what_the_inventory_chooses_is_taken_although_it_is_there_twice() -> None:
    given = {**INDEX, **SHARDS, "consolidated.safetensors": 10 * GB}
    assert chosen(given, include=("consolidated*",)) == {"consolidated.safetensors"}
    assert chosen(given, include=("*.safetensors",)) == {*SHARDS, "consolidated.safetensors"}


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ({**INDEX, **SHARDS}, []),
        ({"model.safetensors": GB}, []),
        ({**INDEX, **SHARDS, "consolidated.safetensors": GB}, list(INDEX)),
        ({**INDEX, NAMES[0]: GB}, list(INDEX)),
    ],
)
def test_an_index_is_read_only_where_names_do_not_show_enough(given: dict[str, int], read: list[str]) -> None:
    assert [remote.name for remote in unclear(files(given), (".safetensors",))] == read


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({**INDEX, **SHARDS}, ""),
        ({**INDEX, **SHARDS, "training_args.bin": 5000}, ""),
        (
            {**INDEX, **SHARDS, "consolidated.safetensors": 10 * GB},
            SAID.format("consolidated.safetensors (10.0 GB)", "the set in model.safetensors.index.json"),
        ),
        (
            {"model.safetensors": GB, "pytorch_model.bin": GB, "original/consolidated.00.pth": 2 * GB},
            SAID.format("pytorch_model.bin, original/consolidated.00.pth (3.0 GB)", "model.safetensors"),
        ),
    ],
)
def test_the_rest_is_reported(given: dict[str, int], said: str) -> None:
    wanted = Wanted("huggingface", "org/model", "main")
    listed = files(given)
    kept = copies(selected(listed, (), ()), wanted, {}).kept
    assert rest(listed, select(listed, wanted), kept, WEIGHTS) == said
