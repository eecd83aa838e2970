# SPDX-License-Identifier: Apache-2.0
"""Check that driver, CUDA toolkits and engines of a host are compatible, from the inventory alone."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from provisioner.fleet import stack as chains
from provisioner.fleet import stack_table, variables
from provisioner.fleet.findings import Finding
from provisioner.fleet.services import Service
from provisioner.fleet.stack import Chain
from provisioner.fleet.stack_table import Table
from provisioner.versions import Version

DRIVER, STATE, MODULES = "nvidia_driver_version", "nvidia_driver_state", "nvidia_driver_modules"
VERSIONS, DEFAULT, HASHES = "cuda_toolkit_versions", "cuda_toolkit_default", "cuda_toolkit_runfile_sha256"
_INSTALLER = re.compile(r"cuda_([0-9]+\.[0-9]+\.[0-9]+)(_[0-9]+(\.[0-9]+)+)?_linux(_sbsa)?\.run")
_SHA256 = re.compile(r"(?i)[0-9a-f]{64}")


def resolve(given: Mapping[str, Any], services: Sequence[Service]) -> tuple[Chain, list[Finding]]:
    """Return the driver, toolkits and engines of a host, with notes, and what cannot work."""
    chain, table = chains.requested(given, services), stack_table.load()
    findings = [
        *_driver(chain),
        *_list(given),
        *_modules(chain, table),
        *_versions(chain, table),
        *_default(chain),
        *_installers(chain, given),
        *_toolkit_driver(chain, table),
        *_engine_driver(chain),
    ]
    return dataclasses.replace(chain, notes=tuple(_notes(chain, table))), findings


def _driver(chain: Chain) -> Iterator[Finding]:
    version = chain.driver.version
    if version and not chains.DRIVER.fullmatch(version):
        near = chains.DRIVER.search(version)
        hint = f"did you mean {near[0]}?" if near else "such as 580, or 580.159.04"
        yield Finding(DRIVER, "is neither a driver branch nor a driver version", version, True, hint)


def _list(given: Mapping[str, Any]) -> Iterator[Finding]:
    """Find text or a number instead of a list: the role counts its items."""
    given_versions = given.get(VERSIONS)
    if not isinstance(given_versions, (list, type(None))) and not variables.is_deferred(given_versions):
        hint = "such as ['13.0']; `-e` takes a list as JSON"
        yield Finding(VERSIONS, "must be a list", given_versions, True, hint)


def _modules(chain: Chain, table: Table) -> Iterator[Finding]:
    branch, modules = chain.driver.branch, chain.driver.modules
    if branch is None:
        return
    if modules == chains.PROPRIETARY and branch > table.proprietary_until:
        reason = f"do not exist in driver branch {branch}: {table.proprietary_last.statement}"
        hint = f"set {MODULES}: open, or {DRIVER} to {table.proprietary_until} or older"
        yield Finding(MODULES, reason, modules, True, hint)
    if modules == chains.OPEN and branch < table.open_since:
        reason = f"do not exist in driver branch {branch}: {table.open_first.statement}"
        hint = f"set {MODULES}: proprietary, or {DRIVER} to {table.open_since} or newer"
        yield Finding(MODULES, reason, modules, True, hint)


def _versions(chain: Chain, table: Table) -> Iterator[Finding]:
    seen: dict[str, str] = {}
    for version in chain.toolkits.versions or ():
        release = chains.release_of(version)
        if variables.is_deferred(version):
            continue
        if not release:
            yield _of_versions(
                chain, f"contains {version}, which is not a CUDA version", "such as 13.0 or 13.0.2"
            )
        elif release in seen:
            reason = f"contains CUDA {release} twice, and both would be in the same directory"
            yield _of_versions(chain, reason, f"remove {seen[release]} or {version}")
        elif Version(release) < Version(table.oldest.name):
            reason = f"contains CUDA {version}, but CUDA {table.oldest.name} is the oldest supported release"
            yield _of_versions(chain, reason, f"use CUDA {table.oldest.name} or newer")
        seen.setdefault(release, version)


def _default(chain: Chain) -> Iterator[Finding]:
    default, versions = chain.toolkits.default, chain.toolkits.versions
    if not default or versions is None:
        return
    if default not in (*versions, *map(chains.release_of, versions)):
        listed = ", ".join(versions) or "empty"
        reason = f"is not in {VERSIONS} ({listed})"
        hint = f"choose one of them, or remove {DEFAULT} to use the first"
        yield Finding(DEFAULT, reason, default, True, hint)


def _installers(chain: Chain, given: Mapping[str, Any]) -> Iterator[Finding]:
    own = given.get(HASHES) or {}
    if chain.toolkits.source != chains.RUNFILE or variables.is_deferred(own) or not isinstance(own, Mapping):
        return
    for name, sha256 in own.items():
        if not _INSTALLER.fullmatch(str(name)) or not _SHA256.fullmatch(str(sha256).strip()):
            reason = f"contains {name}: {sha256}, which is not a CUDA installer with its sha256"
            hint = "write the name as NVIDIA does, such as cuda_13.0.2_580.95.05_linux.run, and 64 hex digits"
            yield Finding(HASHES, reason, hint=hint)
    names = [_INSTALLER.fullmatch(str(name)) for name in (*stack_table.runfiles(), *own)]
    known = sorted({found.group(1) for found in names if found}, key=Version)
    for version in chain.toolkits.versions or ():
        fits = any(one == version or one.startswith(f"{version}.") for one in known)
        if chains.release_of(version) and not fits:
            reason = f"contains CUDA {version}, and the sha256 of its installer is unknown"
            hint = f"add the installer with its sha256 to {HASHES}; known are {', '.join(known)}"
            yield _of_versions(chain, reason, hint)


def _toolkit_driver(chain: Chain, table: Table) -> Iterator[Finding]:
    branch = chain.driver.branch
    for version in chain.toolkits.versions or ():
        major = table.major(version)
        if branch is not None and major and branch < int(major.driver):
            reason = f"contains CUDA {version}, which needs driver {major.driver} or newer; {DRIVER} is "
            reason += f"{chain.driver.version} ({major.driver_source})"
            hint = f"set {DRIVER} to {major.driver} or newer, or use an older CUDA"
            yield _of_versions(chain, reason, hint)


def _engine_driver(chain: Chain) -> Iterator[Finding]:
    driver = chain.driver
    for engine in chain.engines:
        if driver.state == chains.ABSENT and engine.device == "cuda":
            reason = f"removes the driver, but {engine.unit} must run on a GPU"
            yield Finding(
                STATE, reason, driver.state, True, f"set {engine.device_variable}: cpu, or {STATE}: auto"
            )
        if driver.branch is None or not engine.shipped or not engine.minimum_driver:
            continue
        if variables.is_deferred(engine.device):
            continue
        if driver.branch < int(engine.minimum_driver.partition(".")[0]):
            needs = (
                f"contains CUDA {' or '.join(engine.cuda)} and needs driver {engine.minimum_driver} or newer"
            )
            ways = [f"set {DRIVER} to {engine.minimum_driver} or newer", f"{engine.device_variable}: cpu"]
            ways += [f"set {engine.unless[0]} to your own build"] if engine.unless else []
            reason = f"is too old for {engine.unit}: {engine.title} {needs}"
            yield Finding(DRIVER, reason, driver.version, True, ", or ".join(ways))


def _notes(chain: Chain, table: Table) -> Iterator[str]:
    driver, toolkits = chain.driver, chain.toolkits
    versions = [version for version in toolkits.versions or () if chains.release_of(version)]
    for version in versions:
        if table.major(version) is None and Version(version) > Version(table.oldest.name):
            yield f"CUDA toolkit {version} is newer than this tool knows, so it was not checked"
        own = table.drivers.get(chains.release_of(version))
        if own and driver.branch is not None and driver.branch < Version(own).major:
            what = "programs that it compiles run, but code that is translated on the host (PTX) does not"
            made = f"CUDA toolkit {version} was made with driver {own}"
            yield f"{made}, but {driver.version} is requested: {what}"
    if versions and toolkits.source == chains.PACKAGES and driver.source == "distribution":
        yield (
            "the driver is installed from the distribution and the CUDA toolkit from NVIDIA's repository, "
            "which has drivers too; cuda_toolkit_source: runfile needs no repository"
        )
    default = toolkits.default or (versions[0] if versions else "")
    for engine in chain.engines:
        majors = {one.partition(".")[0] for one in engine.cuda}
        if engine.shipped and chains.release_of(default) and default.partition(".")[0] not in majors:
            yield (
                f"{engine.title} contains CUDA {' or '.join(engine.cuda)}, but /usr/local/cuda will be "
                f"{default}: kernels that are compiled on the host might use the wrong one"
            )
        if driver.state == chains.ABSENT and engine.device != "cuda":
            yield f"{engine.unit} runs on the CPU, because {STATE} is absent"


def _of_versions(chain: Chain, reason: str, hint: str) -> Finding:
    return Finding(VERSIONS, reason, list(chain.toolkits.versions or ()), True, hint)
