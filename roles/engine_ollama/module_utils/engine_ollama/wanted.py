# SPDX-License-Identifier: Apache-2.0
"""Read from a service's variables which models Ollama must have, and why one is not as requested."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Iterable

from ansible.module_utils.provision.host.fault import Fault
from ansible.module_utils.provision.models.files import read_manifest
from ansible.module_utils.provision.models.gguf import parts

from .modelfile import TEXTS, TRUE, hint, parameters, parse, render
from .names import Name, plain
from .store import Store

PULL, FILES, MODEL = "pull", "files", "model"
SETTINGS = ("system", "template", "adapter", "parameters", "modelfile")
ITEM_VARIABLES = ("name", "from", "preload", *SETTINGS)
_PIN = re.compile(r"(?:sha256:)?([0-9a-f]{12,64})")


@dataclass(frozen=True)
class Wanted:
    """Describe one required model: what it is created from, and with what changes."""

    name: str
    kind: str
    origin: str
    pin: str = ""
    files: list[dict[str, Any]] = field(default_factory=list)
    changes: dict[str, Any] = field(default_factory=dict)

    @property
    def base(self) -> Name | None:
        """Return the name of what is pulled for it, or of what it is created from; None for files."""
        if self.kind == PULL:
            return Name.parse(self.origin).base if self.changes else Name.parse(self.name)
        return Name.parse(self.origin) if self.kind == MODEL else None

    @property
    def text(self) -> str:
        """Return its Modelfile."""
        return render(self.origin, self.changes)

    def inputs(self, store: Store) -> str:
        """Return a digest of everything that decides what comes out."""
        document = asdict(self)
        if self.kind == MODEL:
            found = store.manifest(Name.parse(self.origin))
            document["origin_digest"] = found.digest if found else ""
        return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def wanted(service: dict[str, Any], gguf: str, modelfiles: dict[str, str]) -> list[Wanted]:
    """Return the models of a service, each after the one that it is created from."""
    (_, main), *items = _listed(service)
    found = [_main(service, gguf, changes(main, modelfiles))]
    for name, item in items:
        found.append(_item(name, item, found, modelfiles))
        same = [one.name for one in found if one.name.casefold() == name.casefold()]
        if len(same) > 1:
            raise Fault(
                f"{service['unit']} lists the model {' and '.join(dict.fromkeys(same))} twice",
                "give each item of engine_ollama_models another name; to Ollama, names have no case",
            )
    return found


def names(service: dict[str, Any]) -> list[str]:
    """Return the names of a service's models."""
    return [name for name, _ in _listed(service)]


def preloaded(service: dict[str, Any]) -> list[str]:
    """Return the further models that must be in memory before a service counts as up."""
    return [name for name, item in _listed(service) if str(item.get("preload", "")).lower() in TRUE]


