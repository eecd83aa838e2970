# SPDX-License-Identifier: Apache-2.0
"""Give lab hosts simulated GPUs and a simulated kernel, and change what they show.

`python molecule/shared/simulated_gpu/install.py HOST... [--lab NAME] [--kernel RELEASE] [--set key=value...]`
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from provisioner.errors import LabError
from provisioner.lab import SeedFile, copy_in, exec_in, platforms
from provisioner.lab.podman import connect
from provisioner.lab.spec import DEFAULT_LAB
from simulated_gpu import build

HOST = Path(__file__).parent / "host"
# As the images of stand-ins get them.
HEADERS = platforms.FOLDER / "headers.sh"
LIB = "/usr/lib/simulated-gpu"
STATE = "/etc/simulated-gpu/state"
UNIT = "simulated-gpu-boot.service"
# A reboot would end the services that hold the devices, and start those that are enabled.
BOOT = f"""
services="nvidia-persistenced nvidia-fabricmanager nvidia-imex"
systemctl stop $services 2>/dev/null
systemctl restart {UNIT}
for service in $services; do
    ! systemctl is-enabled --quiet $service 2>/dev/null || systemctl start $service
done
true
"""
# As a second kernel comes beside the first, be it an older one.
RPM = "rpm --install --nosignature --nodeps --oldpackage --replacepkgs"
ENROLL = """
for key in /etc/simulated-gpu/mok-new/*.der; do [ ! -e "$key" ] || mv "$key" /etc/simulated-gpu/mok/; done
"""
Value = str | int | None


def install(
    host: str,
    *,
    lab: str = DEFAULT_LAB,
    kernel: str | None = "oldest",
    vendor: Path | None = None,
    **state: Value,
) -> None:
    """Put the simulation into a host and start it; `kernel` is installed first (None for no kernel).

    `kernel` is a release, or `oldest` or `newest` of those in the distribution's simulated repository.
    """
    copy_in(host, list(_files()), lab=lab)
    set_state(host, lab=lab, **state)
    exec_in(host, ["sh", f"{LIB}/setup"], lab=lab)
    if kernel:
        install_kernel(host, kernel, lab=lab, vendor=vendor)
    boot(host, lab=lab)


def set_state(host: str, *, lab: str = DEFAULT_LAB, **state: Value) -> None:
    """Change words of the state; None takes one away. What the kernel shows follows at the next boot."""
    known = read_state(host, lab=lab)
    changed = {key: value for key, value in {**known, **state}.items() if value is not None}
    text = "".join(f"{key}={value}\n" for key, value in changed.items())
    copy_in(host, [SeedFile(STATE, text.encode())], lab=lab)


def read_state(host: str, *, lab: str = DEFAULT_LAB) -> dict[str, str]:
    """Return the words of the state that were set."""
    found = exec_in(host, ["cat", STATE], lab=lab, check=False)
    pairs = (line.partition("=") for line in found.text.splitlines() if "=" in line)
    return {key: value for key, _, value in pairs} if found.code == 0 else {}


def boot(host: str, *, lab: str = DEFAULT_LAB) -> None:
    """Start the simulated kernel anew, without a reboot: what is loaded is what would be loaded then."""
    exec_in(host, ["sh", "-c", BOOT], lab=lab)


def enroll(host: str, *, lab: str = DEFAULT_LAB) -> None:
    """Do at the console what follows `mokutil --import`: the keys that wait become trusted."""
    exec_in(host, ["sh", "-c", ENROLL], lab=lab)


def install_kernel(
    host: str, kernel: str, *, lab: str = DEFAULT_LAB, vendor: Path | None = None, headers: bool = False
) -> str:
    """Install a simulated kernel as a machine has one before anybody provisions it; return its release."""
    name = platform(host, lab)
    root = (vendor or build.ensure(connect())) / "distribution" / name
    files = kernel_files(root, kernel, headers=headers)
    if not files:
        have = ", ".join(releases(root)) or "none"
        raise LabError(f"the simulated {name} has no kernel {kernel}", f"it has: {have}")
    copy_in(host, [SeedFile(f"/var/tmp/kernel/{file.name}", file.read_bytes()) for file in files], lab=lab)  # noqa: S108
    program = RPM if name.startswith("rocky") else "dpkg --install"
    script = f"trap 'rm -r /var/tmp/kernel' EXIT; {program} /var/tmp/kernel/*"
    exec_in(host, ["sh", "-ec", script], lab=lab)
    return _release(files)


def releases(root: Path) -> list[str]:
    """Return the kernels that a simulated distribution has, the oldest first."""
    debs = (
        path.name.partition("_")[0].removeprefix("linux-image-")
        for path in root.glob("linux-image-[0-9]*.deb")
    )
    rpms = (path.name[len("kernel-core-") : -len(".rpm")] for path in root.glob("BaseOS/kernel-core-*.rpm"))
    return sorted([*debs, *rpms], key=_numbers)


def kernel_files(root: Path, kernel: str, *, headers: bool = False) -> list[Path]:
    """Return the packages of one kernel."""
    known = releases(root)
    names = {"oldest": known[:1], "newest": known[-1:]}.get(kernel, [kernel])
    wanted = names[0] if names else kernel
    parts = ("modules", "image", *(["headers"] if headers else []))
    debs = [path for part in parts for path in root.glob(f"linux-{part}-{wanted}_*.deb")]
    support = [
        *root.glob("simulated-kernel-support_*.deb"),
        *root.glob("BaseOS/simulated-kernel-support-*.rpm"),
    ]
    rpm_parts = ("", "-core", "-modules", "-modules-core", *(["-devel"] if headers else []))
    rpms = [path for part in rpm_parts for path in root.glob(f"*/kernel{part}-{wanted}.rpm")]
    return [*support, *debs, *rpms] if debs or rpms else []


