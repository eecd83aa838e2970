# SPDX-License-Identifier: Apache-2.0
"""The steps around a job that pulls and creates Ollama's models: what is in doubt, orders, outcome."""

from __future__ import annotations

import contextlib
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ansible.module_utils.provision.host.fault import Fault
from ansible.module_utils.provision.host.owners import Owner

from .api import Api, OllamaError
from .names import Name
from .orders import NamedOrders, Orders
from .record import read_record, write_record
from .store import Store
from .unit import Stage, limits, mark, settle_stamps
from .wanted import Wanted, doubt


def doubted(models: list[Wanted], record: dict[str, Any]) -> dict[str, str]:
    """Return why each model may not be as requested; those that are as requested are left out."""
    store = Store(Path(record["root"]))
    reasons = {
        model.name: doubt(store, model, record["models"].get(model.name, {}), record["stamps"])
        for model in models
    }
    return {name: reason for name, reason in reasons.items() if reason}


def diffs(models: list[Wanted], doubts: dict[str, str], record: dict[str, Any]) -> list[dict[str, str]]:
    """Return the difference of each model that Ansible shows."""
    return [
        {
            "before_header": f"{model.name} ({doubts[model.name]})",
            "after_header": model.name,
            "before": record["models"].get(model.name, {}).get("text", ""),
            "after": model.text,
        }
        for model in models
        if model.name in doubts
    ]


def owner_diffs(root: str, before: Owner | None, user: str) -> list[dict[str, str]]:
    """Return the difference of a models directory that is given back to the engine's user."""
    headers = {"before_header": root, "after_header": root}
    return [{**headers, "before": f"owner {before}\n", "after": f"owner {user}:{user}\n"}] if before else []


def prepare(params: dict[str, Any], models: list[Wanted], doubts: set[str], record: dict[str, Any]) -> Orders:
    """Record what is about to be created, prepare files, and return the job's orders."""
    root = record["root"]
    store = Store(Path(root))
    needed = [model for model in models if model.name in doubts]
    for model in needed:
        # Noted before it is created, so that it is known as ours even if this run is interrupted.
        known = store.place(Name.parse(model.name)).exists()
        record["models"].setdefault(model.name, {"made": not known, "pending": True})
    write_record(record)
    mark(Path(root))
    stage = Stage(Path(root), params["user"])
    files = [file for model in needed for file in (*model.files, *model.changes.get("adapter_files", ()))]
    for file in files:
        stage.add(file)
    readable = [file["path"] for file in files]
    return Orders(
        title=f"Pull and create models of {params['service']['unit']} into {root}",
        root=root,
        binary=params["binary"],
        registry=params["registry"].rstrip("/"),
        models=[asdict(model) for model in models],
        entries=record["models"],
        stamps=record["stamps"],
        staged=stage.paths,
        linked=stage.linked,
        limits=limits(root, readable, linked=bool(stage.linked)),
        **{key: params[key] for key in ("environment", "attempts", "stall_seconds", "reserve_bytes")},
    )


def keep(orders: Orders, reported: dict[str, Any], root: str) -> dict[str, Any]:
    """Record what the job has created; root does so, where the engine's user cannot write."""
    record: dict[str, Any] = read_record(root)
    record["models"].update(reported["models"])
    record["stamps"] = {**record["stamps"], **reported["stamps"]}
    for digest in reported["removed"]:
        record["stamps"].pop(digest, None)
    write_record(record)
    settle_stamps(orders.linked)
    return record


def unload(addresses: list[str], models: dict[str, Any]) -> None:
    """Make running Ollamas read replaced files again: the ones in their memory may be wrong."""
    for address in addresses:
        parts = urlsplit(address)
        api = Api(parts.hostname or "127.0.0.1", parts.port or 11434)
        for name in models:
            with contextlib.suppress(OllamaError):  # it is not running, or has not loaded this one
                api.ask("/api/generate", {"model": name, "keep_alive": 0}, seconds=30)


def left(orders: NamedOrders) -> list[str]:
    """Return which of the models to remove are still there."""
    store = Store(Path(orders.root))
    return [name for name in orders.names if store.place(Name.parse(name)).exists()]


def settled(
    params: dict[str, Any],
    models: list[Wanted],
    before: dict[str, Any],
    after: dict[str, Any],
    reported: dict[str, Any],
) -> dict[str, Any]:
    """Return what the job has changed; raises Fault where it did not last."""
    repaired, made = reported["repaired"], reported["models"]
    if repaired:
        unload(params["serving"], made)
    doubts = doubted(models, after)
    if doubts:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in doubts.items())
        raise Fault(
            f"models changed right after they were installed: {reasons}",
            "another program writes there: apply again",
        )
    moved = sorted(
        name
        for name, model in made.items()
        if any(before["models"].get(name, {}).get(key) != model[key] for key in ("inputs", "digest"))
    )
    result = {"changed": bool(moved or repaired), "models": moved, "repaired": repaired}
    warnings = [f"replaced: {text}" for text in repaired]
    return {**result, "provision": {"warning": warnings}} if warnings else result
