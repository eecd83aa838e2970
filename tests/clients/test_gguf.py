# SPDX-License-Identifier: Apache-2.0
"""Fetch GGUF models with the hubs' real clients: one of several, the parts of one, nothing but GGUF."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.provision.host.fault import Fault
from ansible.module_utils.provision.models.fetch import fetch
from ansible.module_utils.provision.models.files import Wanted, doubt
from ansible.module_utils.provision.models.path import loaded

from tests.clients.served import Orders, assert_nothing_served, flip, sums

REPO = "stand-in/noise-GGUF"
SMALL, LARGE = "noise-Q4_K_M.gguf", "noise-Q8_0.gguf"
PARTS = ("noise-F16-00001-of-00002.gguf", "noise-F16-00002-of-00002.gguf")


@pytest.fixture
def order(hub: Any, orders: Orders, source: str) -> Callable[..., dict[str, Any]]:
    """Put files into a repository and return a function that orders from it what is asked for."""

    def make(*names: str, **changes: Any) -> dict[str, Any]:
        folder = hub.root / REPO
        folder.mkdir(parents=True)
        for number, name in enumerate(names, start=1):
            (folder / name).write_bytes(b"GGUF" + bytes([number]) * 1_000_000 * number)
        spec: dict[str, Any] = orders(source, model=REPO, format="gguf", **changes)
        return {**spec, "directory": f"{spec['directory']}-gguf"}

    return make


def test_the_one_model_of_a_repository_comes_without_other_formats(
    hub: Any, order: Callable[..., dict[str, Any]]
) -> None:
    spec = order(SMALL, "model.safetensors", "mmproj-F16.gguf", "config.json")
    fetch(spec)
    directory = Path(spec["directory"])
    served = {name: digest for name, digest in sums(hub.root / REPO).items() if name != "model.safetensors"}
    assert sums(directory) == served
    assert doubt(directory, Wanted.of(spec)) == ""
    assert loaded(Wanted.of(spec), directory) == directory / SMALL


def test_several_models_are_refused_before_the_first_byte(
    hub: Any, order: Callable[..., dict[str, Any]]
) -> None:
    spec = order(SMALL, LARGE, *PARTS)
    with pytest.raises(Fault, match="offers 3 GGUF models") as caught:
        fetch(spec)
    for said in (f"{SMALL} (1.0 MB)", f"{LARGE} (2.0 MB)", "noise-F16-*-of-00002.gguf (2 parts, 7.0 MB)"):
        assert said in str(caught.value)
    assert "serve_model_include" in caught.value.next_step
    assert not hub.sent(REPO)
    assert_nothing_served(spec)


@pytest.mark.parametrize(
    ("include", "files"), [("*Q8*", (LARGE,)), ("*F16*", PARTS)], ids=["one file", "all parts"]
)
def test_a_choice_brings_that_model_and_no_other(
    order: Callable[..., dict[str, Any]], include: str, files: tuple[str, ...]
) -> None:
    spec = order(SMALL, LARGE, *PARTS, include=[include])
    fetch(spec)
    directory = Path(spec["directory"])
    assert set(sums(directory)) == set(files)
    assert loaded(Wanted.of(spec), directory) == directory / files[0]


def test_a_split_model_without_a_part_is_refused(hub: Any, order: Callable[..., dict[str, Any]]) -> None:
    spec = order(PARTS[1])
    with pytest.raises(Fault, match="without part 1 of 2"):
        fetch(spec)
    assert not hub.sent(REPO)
    assert_nothing_served(spec)


def test_the_other_format_is_refused_by_name(
    hub: Any, orders: Orders, order: Callable[..., dict[str, Any]], source: str
) -> None:
    with pytest.raises(Fault, match="offers safetensors and no GGUF file"):
        fetch(orders(source, format="gguf"))
    spec = order(SMALL)
    with pytest.raises(Fault, match="offers GGUF and no safetensors file"):
        fetch({**spec, "format": "safetensors"})
    assert not hub.sent(REPO)


def test_a_damaged_model_is_named_and_mended_with_the_model_that_was_chosen(
    hub: Any, order: Callable[..., dict[str, Any]]
) -> None:
    spec = order(SMALL, LARGE, "config.json", include=["*Q8*", "*.json"])
    fetch(spec)
    directory = Path(spec["directory"])
    flip(directory / LARGE)
    assert doubt(directory, Wanted.of(spec)).startswith(LARGE)
    hub.forget()
    fetch(spec)
    assert hub.sent(REPO) == (directory / LARGE).stat().st_size
    assert sums(directory) == {name: sums(hub.root / REPO)[name] for name in (LARGE, "config.json")}
