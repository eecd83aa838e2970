# SPDX-License-Identifier: Apache-2.0
"""Check what the model of a service is served for: whether its engine can do that."""

from __future__ import annotations

import re
from collections.abc import Iterator

from provisioner.fleet import variables
from provisioner.fleet.engines import GENERATE
from provisioner.fleet.findings import Finding
from provisioner.fleet.services import Service

VARIABLE, EXPECTED = "serve_task", "serve_verify_expect"
AUTO = "auto"
# Names of models that generate no text, by what they are for.
_NAMES = (
    ("score", re.compile(r"(?i)rerank|cross-encoder")),
    ("embed", re.compile(r"(?i)embed|^sentence-\w+/|(^|[-_/.])(bge|gte|e5|minilm|mpnet)([-_.:]|$)")),
)


def check(service: Service) -> Iterator[Finding]:
    """Find a task that the engine does not support, and an expected text where there will be none."""
    task, engine = service.settings[VARIABLE], service.engine
    if variables.is_deferred([task, service.model.name]):
        return
    known = variables.load().variables[VARIABLE].choices
    if task == AUTO:
        meant = _meant(service.model.name)
        if meant and meant not in engine.tasks:
            reason = f"is a model for another task ({meant}) by its name, but {engine.title} supports "
            reason += ", ".join(engine.tasks)
            hint = f"choose one of `provision engines`, or set {VARIABLE}: {GENERATE} if it answers prompts"
            yield Finding("serve_model", reason, service.model.name, True, hint, service.item)
    elif task in known and task not in engine.tasks:
        reason = f"must be one of {', '.join((AUTO, *engine.tasks))} for {engine.title}"
        yield Finding(VARIABLE, reason, task, True, "`provision engines` lists the tasks", service.item)
    elif task != GENERATE and (expected := service.settings.get(EXPECTED)):
        reason = f"cannot be set with {VARIABLE} = {task}, because the answer is not a text"
        yield Finding(EXPECTED, reason, expected, True, "remove one of the two", service.item)


def _meant(name: str) -> str:
    """Return the task that the name of a model shows, empty if it shows none."""
    return next((task for task, pattern in _NAMES if pattern.search(name)), "")
