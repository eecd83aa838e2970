# SPDX-License-Identifier: Apache-2.0
"""Build the simulated repositories of the platforms that are named, below a folder; runs in the container."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from simulated_gpu.vendor import (
    compiled,
    cuda,
    docker,
    drivers,
    index,
    kernels,
    kernels_apt,
    kernels_dnf,
    runfiles,
    standins,
    toolkit,
)
from simulated_gpu.vendor.package import Package
from simulated_gpu.vendor.parts import Build
from simulated_gpu.vendor.tools import build_debs, build_rpms, call

TABLES = Path(__file__).resolve().parents[1] / "tables"
# The names under which NVIDIA's repositories offer their key.
DEB_KEYS = {"ubuntu2604": "60DF8A40.pub", "debian13": "8793F200.pub"}
DEB_KEY = "3bf863cc.pub"
RPM_KEYS = {8: "D42D0685.pub", 9: "D42D0685.pub", 10: "CDF6BA43.pub"}
KEYS = ("deb", "rpm89", "rpm10", "container", "distribution")
MAJORS = (8, 9, 10)
PINNING_ALWAYS, PINNING_SINCE = "ubuntu2604", 590


def table(name: str) -> Any:
    """Read one of the tables."""
    return yaml.safe_load((TABLES / f"{name}.yml").read_text())


def platforms_of(kind: str) -> dict[str, Any]:
    """Return the rows of the platforms that are asked for, of one kind of distribution."""
    rows: dict[str, Any] = table("kernels")[kind]
    return {name: row for name, row in rows.items() if name in sys.argv[2:]}


def majors() -> list[int]:
    """Return the releases of Red Hat's family that are asked for."""
    return [int(name.removeprefix("rocky")) for name in platforms_of("rocky")]


@dataclass(frozen=True)
class Making:
    """Hold what every step needs."""

    out: Path
    work: Path
    keys: dict[str, str]

    @property
    def compiled(self) -> Path:
        """Return the folder of what was compiled."""
        return self.work / "compiled"

    def build(self, *, redhat: bool = False) -> Build:
        """Return where the compiled files are and belong."""
        return Build(self.compiled, "/usr/lib64", redhat=True) if redhat else Build(self.compiled)


def keys(out: Path) -> dict[str, str]:
    """Return the keys' fingerprints: those of an earlier build, which hosts trust, where it left them."""
    secret, listed = out / "signing.asc", out / "keys.json"
    if listed.exists():
        call(["gpg", "--batch", "--import", secret])
        known: dict[str, str] = json.loads(listed.read_text())
        return known
    made = {name: index.make_key(name) for name in KEYS}
    secret.write_text(call(["gpg", "--batch", "--armor", "--export-secret-keys"]))
    listed.write_text(json.dumps(made, indent=2) + "\n")
    return made


def compile_all(making: Making) -> None:
    """Compile everything that a package holds."""
    rows = table("drivers")
    compiled.stub(making.compiled)
    compiled.key(making.out)
    for version in rows["versions"]:
        compiled.libraries(version, making.compiled / "drivers" / version)
    chosen = {kind: platforms_of(kind) for kind in table("kernels")}
    compiled.modules(kernels.names(chosen), rows["server"], making.compiled, making.out)


def nvidia_apt(making: Making) -> None:
    """Write NVIDIA's repositories for apt; those for one distribution hold the same files."""
    rows, toolkits = table("drivers"), table("cuda")
    folders = {"ubuntu": making.work / "pool-ubuntu", "debian": making.work / "pool-debian"}
    for name, lay_out in (("ubuntu", drivers.ubuntu), ("debian", drivers.debian)):
        if not platforms_of(name):
            continue
        found = [one for version in rows["versions"] for one in lay_out(rows, version, making.build())]
        build_debs([*found, *_toolkits(toolkits, redhat=False)], making.work, folders[name])
    for platform in (*platforms_of("ubuntu"), *platforms_of("debian")):
        folder = making.out / "nvidia" / platform / "x86_64"
        folder.mkdir(parents=True)
        for file in folders[platform[:6]].iterdir():
            if platform == PINNING_ALWAYS or not _is_early_pin(file.name):
                (folder / file.name).hardlink_to(file)
        index.index_apt(folder, making.keys["deb"])
        for name in {DEB_KEYS.get(platform, DEB_KEY), DEB_KEY}:
            (folder / name).write_text(index.public_key(making.keys["deb"]))


def _is_early_pin(file: str) -> bool:
    name = file.partition("_")[0].removeprefix("nvidia-driver-pinning-")
    return file.startswith("nvidia-driver-pinning-") and int(name.partition(".")[0]) < PINNING_SINCE


def _toolkits(rows: Any, *, redhat: bool) -> list[Package]:
    return [
        one
        for release, row in rows["toolkits"].items()
        for version in row["versions"]
        for one in cuda.packages(rows, release, version, redhat=redhat)
    ]


def nvidia_dnf(making: Making, major: int) -> None:
    """Write NVIDIA's repository for one major release of Red Hat's family."""
    rows, toolkits = table("drivers"), table("cuda")
    folder = making.out / "nvidia" / f"rhel{major}" / "x86_64"
    key = making.keys["rpm10" if major == max(MAJORS) else "rpm89"]
    for version in rows["versions"]:
        found = drivers.redhat(rows, version, major, making.build(redhat=True))
        build_rpms(f"nvidia-{major}-{version}", found, making.work, folder, key)
    for release, row in toolkits["toolkits"].items():
        for version in row["versions"]:
            of_version = cuda.packages(toolkits, release, version, redhat=True)
            build_rpms(f"cuda-{major}-{version}", of_version, making.work, folder, key)
    index.index_dnf(folder, modules="" if major == max(MAJORS) else drivers.streams(rows, major))
    (folder / RPM_KEYS[major]).write_text(index.public_key(key))


