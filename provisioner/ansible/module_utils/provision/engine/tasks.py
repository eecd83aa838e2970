# SPDX-License-Identifier: Apache-2.0
"""Prove that a model does its task: generate text, embed it, score documents for a query, or classify."""

from __future__ import annotations

import math
from typing import Any, Callable

from .client import CHAT, COMPLETIONS, Engine, NoAnswerError

AUTO, GENERATE, EMBED, SCORE, CLASSIFY = "auto", "generate", "embed", "score", "classify"
TASKS = (GENERATE, EMBED, SCORE, CLASSIFY)
OPENAPI, SHOW = "/openapi.json", "/api/show"
# What a server offers beside other routes comes last: one for scores can often classify as well.
_ROUTES = ((GENERATE, (CHAT, COMPLETIONS)), (EMBED, ("/v1/embeddings",)), (SCORE, ("/v1/rerank",)))
_LAST = ((CLASSIFY, ("/classify",)),)
_CAPABILITIES = (("completion", GENERATE), ("embedding", EMBED))


def declared(engine: Engine, model: str) -> str:
    """Return the task that the running server itself declares for the model; without one it generates."""
    paths = routes(engine)
    for task, offered in (*_ROUTES, *_LAST):
        if any(path in paths for path in offered):
            return task
    if paths:
        return GENERATE
    known = _answer(engine, SHOW, {"model": model}).get("capabilities")
    capabilities = known if isinstance(known, list) else []
    return next((task for name, task in _CAPABILITIES if name in capabilities), GENERATE)


def routes(engine: Engine) -> dict[str, Any]:
    """Return the routes that the server declares, empty if it declares none."""
    paths = _answer(engine, OPENAPI).get("paths")
    return paths if isinstance(paths, dict) else {}


def _answer(engine: Engine, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return a document, empty where the server has none; a server that does not answer is a failure."""
    try:
        found = engine.document(path, body)
    except NoAnswerError as error:
        if not error.status:
            raise
        return {}
    return found if isinstance(found, dict) else {}


def prove(engine: Engine, task: str, model: str, text: str, seconds: float) -> str:
    """Return the evidence that the model embeds, scores or classifies a text."""
    path, body, judge = _PROOFS[task]
    document = engine.document(path, {"model": model, **body(text)}, seconds)
    try:
        return judge(document)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise NoAnswerError(f"{path} answered with something that is not {_NAMES[task]}") from error


def _embedding(document: Any) -> str:
    numbers = _numbers(document["data"][0]["embedding"])
    if not any(numbers):
        raise NoAnswerError("the embedding consists of zeros")
    return f"an embedding of {len(numbers)} numbers"


def _score(document: Any) -> str:
    (score,) = _numbers([document["results"][0]["relevance_score"]])
    return f"a score of {score:.3g}"


def _classes(document: Any) -> str:
    found = document["data"][0]
    shares = _numbers(found["probs"])
    return f"the class {found.get('label')} of {len(shares)}, with a probability of {max(shares):.2f}"


def _numbers(values: Any) -> list[float]:
    """Return numbers; raises ValueError if there are none, or one is not finite."""
    numbers = [float(value) for value in values]
    if not numbers or not all(map(math.isfinite, numbers)):
        raise ValueError("no finite numbers")
    return numbers


_NAMES = {EMBED: "an embedding", SCORE: "a score", CLASSIFY: "a classification"}
_PROOFS: dict[str, tuple[str, Callable[[str], dict[str, Any]], Callable[[Any], str]]] = {
    EMBED: ("/v1/embeddings", lambda text: {"input": text}, _embedding),
    SCORE: ("/v1/rerank", lambda text: {"query": text, "documents": [text]}, _score),
    CLASSIFY: ("/classify", lambda text: {"input": text}, _classes),
}
