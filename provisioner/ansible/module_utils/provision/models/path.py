# SPDX-License-Identifier: Apache-2.0
"""Find what an engine loads in a directory of the host, filled by the store or by its user."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..host.fault import Fault
from .files import SAFETENSORS, RemoteFile, Wanted, read_manifest
from .gguf import SUFFIX, the_one
from .select import GGUF, TITLES, selected


def check_path(model: dict[str, Any]) -> None:
    """Refuse a directory or file of the user that no engine could serve."""
    wanted, directory = Wanted.of(model), Path(model["directory"])
    title = TITLES[wanted.format]
    who = f"the model of {', '.join(model['services'])} must be served from"
    own = Path(wanted.model)
    a_file = own.suffix.lower() == SUFFIX
    if not (own.is_file() if a_file else directory.is_dir()):
        missing = f"{own}, which is not a file" if a_file else f"{directory}, which is not a directory"
        raise Fault(
            f"{who} {missing} on this host",
            "put the model there, or let provision download it with serve_model_source: huggingface",
        )
    names = [remote.name for remote in held(wanted, directory)]
    if wanted.format == SAFETENSORS:
        # Engines look for these in the directory itself.
        names = [name for name in names if "/" not in name]
    if not any(name.lower().endswith(f".{wanted.format}") for name in names):
        raise Fault(
            f"{who} {directory}, which does not contain a {title} file",
            f"convert the model to {title}, or set serve_model to the directory that contains the files",
        )
    if wanted.format == GGUF:
        loaded(wanted, directory)


def held(wanted: Wanted, directory: Path) -> list[RemoteFile]:
    """List a model's files: those the store has recorded, or all in the directory and one level below."""
    manifest = read_manifest(directory) if wanted.source != "path" else None
    if manifest:
        return [RemoteFile(name, known.size) for name, known in manifest.files.items()]
    paths = sorted(path for pattern in ("*", "*/*") for path in directory.glob(pattern) if path.is_file())
    return [RemoteFile(path.relative_to(directory).as_posix(), path.stat().st_size) for path in paths]


def loaded(wanted: Wanted, directory: Path) -> Path:
    """Return the GGUF file that an engine is given; it finds the other parts of a split model itself."""
    chosen = selected(held(wanted, directory), wanted.include, wanted.exclude)
    return Path(directory, the_one(chosen, f"{directory} contains").files[0].name)
