# SPDX-License-Identifier: Apache-2.0
"""Remove the model store from a host: its jobs, programs, tokens and notes, and on request its models."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, Iterator

from ..host.systemd import state
from ..jobs.unit import stop
from .files import MANIFEST

SOURCES = ("huggingface", "modelscope")


def leftovers(params: dict[str, Any]) -> Iterator[Path]:
    """Yield what the store keeps besides models."""
    yield from sorted(Path(params["programs"]).glob("model-store-*.pyz"))
    yield from sorted(Path(params["settings"]).glob("model_store*"))
    yield from sorted(Path(params["runtime"]).glob("provision-job-model-*"))
    cache = Path(params["cache"])
    if cache.exists():
        yield cache


def models(root: Path) -> Iterator[Path]:
    """Yield the directories that the store created, finished or not; others below the root stay."""
    for source in SOURCES:
        for directory in sorted(root.glob(f"{source}/*/*")):
            if directory.name.endswith(".partial") or (directory / MANIFEST).is_file():
                yield directory


def remove(module: Any) -> dict[str, Any]:
    """Remove what exists and return what it was."""
    params = module.params
    runtime = Path(params["runtime"])
    units = sorted({path.name.split(".")[0] for path in runtime.glob("provision-job-model-*")})
    running = [unit for unit in units if state(unit).running]
    rubbish = [*leftovers(params), *(models(Path(params["root"])) if params["purge"] else [])]
    if not module.check_mode:
        for unit in running:
            stop(unit)
        for path in rubbish:
            delete(path)
        if params["purge"]:
            drop_empty(Path(params["root"]))
    names = [*running, *map(str, rubbish)]
    before = "".join(f"{name}\n" for name in names)
    return {
        "changed": bool(names),
        "finished": True,
        "removed": names,
        "diff": {"before": before, "after": ""},
    }


def delete(path: Path) -> None:
    """Remove a file or directory; a model's manifest goes first, so that half of it never counts as one."""
    if path.is_dir() and not path.is_symlink():
        (path / MANIFEST).unlink(missing_ok=True)
        shutil.rmtree(str(path))
    else:
        path.unlink()


def drop_empty(root: Path) -> None:
    """Remove the folders above the models, and the root, where they are empty."""
    folders = [path for source in SOURCES for path in (*root.glob(f"{source}/*"), root / source)]
    for folder in [*folders, root]:
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
