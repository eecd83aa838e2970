# SPDX-License-Identifier: Apache-2.0
"""Find which routes of a server answer without its API key, and harm nothing while asking."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from . import tasks
from .client import CHAT, COMPLETIONS, Engine, NoAnswerError

# A server that declares no routes is asked at the ones that engines are known to have.
KNOWN = (
    *(CHAT, COMPLETIONS, "/v1/responses", "/v1/messages", "/v1/embeddings", "/v1/rerank", "/v1/score"),
    *("/completion", "/completions", "/chat/completions", "/infill", "/embedding", "/embeddings", "/rerank"),
    *("/invocations", "/pooling", "/classify", "/score", "/api/generate", "/api/chat", "/api/embed"),
)
# These read a request by themselves, so the server does not declare that they take one.
_RAW = ("/invocations",)
# What a route does at its end, where it uses the tokenizer or the server's own state and not the model.
_WITHOUT_MODEL = {
    *("tokenize", "detokenize", "apply-template", "render", "derender", "count_tokens", "cancel"),
    *("abort_requests", "load_lora_adapter", "unload_lora_adapter", "ping", "load_model", "reset"),
}
# Not JSON: a route that is open refuses it, whatever it would have done.
_NOTHING = "{"
_GUARDED = (401, 403)
_ABSENT = (404, 405)


def unguarded(engine: Engine) -> list[str]:
    """Return the routes that use the model and answer although the request has no key."""
    stranger = replace(engine, key="")
    asked = (path for path in generating(tasks.routes(engine)) if _status(stranger, path) not in _GUARDED)
    return sorted(asked)


def generating(declared: dict[str, Any]) -> list[str]:
    """Return the routes that use the model, of those that a server declares."""
    if not declared:
        return list(KNOWN)
    return [
        path
        for path, methods in declared.items()
        if path.rstrip("/").rpartition("/")[2] not in _WITHOUT_MODEL
        and "{" not in path
        and ("requestBody" in methods.get("post", {}) or path in _RAW)
    ]


def _status(stranger: Engine, path: str) -> int:
    """Return the status of a request without a key; an absent route is as good as a guarded one."""
    try:
        status = stranger.post(path, _NOTHING)
    except NoAnswerError:
        return _GUARDED[0]
    return _GUARDED[0] if status in _ABSENT else status
