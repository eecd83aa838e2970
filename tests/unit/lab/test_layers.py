# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from provisioner.errors import LabError
from provisioner.lab import image, layers
from provisioner.lab.image import Recipe
from provisioner.lab.layers import Layer
from provisioner.lab.podman import Podman
from provisioner.lab.process import Result

BASE = Recipe("tools", "trixie", ("deb http://mirror.example/debian trixie main",))
MIDDLE = Layer("middle", BASE, "sh ./middle.sh", {"middle.sh": b"true\n"}, "a base")
LONGEST_SECONDS = 30
TOP = Layer("top", MIDDLE, "sh ./top.sh 'a stand-in'", {"top.sh": b"true\n"}, "a stand-in")


@dataclass(frozen=True)
class Storage(Podman):
    """Keep what is built, and with which files; `together` holds the first questions for hosts' images."""

    tags: list[str] = field(default_factory=list)
    contexts: list[dict[str, bytes]] = field(default_factory=list)
    together: threading.Barrier | None = None

    def has(self, kind: str, name: str) -> bool:
        if self.together and "/host-" in name:
            self.together.wait(LONGEST_SECONDS)
        return kind == "image" and name in self.tags

    def run(self, *words: str, **_: Any) -> Result:
        assert words[0] == "build"
        self.contexts.append({path.name: path.read_bytes() for path in Path(words[-1]).iterdir()})
        self.tags.append(next(word.partition("=")[2] for word in words if word.startswith("--tag=")))
        return Result(words, 0, b"", b"")


@pytest.fixture(autouse=True)
def _no_mmdebstrap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image, "build", lambda storage, wanted: storage.tags.append(wanted.tag))


@pytest.fixture(autouse=True)
def _runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("provisioner.lab.controller.runtime_dir", lambda: tmp_path)


def test_a_layer_is_one_command_beside_its_files() -> None:
    assert TOP.containerfile == (
        f"FROM {MIDDLE.tag}\n"
        "COPY . /tmp/provision-lab/\n"
        "RUN cd /tmp/provision-lab && sh ./top.sh 'a stand-in' && rm -rf /tmp/provision-lab\n"
        'CMD ["/sbin/init"]\n'
    )


def test_the_build_command_pulls_only_what_is_missing() -> None:
    argv = layers.build_argv(TOP, Path("/work"))
    assert argv[0] == "build"
    assert argv[-1] == "/work/files"
    assert {
        "--file=/work/Containerfile",
        f"--tag={TOP.tag}",
        f"--label=provision.lab.recipe={TOP.digest}",
        "--layers=false",
    } <= set(argv)
    assert not [word for word in argv if word.startswith("--pull")]


@pytest.mark.parametrize(
    "change",
    [
        {"command": "sh ./other.sh"},
        {"files": {"top.sh": b"false\n"}},
        {"origin": "the real thing"},
        {"base": "registry.example.com/library/debian:13"},
        {"base": dataclasses.replace(MIDDLE, command="sh ./another.sh")},
        {"base": dataclasses.replace(MIDDLE, base=dataclasses.replace(BASE, suite="bookworm"))},
    ],
)
def test_any_change_below_or_in_a_layer_makes_another_image(change: dict[str, Any]) -> None:
    assert dataclasses.replace(TOP, **change).digest != TOP.digest
    assert dataclasses.replace(TOP).tag == TOP.tag


def test_what_a_layer_stands_on_is_built_before_it() -> None:
    storage = Storage()
    layers.build(storage, TOP, print)
    assert storage.tags == [BASE.tag, MIDDLE.tag, TOP.tag]
    assert storage.contexts == [{"middle.sh": b"true\n"}, {"top.sh": b"true\n"}]


def test_a_registrys_image_is_left_to_podman() -> None:
    storage = Storage()
    pulled = dataclasses.replace(TOP, base="registry.example.com/library/debian:13")
    layers.build(storage, pulled, print)
    assert storage.tags == [pulled.tag]


def test_hosts_that_come_up_together_build_what_they_share_once() -> None:
    wanted = [dataclasses.replace(TOP, name=f"host-{number}") for number in range(3)]
    storage = Storage(together=threading.Barrier(len(wanted)))
    with ThreadPoolExecutor(len(wanted)) as pool:
        list(pool.map(lambda one: layers.build(storage, one, print), wanted))
    assert storage.tags[:2] == [BASE.tag, MIDDLE.tag]
    assert sorted(storage.tags[2:]) == sorted(one.tag for one in wanted)


@pytest.mark.parametrize(
    ("base", "hint"),
    [
        ("registry.example.com/library/debian:13", "reaches registry.example.com/library/debian:13"),
        (BASE, "reaches its package mirror"),
    ],
)
def test_a_failure_says_what_to_look_at(base: Any, hint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Podman, "argv", lambda *_: ["false"])
    monkeypatch.setattr(Podman, "has", lambda _, __, name: name == BASE.tag)
    with pytest.raises(LabError) as failed:
        layers.build(Podman(), dataclasses.replace(TOP, base=base), print)
    assert hint in str(failed.value.next_step)
