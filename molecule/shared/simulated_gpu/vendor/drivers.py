# SPDX-License-Identifier: Apache-2.0
"""Turn the table of NVIDIA's driver packages into packages; pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from simulated_gpu.vendor.package import Package, Text
from simulated_gpu.vendor.parts import Build, Driver, files_of
from simulated_gpu.vendor.scripts import deb_scripts, rpm_scripts

UNSUFFIXED_SINCE = 590
Row = Mapping[str, Any]
Table = Mapping[str, Any]
PINS = """\
Package: nvidia-* libnvidia-* libnvsdm cuda-drivers* libcuda1 firmware-nvidia-gsp
Pin: version {pins}
Pin-Priority: 1001
"""


def ubuntu(table: Table, version: str, build: Build) -> list[Package]:
    """Return the packages of one version for NVIDIA's repositories for Ubuntu."""
    release = table["versions"][version].get("ubuntu", table["releases"]["ubuntu"])
    return [one for row in table["ubuntu"] for one in _debs(row, version, release, build)]


def debian(table: Table, version: str, build: Build) -> list[Package]:
    """Return the packages of one version for NVIDIA's repository for Debian: no name has a branch."""
    release = table["releases"]["debian"]
    rows = ({**row, "suffixed": False} for row in table["debian"])
    return [one for row in rows for one in _debs(row, version, release, build)]


def server(table: Table, ubuntu_release: str, build: Build) -> list[Package]:
    """Return the packages of the server branch in a release of Ubuntu itself."""
    release = f"0ubuntu0.{ubuntu_release}.1"
    rows = table["server_packages"]
    return [one for row in rows for one in _debs(row, table["server"], release, build)]


def redhat(table: Table, version: str, major: int, build: Build) -> list[Package]:
    """Return the packages of one version for NVIDIA's repository for Red Hat's family."""
    return [one for row in table["redhat"] for one in _rpms(row, version, major, build)]


def streams(table: Table, major: int) -> str:
    """Return the description of the module streams of the repositories that have any."""
    documents = []
    for name, modules, versions in _streams(table):
        listed = "".join(f"      - {one}\n" for one in _artifacts(table, major, modules, versions))
        documents.append(STREAM.format(name=name, arch="x86_64", major=major, listed=listed))
    return "".join([*documents, DEFAULTS])


STREAM = """\
---
document: modulemd
version: 2
data:
  name: nvidia-driver
  stream: "{name}"
  version: 20260101000000
  context: simulated
  arch: {arch}
  summary: Nvidia driver {name}, a stand-in for tests
  description: A stand-in for tests.
  license:
    module: [Apache-2.0]
  dependencies:
    - requires:
        platform: [el{major}]
  artifacts:
    rpms:
{listed}...
"""
DEFAULTS = """\
---
document: modulemd-defaults
version: 1
data:
  module: nvidia-driver
  stream: open-dkms
...
"""


def _streams(table: Table) -> Iterator[tuple[str, str, list[str]]]:
    versions = list(table["versions"])
    yield "open-dkms", "open", versions
    yield "latest-dkms", "proprietary", versions
    for branch in sorted({version.partition(".")[0] for version in versions}):
        of_branch = [version for version in versions if version.startswith(f"{branch}.")]
        yield f"{branch}-open", "open", of_branch
        yield f"{branch}-dkms", "proprietary", of_branch


def _artifacts(table: Table, major: int, modules: str, versions: list[str]) -> list[str]:
    outside = table["outside_streams"]
    found = []
    for version in versions:
        for row in table["redhat"]:
            for words in _flavours(row, version, redhat=True):
                name = row["name"].format(**words)
                base = name.removesuffix(f"-{words['b']}")
                if base in outside or (row.get("kernel") and words["modules"] != modules):
                    continue
                arch = "noarch" if row.get("any") else "x86_64"
                found.append(f"{name}-{_epoch(row) or 0}:{version}-1.el{major}.{arch}")
    return found


def _flavours(row: Row, version: str, *, redhat: bool = False) -> Iterator[dict[str, str]]:
    """Return the words of a row's templates, once for each kind of kernel modules that it has."""
    branch = int(version.partition(".")[0])
    has_suffix = row.get("suffixed", True) and branch < UNSUFFIXED_SINCE
    common = {"v": version, "b": str(branch), "s": f"-{branch}" if has_suffix else ""}
    dash = "-open"
    if row.get("only") == "suffixed" and not has_suffix and not redhat:
        return
    opened = {"modules": "open", "o": dash, "other": "", "flavour": "open", "rival": "latest"}
    closed = {"modules": "proprietary", "o": "", "other": dash, "flavour": "latest", "rival": "open"}
    yield common | opened
    if row.get("kernel"):
        yield common | closed


def _relations(package: Package, row: Row, words: Mapping[str, str]) -> Package:
    """Return the package with what its row says of others."""

    def filled(kind: str) -> tuple[str, ...]:
        return tuple(one.format(**words) for one in row.get(kind, ()))

    return replace(
        package,
        depends=filled("depends"),
        recommends=filled("recommends"),
        provides=filled("provides"),
        conflicts=filled("conflicts"),
        replaces=filled("replaces"),
    )


def _debs(row: Row, version: str, release: str, build: Build) -> Iterator[Package]:
    for words in _flavours(row, version):
        evr = f"{version}-{release}"
        values = {**words, "evr": evr}
        name = row["name"].format(**values)
        driver = Driver(version, name, words["modules"])
        files = files_of(build, driver, row.get("holds", []))
        if pins := row.get("pins"):
            pinned = PINS.format(pins=pins.format(**values))
            files[f"/etc/apt/preferences.d/{name}"] = Text(pinned)
        kind = row.get("scripts") or ("blacklist" if "blacklist" in row.get("holds", []) else "")
        kind = kind or ("libraries" if "nvml" in row.get("holds", []) else "")
        package = Package(
            name,
            version,
            release,
            f"NVIDIA driver {version}, {name}",
            any_arch=row.get("any", False),
            files=files,
            scripts=deb_scripts(kind, "nvidia", version),
        )
        package = _relations(package, row, values)
        yield _excluding(package, words["s"]) if "{s}" in row["name"] else package


def _excluding(package: Package, suffix: str) -> Package:
    """Let a package and the one of the same name with or without its branch replace each other."""
    name = package.name
    if name.startswith(("nvidia-open", "cuda-drivers")):
        return package
    if suffix:
        rival = name.replace(suffix, "", 1)
    else:
        opened = "-open" if name.endswith("-open") else ""
        rival = f"{name.removesuffix('-open')}-580{opened}"
    return replace(package, conflicts=(*package.conflicts, rival), replaces=(*package.replaces, rival))


def _rpms(row: Row, version: str, major: int, build: Build) -> Iterator[Package]:
    for words in _flavours(row, version, redhat=True):
        release = f"1.el{major}"
        epoch = _epoch(row)
        evr = f"{epoch}:{version}-{release}" if epoch else f"{version}-{release}"
        values = {**words, "evr": evr}
        name = row["name"].format(**values)
        module = "nvidia-open" if words["modules"] == "open" else "nvidia"
        driver = Driver(version, name, words["modules"], module)
        package = Package(
            name,
            version,
            release,
            f"NVIDIA driver {version}, {name}",
            epoch=epoch,
            any_arch=row.get("any", False),
            files=files_of(build, driver, row.get("holds", [])),
            scripts=rpm_scripts(row.get("scripts", ""), module, version),
        )
        yield _relations(package, row, values)


def _epoch(row: Row) -> str:
    return "3" if row.get("epoch", True) else ""
