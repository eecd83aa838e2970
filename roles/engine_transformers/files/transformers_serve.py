#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Start `transformers serve` for one model that is on the host, and close what the server itself leaves open.

The server calls a model by its path, checks no key, and lets every client load other models and unload this
one. Here the model has the name that clients use, requests need the key if there is one, and those two paths
are closed. A model that does not fit into the GPUs ends the start; the server would use the CPU as well.
Run by the Python of the engine's environment: no other one has the libraries that it loads.
"""

from __future__ import annotations

import argparse
import hmac
import importlib
import json
import os
import shutil
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

KEY_VARIABLE = "TRANSFORMERS_API_KEY"
# Inside the service's own directory: the server takes a path that exists for a model on the host.
NAMES = Path("served")
OPEN = ("/health",)
CLOSED = ("/load_model", "/reset")
NOT_ON_GPU = ("cpu", "disk", "meta")


class Guard:
    """Let requests pass that a client of this one model may make."""

    def __init__(self, app: Callable[..., Awaitable[None]], key: str = "") -> None:
        self.app = app
        self.key = key.encode()

    async def __call__(self, scope: Mapping[str, Any], receive: Any, send: Any) -> None:
        """Answer a request that is refused, and hand on every other one."""
        refused = self.refusal(scope) if scope["type"] == "http" else None
        if refused is None:
            await self.app(scope, receive, send)
            return
        status, message = refused
        content = json.dumps({"error": {"message": message, "code": status}}).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(content))]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": content})

    def refusal(self, scope: Mapping[str, Any]) -> tuple[int, str] | None:
        """Return the status and the message for a request that is refused, None for any other."""
        path = scope["path"].rstrip("/")
        if path in CLOSED:
            return 403, f"{path} is closed: this server serves one model"
        given = b"".join(value for name, value in scope["headers"] if name == b"authorization")
        if self.key and path not in OPEN and not hmac.compare_digest(given, b"Bearer " + self.key):
            return 401, "the API key is missing or wrong"
        return None


def name_model(name: str, model: Path) -> None:
    """Make the directory of the model the relative path `name` of the new working directory."""
    shutil.rmtree(NAMES, ignore_errors=True)  # the name of an earlier start
    link = NAMES / name
    if link.is_absolute() or ".." in link.parts or link == NAMES:
        raise SystemExit(f"{name!r} is not a name that a model can have")
    if not model.is_dir():
        raise SystemExit(f"no model in {model}")
    link.parent.mkdir(parents=True)
    link.symlink_to(model)
    os.chdir(NAMES)


def describe(model: Any, device: str) -> str:
    """Return where the model is and what it computes with; end where a part of it is not on the GPU."""
    places = getattr(model, "hf_device_map", None) or {"": getattr(model, "device", device)}
    away = [part for part, place in places.items() if str(place).split(":")[0] in NOT_ON_GPU]
    if device != "cpu" and away:
        text = f"{len(away)} of {len(places)} parts of the model did not fit into the memory of the GPUs"
        raise SystemExit(text)
    attention = getattr(model.config, "_attn_implementation", None)
    kind = str(model.dtype).replace("torch.", "")
    on_gpu = f"{len(places) - len(away)} of {len(places)} parts on the GPU"
    return f"model loaded: {on_gpu}, dtype {kind}, attention {attention}"


def close_what_is_open(key: str, device: str) -> None:
    """Have the server built with the guard before it, once the model is loaded."""
    server: Any = importlib.import_module("transformers.cli.serving.server")
    build = server.build_server

    def build_guarded(model_manager: Any, *arguments: Any, **options: Any) -> Any:
        for loaded in model_manager.loaded_models.values():
            sys.stderr.write(describe(loaded.model, device) + "\n")
        app = build(model_manager, *arguments, **options)
        app.add_middleware(Guard, key=key)
        return app

    server.build_server = build_guarded


def main() -> None:
    """Serve until systemd ends it; what follows `--` goes to `transformers serve` as it is."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--name", required=True, help="name that clients use")
    parser.add_argument("--model", type=Path, required=True, help="directory of the model")
    parser.add_argument("--device", required=True, help="device, as the server takes it")
    parser.add_argument("arguments", nargs="*", help="arguments of the server")
    options = parser.parse_args()
    # Read once and not left to whatever the model's own code may start.
    key = os.environ.pop(KEY_VARIABLE, "")
    name_model(options.name, options.model)
    close_what_is_open(key, options.device)
    commands = importlib.import_module("transformers.cli.transformers")
    arguments = ["serve", options.name, "--device", options.device, *options.arguments]
    commands.app(arguments, prog_name="transformers")


if __name__ == "__main__":
    main()
