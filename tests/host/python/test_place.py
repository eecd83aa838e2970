# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.provision.host.fault import Fault
from ansible.module_utils.provision.python import conda_install, conda_place
from ansible.module_utils.provision.python.conda_place import MARKER, UNFINISHED, Wanted

from tests.host.python.conftest import Orders


def made(orders: Orders, **changes: Any) -> Wanted:
    spec = orders(**changes)
    conda_install.job(spec)
    return Wanted.of(spec)


def contents(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*"))


@pytest.mark.parametrize(
    ("word", "value", "message"),
    [
        ("version", "../../etc", "python_env_conda_version is '../../etc'"),
        ("sha256", "latest", "python_env_conda_sha256"),
        ("python", "3.12", "python_env_conda_python is '3.12', which is not valid"),
        ("prefix", "opt/conda", "python_env_conda_prefix"),
        ("prefix", "/opt/my conda", "python_env_conda_prefix"),
        ("prefix", "/opt/../usr", "python_env_conda_prefix"),
        ("prefix", "/opt/" + "x" * 200, "longer than the 200 letters"),
        ("packages", ["openssl"], "contains 'openssl' without an exact version"),
        ("packages", ["openssl>=3"], "without an exact version"),
        ("packages", ["--file=/etc/passwd x=1"], "without an exact version"),
    ],
)
def test_refuses_words_that_are_no_pins_or_lead_elsewhere(
    orders: Orders, word: str, value: Any, message: str
) -> None:
    with pytest.raises(Fault, match=message):
        Wanted.of(orders(**{word: value}))


def test_every_input_of_a_python_changes_its_directory(orders: Orders) -> None:
    choices: list[dict[str, Any]] = [{}, {"python": "3.12.10"}, {"packages": ["a=1"]}, {"channels": ["own"]}]
    assert len({Wanted.of(orders(**choice)).python_directory for choice in choices}) == len(choices)
    mirrored = Wanted.of(orders(channel_alias="https://mirror.example"))
    assert mirrored.python_directory == Wanted.of(orders()).python_directory


def test_a_foreign_prefix_is_refused_and_left_as_it_is(orders: Orders, tmp_path: Path) -> None:
    place = tmp_path / "theirs"
    (place / "bin").mkdir(parents=True)
    (place / "bin/conda").write_text("theirs")
    before = contents(place)
    with pytest.raises(Fault, match="was not created by provision: it is left as it is"):
        made(orders, prefix=str(place))
    assert contents(place) == before
    assert (place / "bin/conda").read_text() == "theirs"


def test_a_file_and_a_link_are_no_prefix(orders: Orders, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "file").touch()
    for name in ("link", "file"):
        with pytest.raises(Fault, match=r"is not a directory|not created by provision"):
            made(orders, prefix=str(tmp_path / name))
    assert contents(tmp_path / "elsewhere") == []


def test_an_empty_directory_is_nobodys(orders: Orders, tmp_path: Path) -> None:
    (tmp_path / "conda-here").mkdir()
    assert not conda_place.doubt(made(orders, prefix=str(tmp_path / "conda-here")))


@pytest.mark.parametrize("own_place", [True, False])
def test_a_broken_prefix_is_refused_and_left_as_it_is(
    orders: Orders, tmp_path: Path, own_place: bool
) -> None:
    words = {"prefix": "" if own_place else str(tmp_path / "chosen")}
    wanted = made(orders, **words)
    (wanted.prefix / "bin/conda").unlink()
    before = contents(wanted.prefix)
    with pytest.raises(Fault, match="is broken: its bin/conda cannot be run") as caught:
        made(orders, **words)
    assert f"mv {wanted.prefix}" in caught.value.next_step
    assert contents(wanted.prefix) == before


def test_a_chosen_prefix_keeps_its_version(orders: Orders, tmp_path: Path) -> None:
    place = str(tmp_path / "chosen")
    wanted = made(orders, version="25.3.1-0", prefix=place)
    with pytest.raises(Fault, match=r"contains miniforge 25\.3\.1-0, not miniforge 26\.1\.1-3"):
        made(orders, prefix=place)
    assert not conda_place.doubt(wanted)


def use(wanted: Wanted, environments: Path, name: str = "vllm-aaaaaaaaaaaa") -> Path:
    (environments / name).mkdir(parents=True)
    (environments / name / conda_place.ORIGIN).write_text(f"{wanted.interpreter}\n")
    return environments / name


def unused(tmp_path: Path, *keep: str, leaving: tuple[Path, ...] = ()) -> list[Path]:
    needed = conda_place.origins(tmp_path / "envs", [str(path) for path in leaving]) | set(keep)
    found: list[Path] = conda_place.unused(
        tmp_path / "conda", tmp_path / "conda.json", needed, tmp_path / "units"
    )
    return found


def test_prunes_what_no_environment_was_made_with(orders: Orders, tmp_path: Path) -> None:
    old, new, spare = made(orders, version="25.3.1-0"), made(orders), made(orders, python="3.13.5")
    environment = use(old, tmp_path / "envs")
    use(new, tmp_path / "envs", "vllm-bbbbbbbbbbbb")
    assert unused(tmp_path) == [spare.python_directory]
    assert unused(tmp_path, leaving=(environment,)) == [old.prefix, spare.python_directory]
    conda_place.remove(spare.python_directory)
    conda_place.remove(environment)
    # What only brought uv is no use of its own.
    use(old, tmp_path / "envs", "uv-cccccccccccc")
    assert unused(tmp_path) == [old.prefix]
    assert unused(tmp_path, str(old.interpreter)) == []


def test_a_unit_keeps_what_it_names(orders: Orders, tmp_path: Path) -> None:
    wanted = made(orders)
    (tmp_path / "units").mkdir()
    (tmp_path / "units/own.service").write_text(f"ExecStart={wanted.interpreter} -m own\n")
    assert unused(tmp_path) == []


def test_somebodys_environment_keeps_its_prefix(orders: Orders, tmp_path: Path) -> None:
    wanted = made(orders)
    (wanted.prefix / "envs/theirs").mkdir()
    assert unused(tmp_path) == [wanted.python_directory]


def test_a_prefix_elsewhere_is_remembered_and_a_foreign_one_is_never_listed(
    orders: Orders, tmp_path: Path
) -> None:
    wanted, registry = made(orders, prefix=str(tmp_path / "chosen")), tmp_path / "conda.json"
    (tmp_path / "theirs").mkdir()
    for place in (wanted.prefix, tmp_path / "theirs", wanted.prefix):
        conda_place.remember(registry, place)
    assert conda_place.prefixes(tmp_path / "conda", registry) == [wanted.prefix]


def test_what_is_being_removed_counts_as_not_finished(
    orders: Orders, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = made(orders)
    monkeypatch.setattr(conda_place.shutil, "rmtree", lambda _: None)
    conda_place.remove(wanted.prefix)
    assert not (wanted.prefix / MARKER).exists()
    assert (wanted.prefix / UNFINISHED).exists()
    assert conda_place.prefix_doubt(wanted) == "its installation was interrupted"
