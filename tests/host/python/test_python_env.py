# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.module_utils.provision.jobs.unit import UnitState
from ansible.module_utils.provision.python import environment as virtual_environment

from provisioner.ansible.modules import python_env

LOCK = b"vllm==1\n"
DIGEST = hashlib.sha256(LOCK).hexdigest()
VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
DONE = UnitState()


class Builder:
    """Stand in for the unit that builds an environment."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.now = DONE
        self.started: list[tuple[str, list[str], dict[str, object], str | None]] = []
        self.completes = True

    def start(
        self, name: str, argv: list[str], *, properties: dict[str, object], environment_file: str | None
    ) -> bool:
        self.started.append((name, argv, properties, environment_file))
        if self.completes:
            self.complete(Path(argv[2]))
        return True

    def complete(self, directory: Path) -> None:
        (directory / "bin").mkdir(parents=True)
        (directory / "bin/python").symlink_to(sys.executable)
        (directory / virtual_environment.MARKER).write_text(DIGEST)


@pytest.fixture
def builder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Builder:
    fake = Builder(tmp_path / "envs")
    monkeypatch.setattr(python_env, "start_or_attach", fake.start)
    monkeypatch.setattr(python_env, "state", lambda _name: fake.now)
    monkeypatch.setattr(python_env, "wait", lambda _name, _seconds: fake.now)
    monkeypatch.setattr(python_env, "journal_tail", lambda *_arguments: "Downloading torch (180MiB)")
    monkeypatch.setattr(python_env, "RUNTIME", tmp_path / "run")
    monkeypatch.setattr(virtual_environment, "INTERPRETERS", (sys.executable,))
    monkeypatch.setattr(virtual_environment, "UNITS", tmp_path / "units")
    (tmp_path / "lock.txt").write_bytes(LOCK)
    return fake


def call(builder: Builder, *, check: bool = False, **params: Any) -> dict[str, Any]:
    defaults = {name: spec.get("default") for name, spec in python_env.ARGUMENTS.items()}
    given = {
        "name": "vllm",
        "lock": str(builder.root.parent / "lock.txt"),
        "lock_sha256": DIGEST,
        "python": VERSION,
        "uv_lock": "/uv.txt",
        "root": str(builder.root),
        "cache": str(builder.root.parent / "cache"),
        "environment_file": "/etc/provision/python_env.env",
    }
    module = SimpleNamespace(params={**defaults, **given, **params}, check_mode=check)
    result: dict[str, Any] = python_env.outcome(module)
    return result


def test_builds_once_and_finds_it_again(builder: Builder) -> None:
    first = call(builder, known={"hub": "/opt/provision/envs/hub-1"})
    assert (first["changed"], first["finished"], first["present"]) == (True, True, True)
    assert first["ansible_facts"]["python_envs"] == {
        "hub": "/opt/provision/envs/hub-1",
        "vllm": first["directory"],
    }
    assert call(builder)["changed"] is False
    assert len(builder.started) == 1


def test_the_unit_gets_no_secret_and_all_it_needs(builder: Builder) -> None:
    call(builder, uv_lock_sha256="u")
    name, argv, properties, environment_file = builder.started[0]
    assert name == "provision-job-env-vllm"
    assert argv[:2] == ["/bin/sh", "/usr/local/lib/provision/python_env_build"]
    assert argv[3:6] == [sys.executable, "uv", str(builder.root.parent / "lock.txt")]
    assert environment_file == "/etc/provision/python_env.env"
    environment = properties["Environment"]
    assert isinstance(environment, list)
    assert f"UV_CACHE_DIR={builder.root.parent}/cache/uv" in environment
    assert "UV_LINK_MODE=hardlink" in environment


def test_observing_builds_nothing(builder: Builder) -> None:
    result = call(builder, state="inspected")
    assert (result["changed"], result["present"], result["python_usable"]) == (False, False, True)
    assert not builder.started


def test_check_mode_names_the_directory_that_would_come(builder: Builder) -> None:
    result = call(builder, check=True)
    assert result["changed"] is True
    assert result["diff"]["after"] == result["directory"] + "\n"
    assert result["ansible_facts"]["python_envs"]["vllm"] == result["directory"]
    assert not builder.started


def test_polls_with_progress_until_it_is_there(builder: Builder) -> None:
    builder.completes = False
    result = call(builder, needed_bytes=1000)
    assert (result["changed"], result["finished"]) == (True, False)  # the next call may find it all done
    builder.now = UnitState(active="active", invocation="one")
    result = call(builder, needed_bytes=1000)
    assert len(builder.started) == 1
    progress = result["provision"]["progress"]
    assert progress["label"] == "vllm environment: Downloading torch (180MiB)"
    assert 0 <= progress["done_bytes"] <= progress["total_bytes"] == 1000
    builder.now = DONE
    builder.complete(Path(result["directory"]))
    assert call(builder)["present"] is True
    assert len(builder.started) == 1


def test_a_failed_build_shows_its_last_words(builder: Builder) -> None:
    builder.completes = False
    builder.now = UnitState(active="failed", result="exit-code", exit_status=1, invocation="one")
    with pytest.raises(virtual_environment.Fault, match=r"failed \(exit-code, exit 1\): Downloading"):
        call(builder)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        (
            {"needed_bytes": 10**18},
            r"^not enough disk for the environment vllm: .* GB free, and .* GB are needed there$",
        ),
        ({"lock_sha256": "0" * 64}, "expected 000"),
        ({"python": "3.9"}, "no Python 3.10 or newer"),
    ],
)
def test_refuses_before_it_starts(builder: Builder, params: dict[str, Any], message: str) -> None:
    with pytest.raises(virtual_environment.Fault, match=message):
        call(builder, **params)
    assert not builder.started


def test_refuses_without_a_usable_python(builder: Builder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(virtual_environment, "INTERPRETERS", ())
    with pytest.raises(
        virtual_environment.Fault, match="with venv and ensurepip is not installed on this host"
    ):
        call(builder)


def test_builds_with_the_python_that_something_else_brought(builder: Builder) -> None:
    system = call(builder)
    brought = call(builder, interpreter=sys.executable, python="3.12", maximum_python="3.14")
    assert brought["directory"] != system["directory"]
    assert (brought["python"], brought["python_has_headers"]) == ("3.12", True)
    assert builder.started[1][1][3] == sys.executable
    moved = call(builder, interpreter="/opt/provision/conda/a/bin/python3.12", python="3.12", check=True)
    assert moved["directory"] not in (brought["directory"], system["directory"])
    assert moved["python_usable"] is False
    with pytest.raises(virtual_environment.Fault, match=r"no Python from 3\.10 to 3\.11"):
        call(builder, interpreter=sys.executable, python="3.12", maximum_python="3.11")


def test_prunes_the_old_and_keeps_the_new(builder: Builder) -> None:
    old = call(builder, installer="pip")["directory"]
    new = call(builder)["directory"]
    assert call(builder, state="absent", keep=[new], check=True)["removed"] == [old]
    assert Path(old).exists()
    result = call(builder, state="absent", keep=[new])
    assert (result["changed"], result["removed"]) == (True, [old])
    assert not Path(old).exists()
    assert Path(new).exists()
    assert call(builder, state="absent", keep=[new])["changed"] is False
