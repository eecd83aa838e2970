# SPDX-License-Identifier: Apache-2.0
"""Remove the model store from a host: its jobs, programs, tokens and notes, and on request its models."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Iterator

from ..host.entry import removal
from ..host.paths import drop_empty
from ..host.paths import remove as delete
from ..host.systemd import state
from ..jobs.unit import stop
from .files import MANIFEST

SOURCES = ("huggingface", "modelscope")


def leftovers(params: dict[str, Any]) -> list[Path]:
    """List what the store keeps besides models."""
    patterns = {
        "programs": "model-store-*.pyz",
        "settings": "model_store*",
        "runtime": "provision-job-model-*",
    }
    found = [path for key, pattern in patterns.items() for path in sorted(Path(params[key]).glob(pattern))]
    return [*found, *filter(Path.exists, [Path(params["cache"])])]


def models(root: Path) -> Iterator[Path]:
    """Yield the directories that the store created, finished or not; others below the root stay."""
    for source in SOURCES:
        for directory in sorted(root.glob(f"{source}/*/*")):
            if directory.name.endswith(".partial") or (directory / MANIFEST).is_file():
                yield directory


def remove(module: Any) -> dict[str, Any]:
    """Remove what exists and return what it was."""
    params, root = module.params, Path(module.params["root"])
    jobs = Path(params["runtime"]).glob("provision-job-model-*")
    running = [unit for unit in sorted({path.name.split(".")[0] for path in jobs}) if state(unit).running]
    rubbish = [*leftovers(params), *(models(root) if params["purge"] else ())]
    if not module.check_mode:
        for unit in running:
            stop(unit)
        for path in rubbish:
            delete(path, MANIFEST)
        if params["purge"]:
            folders = [path for source in SOURCES for path in (*root.glob(f"{source}/*"), root / source)]
            drop_empty(*folders, root)
    return removal([*running, *rubbish])
