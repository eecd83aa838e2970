# SPDX-License-Identifier: Apache-2.0
"""Identify the weights that a service needs, and the folder of a host that contains them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from provisioner.fleet import variables
from provisioner.fleet.engines import Engine

GGUF = "gguf"
DEFAULT_REVISIONS = {"huggingface": "main", "modelscope": "master"}


@dataclass(frozen=True)
class Model:
    """One set of weights and the folder from which they are served."""

    source: str
    name: str
    revision: str
    include: tuple[str, ...]
    exclude: tuple[str, ...]
    format: str
    directory: str
    allow_unsafe: bool
    kept_by_engine: bool = False

    @property
    def is_pinned(self) -> bool:
        """Return whether every later download gets the same bytes, as far as the inventory says."""
        if self.kept_by_engine:
            return bool(self.revision)
        return self.revision != DEFAULT_REVISIONS.get(self.source)


def identify(engine: Engine, settings: Mapping[str, Any], given: Mapping[str, Any]) -> Model:
    """Return the model of one service; `given` also holds the variables of the model store."""
    source, name = str(settings["serve_model_source"]), str(settings["serve_model"])
    revision = str(settings.get("serve_model_revision") or DEFAULT_REVISIONS.get(source, ""))
    include, exclude = texts(settings.get("serve_model_include")), texts(settings.get("serve_model_exclude"))
    directory = ""
    kept_by_engine = engine.keeps_itself(source)
    if engine.library and kept_by_engine:
        revision = revision.removeprefix(engine.library.revision_prefix)
    elif source != "path":
        root = given.get("model_store_root") or variables.defaults("model_store").get("model_store_root")
        directory = f"{root}/{source}/{_folder(name, revision, include, exclude, engine.formats[0])}"
    elif is_gguf_file(name):
        directory, include = str(PurePosixPath(name).parent), (PurePosixPath(name).name,)
    else:
        directory = name
    return Model(
        source=source,
        name=name,
        revision=revision,
        include=include,
        exclude=exclude,
        format=engine.formats[0],
        directory=directory,
        allow_unsafe=name in texts(given.get("model_store_unsafe_models")),
        kept_by_engine=kept_by_engine,
    )


def is_gguf_file(name: str) -> bool:
    """Return whether `name` is that of one GGUF file, not of a folder or a repository."""
    return name.lower().endswith(f".{GGUF}")


def texts(value: object) -> tuple[str, ...]:
    """Return the items of a list as texts; anything else has none."""
    sequence = value if isinstance(value, Sequence) and not isinstance(value, str) else ()
    return tuple(map(str, sequence))


def _folder(name: str, revision: str, include: Sequence[str], exclude: Sequence[str], form: str) -> str:
    folder = f"{name.replace('/', '--')}/{revision.replace('/', '--')}"
    if include or exclude:
        # Another choice of files is another copy, or two services would undo each other's.
        folder += "-" + hashlib.sha256(repr((include, exclude)).encode()).hexdigest()[:8]
    return f"{folder}-{form}" if form == GGUF else folder
