# SPDX-License-Identifier: Apache-2.0
"""Know every word that an inventory may use: read from the roles' argument specifications, not listed."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from provisioner import content
from provisioner.errors import ProvisionError
from provisioner.fleet import engines

SERVE_PREFIX = "serve_"
SOURCE_WORD = "serve_model_source"
# Set by the command line for the playbooks, so an inventory that sets one would be overruled or lie.
COMMAND_LINE_WORDS = ("provision_consent", "provision_remove_models")


@dataclass(frozen=True)
class Word:
    """Describe one inventory word as its role specifies it."""

    name: str
    type: str
    elements: str | None
    choices: tuple[Any, ...]
    default: Any
    description: str
    owner: str


@dataclass(frozen=True)
class Catalog:
    """Hold all words and answer which one a reader may have meant."""

    words: Mapping[str, Word]
    prefixes: tuple[str, ...]
    serve_words: frozenset[str] = field(default_factory=frozenset)

    def owns(self, name: str) -> bool:
        """Tell whether `name` starts like a word of ours, so that it must be one."""
        return name.startswith(self.prefixes)

    def nearest(self, name: str, among: Iterable[str] | None = None, cutoff: float = 0.6) -> str | None:
        """Return the word most like `name`, or None when nothing is."""
        found = difflib.get_close_matches(name, list(among or self.words), n=1, cutoff=cutoff)
        return found[0] if found else None

    def knobs(self, engine: str) -> dict[str, Word]:
        """Return the words that belong to one engine's role."""
        return {name: word for name, word in self.words.items() if word.owner == f"engine_{engine}"}


@functools.cache
def load() -> Catalog:
    """Return the catalog of the shipped roles; it is read once."""
    serve = _words(content.roles() / "engine_common/meta/argument_specs.yml", "service", "engine_common")
    words = dict(serve)
    names = []
    for role in sorted(path.name for path in content.roles().iterdir() if path.is_dir()):
        names.append(role)
        found = _words(content.roles() / role / "meta/argument_specs.yml", "main", role)
        words |= {name: word for name, word in found.items() if name.startswith(f"{role}_")}
    words |= _words(content.lab_words(), "main", "lab")
    words[SOURCE_WORD] = _with_libraries(words[SOURCE_WORD])
    words = {name: word for name, word in words.items() if not name.startswith("engine_common_")}
    prefixes = (SERVE_PREFIX, "provision_", "lab_", "engine_", *(f"{name}_" for name in names))
    return Catalog(words, prefixes, frozenset(serve))


def _with_libraries(source: Word) -> Word:
    """Return the variable of a model's source with the libraries of engines among its choices."""
    libraries = {engine.library.name for engine in engines.load().values() if engine.library}
    return replace(source, choices=tuple(sorted({*source.choices, *libraries})))


def defaults(role: str) -> dict[str, Any]:
    """Return the public defaults of a role as they are written, templates and all."""
    path = content.roles() / role / "defaults/main.yml"
    return (yaml.safe_load(path.read_text()) or {}) if path.is_file() else {}


def _words(path: Path, entry: str, owner: str) -> dict[str, Word]:
    try:
        document = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise ProvisionError(
            f"cannot read the shipped specification {path}: {error}", "install it again"
        ) from error
    options = document.get("argument_specs", {}).get(entry, {}).get("options") or {}
    return {name: _word(name, option, owner) for name, option in options.items()}


def _word(name: str, option: Mapping[str, Any], owner: str) -> Word:
    description = option.get("description", "")
    return Word(
        name=name,
        type=option.get("type", "str"),
        elements=option.get("elements"),
        choices=tuple(option.get("choices", ())),
        default=option.get("default"),
        description=description if isinstance(description, str) else " ".join(description),
        owner=owner,
    )
