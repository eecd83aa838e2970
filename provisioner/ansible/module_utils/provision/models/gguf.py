# SPDX-License-Identifier: Apache-2.0
"""Find GGUF models by the names of their files: each file is one, or a part of a split one."""

from __future__ import annotations

import glob
import re
from dataclasses import dataclass
from typing import Iterable

from ..host.fault import Fault
from .files import RemoteFile

SUFFIX = ".gguf"
PART = re.compile(r"(?P<stem>.+)-(?P<number>[0-9]{5})-of-(?P<count>[0-9]{5})\.gguf")
# A projector for pictures and sound is loaded beside a model and is not a model itself.
COMPANION = "mmproj"
GB, MB = 1e9, 1e6


@dataclass(frozen=True)
class Gguf:
    """One GGUF model: a file, or the existing parts of a split one; `name` is also a glob over them."""

    name: str
    files: tuple[RemoteFile, ...]

    @property
    def parts(self) -> list[str]:
        """Return the names of all its files, those that are missing among them."""
        return parts(self.files[0].name)

    @property
    def missing(self) -> list[int]:
        """Return the numbers of the missing parts."""
        held = {remote.name for remote in self.files}
        return [number for number, name in enumerate(self.parts, 1) if name not in held]

    def __str__(self) -> str:
        size = sum(remote.size for remote in self.files)
        measured = f"{size / GB:.2f} GB" if size >= GB else f"{size / MB:.1f} MB"
        held = f"{len(self.files)} of " if self.missing else ""
        split = f"{held}{len(self.parts)} parts, " if len(self.parts) > 1 else ""
        return f"{self.name} ({split}{measured})"


def is_model(name: str) -> bool:
    """Return whether a file is a GGUF model or a part of one."""
    return name.lower().endswith(SUFFIX) and not is_companion(name)


def is_companion(name: str) -> bool:
    """Return whether a file is loaded beside a GGUF model."""
    return name.lower().endswith(SUFFIX) and COMPANION in name.rpartition("/")[2].lower()


def whole(name: str) -> str:
    """Return what the parts of one split model have in common, or the file's name."""
    found = PART.fullmatch(name)
    return f"{found['stem']}-*-of-{found['count']}{SUFFIX}" if found else name


def parts(name: str) -> list[str]:
    """Return the names of all parts of the split model that a part belongs to, or the file's own name."""
    found = PART.fullmatch(name)
    count = int(found["count"]) if found else 0
    numbers = range(1, count + 1)
    return [f"{found['stem']}-{number:05}-of-{count:05}{SUFFIX}" for number in numbers] if found else [name]


def models(files: Iterable[RemoteFile]) -> list[Gguf]:
    """Return the models among files, each with its files in order."""
    found: dict[str, list[RemoteFile]] = {}
    for remote in sorted(files, key=lambda remote: remote.name):
        if is_model(remote.name):
            found.setdefault(whole(remote.name), []).append(remote)
    return [Gguf(name, tuple(held)) for name, held in found.items()]


def the_one(files: list[RemoteFile], there: str) -> Gguf:
    """Return the only model among files, or refuse; `there` starts the message: "/srv/model contains"."""
    found = models(files)
    if not found:
        raise Fault(
            f"{there} no GGUF model among the {len(files)} selected files",
            "check serve_model, serve_model_include and serve_model_exclude",
        )
    if len(found) > 1:
        companions = [remote.name for remote in files if is_companion(remote.name)][:1]
        example = ", ".join(f"'{_glob(name)}'" for name in (found[0].name, *companions))
        raise Fault(
            f"{there} {len(found)} GGUF models, but a service loads one: " + ", ".join(map(str, found)),
            f"choose one with serve_model_include, such as serve_model_include: [{example}]",
        )
    (one,) = found
    if one.missing:
        lacking = ", ".join(map(str, one.missing[:5])) + (", …" if len(one.missing) > 5 else "")
        raise Fault(
            f"{there} {one.name} without part {lacking} of {len(one.parts)}: a split model needs every part",
            "include every part with serve_model_include and serve_model_exclude, or choose another model",
        )
    return one


def _glob(name: str) -> str:
    """Return a glob for this name alone; the star of a split model stays one."""
    return glob.escape(name).replace("[*]", "*")