def _release(files: Sequence[Path]) -> str:
    names = [file.name for file in files]
    found = [
        name.split("_")[0].removeprefix("linux-image-") for name in names if name.startswith("linux-image-")
    ]
    core = [name[len("kernel-core-") : -len(".rpm")] for name in names if name.startswith("kernel-core-")]
    return [*found, *core][0]


def _numbers(release: str) -> list[tuple[bool, int, str]]:
    parts = release.replace("-", ".").replace("_", ".").split(".")
    return [(part.isdigit(), int(part) if part.isdigit() else 0, part) for part in parts]


def platform(host: str, lab: str) -> str:
    """Return what a host plays, in the words of lab_image: ubuntu2404, rocky9."""
    said = exec_in(host, ["sh", "-c", '. /etc/os-release && echo "$ID $VERSION_ID"'], lab=lab).text.split()
    return said[0] + (said[1].replace(".", "") if said[0] == "ubuntu" else said[1].partition(".")[0])


def _files() -> Sequence[SeedFile]:
    found = [SeedFile(f"{LIB}/headers.sh", HEADERS.read_bytes(), 0o644)]
    for path in sorted(HOST.rglob("*")):
        if path.is_file():
            unit = path.suffix == ".service"
            target = f"/usr/lib/systemd/system/{path.name}" if unit else f"{LIB}/{path.relative_to(HOST)}"
            found.append(SeedFile(target, path.read_bytes(), 0o644 if unit else 0o755))
    return found


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description="give lab hosts simulated GPUs")
    parser.add_argument("hosts", nargs="+", metavar="HOST")
    parser.add_argument("--lab", default=DEFAULT_LAB)
    parser.add_argument("--kernel", default="oldest", help="a release, oldest, newest or none")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", dest="words")
    given = parser.parse_args()
    state: dict[str, Value] = {key: value for key, _, value in (word.partition("=") for word in given.words)}
    for host in given.hosts:
        kernel = None if given.kernel == "none" else given.kernel
        install(host, lab=given.lab, kernel=kernel, vendor=None, **state)
        sys.stdout.write(f"{host}: simulated GPUs are in\n")


if __name__ == "__main__":
    main()