def _listed(service: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Return the name and the settings of each model of a service, its own first."""
    source, model = service["serve_model_source"], service["serve_model"]
    main = {key: service.get(f"engine_ollama_{key}") for key in SETTINGS}
    main["from"] = model if source == "ollama" else f"{source}:{model}"
    items = service.get("engine_ollama_models") or ()
    return [(main_name(service), main), *((_item_name(item), item) for item in items)]


def _item_name(item: dict[str, Any]) -> str:
    if not item.get("name"):
        raise Fault("an item of engine_ollama_models has no name", "add one, such as name: smollm2:135m")
    return str(Name.parse(str(item["name"])))


def refuse_contradictions(service: dict[str, Any], others: list[dict[str, Any]]) -> None:
    """Refuse services that create different models of one name in one directory: one would undo the other."""
    own, root = _definitions(service), service["engine_ollama_models_dir"]
    for other in others:
        if other["unit"] == service["unit"] or other["engine_ollama_models_dir"] != root:
            continue
        for name, definition in _definitions(other).items():
            if own.get(name, definition) != definition:
                both = f"{service['unit']} and {other['unit']}"
                raise Fault(
                    f"{both} create different models of the name {name} in {root}",
                    "rename one in engine_ollama_models, or set another engine_ollama_models_dir",
                )


def _definitions(service: dict[str, Any]) -> dict[str, dict[str, Any]]:
    found = {}
    for name, item in _listed(service):
        given = {key: item[key] for key in (*SETTINGS, "from") if item.get(key)}
        origin = str(given.get("from") or name)
        found[name.casefold()] = {**given, "from": origin if ":" in origin else f"{origin}:latest"}
    return found


def main_name(service: dict[str, Any]) -> str:
    """Return the name of the model that a service is for, as Ollama lists it."""
    if service["serve_model_source"] == "ollama":
        return str(Name.parse(service["serve_model"]))
    return str(Name.parse(plain(service["served_name"])))


def _main(service: dict[str, Any], gguf: str, made: dict[str, Any]) -> Wanted:
    name = main_name(service)
    if service["serve_model_source"] != "ollama":
        return Wanted(name, FILES, gguf, files=file_identities(gguf), changes=made)
    given = str(service.get("serve_model_revision") or "")
    pin = _PIN.fullmatch(given)
    if given and not pin:
        raise Fault(
            f"serve_model_revision is {given!r}, which is not the digest of an Ollama model",
            "write the tag into serve_model, as in smollm2:135m; a revision is the ID of `ollama list`",
        )
    return Wanted(name, PULL, service["serve_model"], pin.group(1) if pin else "", changes=made)


def _item(name: str, item: dict[str, Any], before: list[Wanted], modelfiles: dict[str, str]) -> Wanted:
    for key in item:
        if key not in ITEM_VARIABLES:
            step = hint(str(key), ITEM_VARIABLES, "an item has " + ", ".join(ITEM_VARIABLES))
            raise Fault(f"{key} is not a key of an item of engine_ollama_models", step)
    made = changes(item, modelfiles)
    origin = str(item.get("from") or name)
    if origin.startswith("/"):
        return Wanted(name, FILES, origin, files=file_identities(origin), changes=made)
    listed = str(Name.parse(origin))
    if listed != name and any(one.name == listed for one in before):
        return Wanted(name, MODEL, listed, changes=made)
    return Wanted(name, PULL, origin, changes=made)


def changes(given: dict[str, Any], modelfiles: dict[str, str]) -> dict[str, Any]:
    """Return a model's changes: the Modelfile's instructions, overridden by variables."""
    path = given.get("modelfile")
    made = parse(modelfiles[str(path)]) if path else {}
    made.update({key: str(given[key]) for key in (*TEXTS, "adapter") if given.get(key)})
    if given.get("parameters"):
        made["parameters"] = {**made.get("parameters", {}), **parameters(given["parameters"])}
    if made.get("adapter"):
        if not str(made["adapter"]).startswith("/"):
            raise Fault(
                f"the adapter {made['adapter']} is not an absolute path", "set it to a GGUF file on the host"
            )
        made["adapter_files"] = file_identities(made["adapter"])
    return made


def file_identities(path: str) -> list[dict[str, Any]]:
    """Return the GGUF files that belong to one, with what is known of them without reading them."""
    first = Path(path)
    manifest = read_manifest(first.parent)
    known = manifest.files if manifest else {}
    projectors = sorted(name for name in known if name.startswith("mmproj") and name.endswith(".gguf"))
    return [_identity(first.parent / name, known) for name in [*parts(first.name), *projectors]]


def _identity(path: Path, known: dict[str, Any]) -> dict[str, Any]:
    if path.name in known:
        record = known[path.name]
        return {"path": str(path), "size": record.size, "sha256": record.sha256, "stored": True}
    try:
        found = path.stat()
    except OSError as error:
        raise Fault(
            f"{path} cannot be read: {error.strerror}", "put the GGUF file there, or correct the path"
        ) from error
    return {"path": str(path), "size": found.st_size, "changed": found.st_mtime_ns, "stored": False}


def doubt(store: Store, model: Wanted, entry: dict[str, Any], stamps: dict[str, Any]) -> str:
    """Return why a model may not be as requested, or nothing. Reads no blob."""
    found = store.manifest(Name.parse(model.name))
    if found is None:
        return "it does not exist"
    if not entry or entry.get("pending"):
        return "provision has not checked it yet"
    if entry.get("inputs") != model.inputs(store):
        return "what it is created from or with has changed"
    if entry.get("digest") != found.digest:
        return "it was changed by someone else"
    if (
        model.pin
        and not pinned(model.pin, [found.digest, entry.get("registry_digest", "")])
        and not model.changes
    ):
        return f"it is not {model.pin}"
    unsure = store.unsure(found.blobs, stamps)
    return f"{store.blob(unsure[0]).name} changed since its hash was checked" if unsure else ""


def pinned(pin: str, digests: Iterable[str]) -> bool:
    """Return whether one of the digests is the requested one."""
    return any(digest.startswith(pin) for digest in digests)