def ubuntu(making: Making, name: str) -> None:
    """Write what a release of Ubuntu itself has: kernels, signed modules, the server branch."""
    rows, row = table("drivers"), table("kernels")["ubuntu"][name]
    found = [
        *kernels_apt.ubuntu(row, making.compiled),
        *kernels_apt.prebuilt(row, rows["server"], making.compiled),
        kernels_apt.support(making.out, ubuntu=True),
        *drivers.server(rows, row["release"], making.build()),
    ]
    _distribution(making, name, found, "simulated Ubuntu")


def debian(making: Making, name: str) -> None:
    """Write the kernels of a release of Debian; its hosts have all else from the real archive."""
    row = table("kernels")["debian"][name]
    found = [*kernels_apt.debian(row, making.compiled), kernels_apt.support(making.out, ubuntu=False)]
    _distribution(making, name, found, "simulated Debian")


def _distribution(making: Making, name: str, found: list[Package], label: str) -> None:
    folder = making.out / "distribution" / name
    build_debs(found, making.work, folder)
    index.index_apt(folder, making.keys["distribution"], label)
    (folder / "distribution.pub").write_text(index.public_key(making.keys["distribution"]))


def rocky(making: Making, major: int) -> None:
    """Write the repositories of one major release of Rocky."""
    root, key = making.out / "distribution" / f"rocky{major}", making.keys["distribution"]
    row = table("kernels")["rocky"][f"rocky{major}"]
    packages: dict[str, list[Package]] = {
        name: standins.rocky(rows, major) for name, rows in table("rocky").items()
    }
    packages["BaseOS"].append(kernels_dnf.support(making.out))
    version = call(["dpkg-query", "--show", "--showformat=${Version}", "dkms"]).partition("-")[0]
    files = call(["dpkg", "--listfiles", "dkms"]).splitlines()
    packages["epel"].append(standins.dkms(files, version, major))
    for name, found in packages.items():
        build_rpms(f"rocky{major}-{name}", found, making.work, root / name, key)
    for kernel in row["kernels"]:
        for name, found in kernels_dnf.rocky(row, kernel, making.compiled).items():
            build_rpms(f"kernel-{kernel}-{name}", found, making.work, root / name, key)
    for name, found in kernels_dnf.rocky(row, row["vault"], making.compiled).items():
        build_rpms(f"kernel-{row['vault']}-{name}", found, making.work, root / "vault", key)
    for name in (*packages, "vault"):
        index.index_dnf(root / name)
    (root / "distribution.pub").write_text(index.public_key(key))


def container_toolkit(making: Making) -> None:
    """Write the container toolkit's two repositories."""
    rows, root, key = table("toolkit"), making.out / "container-toolkit", making.keys["container"]
    debs, rpms = root / "deb/amd64", root / "rpm/x86_64"
    for version in rows["versions"]:
        build_debs(toolkit.packages(rows, version, making.build()), making.work, debs)
        found = toolkit.packages(rows, version, making.build(redhat=True))
        build_rpms(f"container-{version}", found, making.work, rpms)
    index.index_apt(debs, key, "simulated NVIDIA container toolkit")
    index.index_dnf(rpms, key)
    for folder in (root, debs, rpms):
        (folder / "gpgkey").write_text(index.public_key(key))


def docker_packages(making: Making) -> None:
    """Write Docker's repositories for Red Hat's family."""
    rows, key = table("docker"), making.keys["container"]
    for major in majors():
        folder = making.out / f"docker/{major}/x86_64"
        build_rpms(f"docker-{major}", docker.packages(rows, major), making.work, folder, key)
        index.index_dnf(folder)
    (making.out / "docker/gpg").write_text(index.public_key(key))


def all_runfiles(making: Making) -> None:
    """Write the runfiles of every driver and every toolkit."""
    for version in table("drivers")["versions"]:
        path = making.out / f"nvidia/runfile/{version}/NVIDIA-Linux-x86_64-{version}.run"
        runfiles.write(path, runfiles.driver(version, making.compiled / "drivers" / version))
    rows = table("cuda")
    for release in rows["toolkits"]:
        name, content = runfiles.toolkit(rows, release)
        runfiles.write(making.out / "cuda/runfile" / name, content)


def main() -> None:
    """Build everything."""
    out = Path(sys.argv[1])
    # On the same file system, so that files can be in several repositories at once.
    with tempfile.TemporaryDirectory(dir=out) as folder:
        making = Making(out, Path(folder), keys(out))
        compile_all(making)
        steps: list[Callable[[], None]] = [lambda: nvidia_apt(making), lambda: container_toolkit(making)]
        steps.append(lambda: docker_packages(making))
        steps += [lambda major=major: nvidia_dnf(making, major) for major in majors()]  # type: ignore[misc]
        steps += [lambda major=major: rocky(making, major) for major in majors()]  # type: ignore[misc]
        steps += [lambda name=name: ubuntu(making, name) for name in platforms_of("ubuntu")]  # type: ignore[misc]
        steps += [lambda name=name: debian(making, name) for name in platforms_of("debian")]  # type: ignore[misc]
        steps.append(lambda: all_runfiles(making))
        with ThreadPoolExecutor(2) as pool:
            for done in [pool.submit(step) for step in steps]:
                done.result()


if __name__ == "__main__":
    main()
