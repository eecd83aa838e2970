# SPDX-License-Identifier: Apache-2.0
"""Take the steps around a job that brings Ollama's models: what is in doubt, its orders, and its outcome."""

from __future__ import annotations

import contextlib
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from .api import Api, OllamaError
from .names import Name
from .record import read_record, write_record
from .store import Store
from .unit import Stage, limits, settle_stamps
from .wanted import Wanted, doubt


def doubted(models: list[Wanted], record: dict[str, Any]) -> dict[str, str]:
    """Return why each model may not be as it must; those that are as they must are left out."""
    store = Store(Path(record["root"]))
    reasons = {
        model.name: doubt(store, model, record["models"].get(model.name, {}), record["stamps"])
        for model in models
    }
    return {name: reason for name, reason in reasons.items() if reason}


def differs(before: dict[str, Any], after: dict[str, Any]) -> bool:
    """Tell whether a model is another than the record said."""
    return any(before.get(key) != after[key] for key in ("inputs", "digest"))


def diffs(models: list[Wanted], doubts: dict[str, str], record: dict[str, Any]) -> list[dict[str, str]]:
    """Return what Ansible shows as the difference of each model."""
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


def prepare(
    params: dict[str, Any], models: list[Wanted], doubts: set[str], record: dict[str, Any]
) -> dict[str, Any]:
    """Write down what is about to be made, lay out files, and return the job's orders."""
    root = record["root"]
    store = Store(Path(root))
    needed = [model for model in models if model.name in doubts]
    for model in needed:
        # Noted before it is made, so that a run that breaks off here still knows whose it is.
        known = (store.manifests / Name.parse(model.name).path).exists()
        record["models"].setdefault(model.name, {"made": not known, "pending": True})
    write_record(record)
    stage = Stage(Path(root), params["user"])
    files = [file for model in needed for file in (*model.files, *model.changes.get("adapter_files", ()))]
    for file in files:
        stage.add(file)
    readable = [file["path"] for file in files]
    return {
        "title": f"Bring models of {params['service']['unit']} into {root}",
        "root": root,
        "binary": params["binary"],
        "registry": params["registry"].rstrip("/"),
        "models": [asdict(model) for model in models],
        "entries": record["models"],
        "stamps": record["stamps"],
        "staged": stage.paths,
        "linked": stage.linked,
        "limits": limits(root, readable, linked=bool(stage.linked)),
        **{key: params[key] for key in ("environment", "attempts", "stall_seconds", "reserve_bytes")},
    }


def keep(orders: dict[str, Any], told: dict[str, Any], root: str) -> dict[str, Any]:
    """Record what the job has made; root does so, in a place that the engine's user cannot write."""
    record: dict[str, Any] = read_record(root)
    record["models"].update(told["models"])
    record["stamps"] = {**record["stamps"], **told["stamps"]}
    for digest in told["removed"]:
        record["stamps"].pop(digest, None)
    write_record(record)
    settle_stamps(orders["linked"])
    return record


def unload(addresses: list[str], models: dict[str, Any]) -> None:
    """Let running Ollamas read replaced files again: what they hold in memory may be the wrong ones."""
    for address in addresses:
        parts = urlsplit(address)
        api = Api(parts.hostname or "127.0.0.1", parts.port or 11434)
        for name in models:
            with contextlib.suppress(OllamaError):  # it is not running, or has not loaded this one
                api.ask("POST", "/api/generate", {"model": name, "keep_alive": 0}, seconds=30)
