# SPDX-License-Identifier: Apache-2.0
"""Which GGUF model of several is meant, in a listing of a hub and in a directory of a host."""

from __future__ import annotations

import fnmatch
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.module_utils.provision.host.fault import Fault
from ansible.module_utils.provision.models.files import KnownFile, Manifest, RemoteFile, Wanted
from ansible.module_utils.provision.models.gguf import models
from ansible.module_utils.provision.models.path import check_path, loaded
from ansible.module_utils.provision.models.select import select

from provisioner.ansible.modules import model_file

PARTS = [f"big/b-Q8-0000{number}-of-00003.gguf" for number in (1, 2, 3)]
SIZES = {"a-Q4.gguf": 105_450_000, "mmproj-F16.gguf": 5_000_000, "config.json": 700}
SIZES.update(dict.fromkeys(PARTS, 2_000_000_000))


def chosen(*names: str, **changes: Any) -> list[str]:
    listed = [RemoteFile(name, SIZES[name]) for name in names or sorted(SIZES)]
    values = {"source": "huggingface", "model": "org/name", "revision": "main", "format": "gguf", **changes}
    return sorted(remote.name for remote in select(listed, Wanted.of(values)))


def test_refuses_several_models_with_their_sizes_and_a_choice_that_works() -> None:
    with pytest.raises(Fault, match="org/name@main offers 2 GGUF models") as caught:
        chosen()
    assert "a-Q4.gguf (105.5 MB), big/b-Q8-*-of-00003.gguf (3 parts, 6.00 GB)" in str(caught.value)
    assert "serve_model_include: ['a-Q4.gguf', 'mmproj-F16.gguf']" in caught.value.next_step
    assert chosen(include=["a-Q4.gguf", "mmproj-F16.gguf"]) == ["a-Q4.gguf", "mmproj-F16.gguf"]


@pytest.mark.parametrize("include", ["big/*", "*Q8*", PARTS[0], PARTS[2]])
def test_a_split_model_is_one_and_comes_whole(include: str) -> None:
    assert chosen(include=[include]) == PARTS


def test_a_companion_is_kept_and_is_no_model() -> None:
    names = ["a-Q4.gguf", "config.json", "mmproj-F16.gguf"]
    assert chosen(*names) == names
    with pytest.raises(Fault, match="no GGUF model among the 2 selected files"):
        chosen("config.json", "mmproj-F16.gguf")


def test_refuses_a_split_model_without_a_part() -> None:
    with pytest.raises(Fault, match=r"big/b-Q8-\*-of-00003.gguf without part 1, 3 of 3") as caught:
        chosen(PARTS[1])
    assert "serve_model_include" in caught.value.next_step
    with pytest.raises(Fault, match="without part 3 of 3"):
        chosen(exclude=["a-*", "*-00003-of-*"])
    with pytest.raises(Fault, match=r"offers 2 .*\(2 of 3 parts, 4\.00 GB\)"):
        chosen(exclude=["*-00003-of-*"])


def test_the_name_of_a_model_is_a_glob_over_its_own_files() -> None:
    for model in models([RemoteFile(name, size) for name, size in SIZES.items()]):
        assert fnmatch.filter(SIZES, model.name) == [remote.name for remote in model.files]


def own(directory: Path, *names: str, **changes: Any) -> dict[str, Any]:
    for name in names:
        (directory / name).parent.mkdir(exist_ok=True)
        (directory / name).write_bytes(b"GGUF")
    named = {"source": "path", "model": str(directory), "revision": "", "services": ["chat"]}
    return {**named, "directory": str(directory), "format": "gguf", **changes}


def test_an_engine_is_given_the_first_part_and_never_a_companion(tmp_path: Path) -> None:
    model = own(tmp_path, *PARTS, "big/a-mmproj.gguf", "config.json")
    check_path(model)
    assert loaded(Wanted.of(model), tmp_path) == tmp_path / PARTS[0]


def test_a_directory_with_several_needs_a_choice(tmp_path: Path) -> None:
    model = own(tmp_path, *PARTS, "a-Q4.gguf")
    with pytest.raises(Fault, match=f"{tmp_path} contains 2 GGUF models"):
        check_path(model)
    check_path({**model, "include": ["*Q8*"], "exclude": ["a*"]})


def test_a_file_stands_for_itself_and_the_parts_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "big"
    model = own(tmp_path, *PARTS, "big/other.gguf")
    first = tmp_path / PARTS[0]
    named = {**model, "model": str(first), "directory": str(path), "include": [first.name]}
    check_path(named)
    assert loaded(Wanted.of(named), path) == first
    with pytest.raises(Fault, match=r"none\.gguf, which is not a file on this host"):
        check_path({**named, "model": str(path / "none.gguf"), "include": ["none.gguf"]})


def test_a_file_may_have_an_odd_name(tmp_path: Path) -> None:
    path = tmp_path / "my [best] model.GGUF"
    model = own(tmp_path, path.name, "other.gguf", model=str(path), include=[path.name])
    check_path(model)
    assert loaded(Wanted.of(model), tmp_path) == path


@pytest.mark.parametrize("name", ["sub/model.safetensors", "a.gguf"])
def test_safetensors_lie_in_the_directory_itself(tmp_path: Path, name: str) -> None:
    with pytest.raises(Fault, match="does not contain a safetensors file"):
        check_path(own(tmp_path, name, format="safetensors"))


def find(model: dict[str, Any], *, check: bool = False) -> Any:
    module: Any = SimpleNamespace(params={"model": model}, check_mode=check)
    return model_file.find(module)["file"]


def test_a_directory_of_the_store_is_what_its_manifest_says(tmp_path: Path) -> None:
    model = own(tmp_path, "a.gguf", "stray.gguf", source="huggingface", model="org/name", revision="main")
    Manifest(Wanted.of(model), "c0ffee", {"a.gguf": KnownFile(4, "", "hub")}).write(tmp_path)
    assert find(model) == str(tmp_path / "a.gguf")


def test_check_mode_names_a_likely_file_where_nothing_has_been_fetched(tmp_path: Path) -> None:
    model = {**own(tmp_path), "directory": str(tmp_path / "later")}
    assert find(model, check=True) == str(tmp_path / "later" / "model.gguf")
    with pytest.raises(Fault, match=r"the model of chat .*later, which does not exist") as caught:
        find(model)
    assert "--phase models" in caught.value.next_step
