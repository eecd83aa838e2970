# SPDX-License-Identifier: Apache-2.0
"""The program that starts Transformers closes what the server leaves open, and names the model."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from roles.engine_transformers.files import transformers_serve as serve

KEY = "made-up"


def ask(guard: serve.Guard, path: str, **headers: str) -> tuple[int, str]:
    """Return the status and the message that a request is answered with."""
    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    given = [(name.encode(), value.encode()) for name, value in headers.items()]
    asyncio.run(guard({"type": "http", "path": path, "headers": given}, None, send))
    start, body = sent
    return start["status"], json.loads(body["body"])["error"]["message"]


async def server(_scope: Any, _receive: Any, send: Any) -> None:
    await send({"status": 200})
    await send({"body": '{"error": {"message": "from the server"}}'})


@pytest.mark.parametrize("path", ["/load_model", "/reset", "/reset/"])
@pytest.mark.parametrize("key", ["", KEY])
def test_no_client_loads_or_unloads_models(path: str, key: str) -> None:
    status, message = ask(serve.Guard(server, key), path, authorization=f"Bearer {KEY}")
    assert (status, message) == (403, f"{path.rstrip('/')} is closed: this server serves one model")


@pytest.mark.parametrize("path", ["/v1/models", "/v1/chat/completions", "/docs"])
def test_requests_need_the_key_where_there_is_one(path: str) -> None:
    guard = serve.Guard(server, KEY)
    assert ask(guard, path)[0] == 401
    assert ask(guard, path, authorization=KEY)[0] == 401
    assert ask(guard, path, authorization=f"Bearer {KEY}2") == (401, "the API key is missing or wrong")
    assert ask(guard, path, authorization=f"Bearer {KEY}") == (200, "from the server")


def test_health_needs_no_key_and_without_one_nothing_does() -> None:
    assert ask(serve.Guard(server, KEY), "/health")[0] == 200
    assert ask(serve.Guard(server), "/v1/models")[0] == 200


def test_what_is_no_request_passes() -> None:
    seen = []

    async def app(scope: Any, *_: Any) -> None:
        seen.append(scope["type"])

    asyncio.run(serve.Guard(app, KEY)({"type": "lifespan"}, None, None))
    assert seen == ["lifespan"]


def test_the_name_of_clients_is_a_path_to_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tmp_path / "store"
    model.mkdir()
    for name in ("owner/old", "owner/new", "plain"):
        monkeypatch.chdir(tmp_path)
        serve.name_model(name, model)
        assert Path(name).resolve() == model
        assert Path.cwd() == tmp_path / "served"
    assert [path.name for path in Path().iterdir()] == ["plain"]
    assert model.is_dir()


@pytest.mark.parametrize("name", ["..", "a/../../b", "/etc", "", "."])
def test_a_name_that_leads_elsewhere_is_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="is not a name that a model can have"):
        serve.name_model(name, tmp_path)


def test_a_missing_model_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=f"no model in {tmp_path}/none"):
        serve.name_model("a/b", tmp_path / "none")


def loaded(places: dict[str, Any] | None, device: str = "cpu") -> SimpleNamespace:
    config = SimpleNamespace(_attn_implementation="sdpa")
    return SimpleNamespace(hf_device_map=places, device=device, dtype="torch.float32", config=config)


@pytest.mark.parametrize(
    ("model", "device", "expected"),
    [
        (loaded({"": "cuda:0"}), "cuda:0", "1 of 1 parts on the GPU, dtype float32, attention sdpa"),
        (loaded({"a": 0, "b": 1}), "balanced", "2 of 2 parts on the GPU, dtype float32, attention sdpa"),
        (loaded(None, "cuda:0"), "cuda:0", "1 of 1 parts on the GPU, dtype float32, attention sdpa"),
        (loaded({"": "cpu"}), "cpu", "0 of 1 parts on the GPU, dtype float32, attention sdpa"),
        (loaded(None), "cpu", "0 of 1 parts on the GPU, dtype float32, attention sdpa"),
    ],
)
def test_says_where_the_model_is(model: SimpleNamespace, device: str, expected: str) -> None:
    assert serve.describe(model, device) == f"model loaded: {expected}"


@pytest.mark.parametrize("elsewhere", ["cpu", "disk"])
def test_a_model_that_does_not_fit_ends_the_start(elsewhere: str) -> None:
    with pytest.raises(SystemExit, match="1 of 3 parts of the model did not fit into the memory of the GPUs"):
        serve.describe(loaded({"a": 0, "b": 1, "c": elsewhere}), "balanced")


class Library:
    """Stand in for the modules of the library that the program uses."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.called: list[list[str]] = []
        self.middleware: dict[str, Any] = {}
        self.server, commands = ModuleType("server"), ModuleType("commands")
        self.server.build_server = self.build  # type: ignore[attr-defined] # a module made here
        commands.app = self.command  # type: ignore[attr-defined] # likewise
        monkeypatch.setitem(sys.modules, "transformers.cli.serving.server", self.server)
        monkeypatch.setitem(sys.modules, "transformers.cli.transformers", commands)

    def build(self, *_arguments: Any, **_options: Any) -> SimpleNamespace:
        return SimpleNamespace(
            add_middleware=lambda kind, **options: self.middleware.update({"": kind, **options})
        )

    def command(self, arguments: list[str], prog_name: str) -> None:
        self.called.append([prog_name, *arguments])
        models = {"one": SimpleNamespace(model=loaded({"": "cpu"}))}
        self.server.build_server(SimpleNamespace(loaded_models=models), "handler", enable_cors=False)


def test_starts_the_server_with_the_guard_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    library = Library(monkeypatch)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(serve.KEY_VARIABLE, KEY)
    given = ["--name", "a/b", "--model", str(tmp_path), "--device", "cpu"]
    monkeypatch.setattr(sys, "argv", ["serve", *given, "--", "--port", "8001", "--compile"])
    serve.main()
    assert library.called == [
        ["transformers", "serve", "a/b", "--device", "cpu", "--port", "8001", "--compile"]
    ]
    assert library.middleware == {"": serve.Guard, "key": KEY}
    assert serve.KEY_VARIABLE not in os.environ
    assert capsys.readouterr().err == (
        "model loaded: 0 of 1 parts on the GPU, dtype float32, attention sdpa\n"
    )
