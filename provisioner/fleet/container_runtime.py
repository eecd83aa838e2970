# SPDX-License-Identifier: Apache-2.0
"""Check the variables of a host with a container engine, as its role does there."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from provisioner.fleet import variables
from provisioner.fleet.findings import Finding, of_variable

PREFIX = "container_runtime_"
_VERSION, _CDI = f"{PREFIX}toolkit_version", f"{PREFIX}cdi"
_ADDRESSES = ("repository", "docker_repository")
# As Ansible reads a truth value.
_FALSE = ("false", "no", "off", "n", "f", "0", "0.0")
_EXACT = re.compile(r"[0-9]+\.[0-9]+\.[0-9]+-[0-9]+")
_ADDRESS = re.compile(r"https?://[^\s/]+/\S+")


def check(given: Mapping[str, Any]) -> Iterator[Finding]:
    """Find what is wrong with the container variables, where the engine is known without a host."""
    engine = given.get(f"{PREFIX}engine")
    if engine not in ("podman", "docker"):
        return
    known = {name: value for name, value in given.items() if not variables.is_deferred(value)}
    # Only the role refuses vulnerable versions, so that such a host can still be inspected and cleaned.
    if _VERSION in known and not _EXACT.fullmatch(str(known[_VERSION])):
        hint = "write it as the package does, such as 1.20.1-1"
        yield of_variable(known, _VERSION, "must be a version with its revision", hint)
    if engine == "podman" and str(known.get(_CDI)).lower() in _FALSE:
        hint = f"set it to true, or set {PREFIX}engine to docker"
        yield of_variable(known, _CDI, "is false, but podman gives GPUs to containers only through CDI", hint)
    for name in (PREFIX + part for part in _ADDRESSES):
        # An empty one means that no repository is set.
        if known.get(name) and not _ADDRESS.fullmatch(str(known[name])):
            yield of_variable(known, name, "is not a URL", "write it as https://host/path")
