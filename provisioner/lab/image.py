# SPDX-License-Identifier: Apache-2.0
"""Build the images of lab hosts with mmdebstrap: a bare Debian with systemd and sshd, named by its recipe."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from provisioner.lab import controller, keyring, process
from provisioner.lab.podman import LABEL, Podman

SUITES = {"debian12": "bookworm", "debian13": "trixie", "debian-unstable": "unstable"}
# What every Debian server has; no Python and no download tool, so a role that needs one must install it.
PACKAGES = (
    "ca-certificates",
    "dbus",
    "iproute2",
    "libpam-systemd",
    "netbase",
    "openssh-server",
    "openssh-sftp-server",
    "procps",
    "sudo",
    "systemd-sysv",
    "tzdata",
)
# These would start package work on their own, in the middle of a test.
MASKED = (
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "dpkg-db-backup.timer",
    "systemd-networkd-wait-online.service",
)
USER = "lab"
SUDOERS = f"{USER} ALL=(ALL:ALL) NOPASSWD: ALL\n"
# A mirror may be a snapshot whose Release file has expired: a lab's business, never a real host's.
ANY_DATE = 'Acquire::Check-Valid-Until "false";'
BUILD_BYTES = 700 * 1024**2


@dataclass(frozen=True)
class Recipe:
    """Everything that an image is made from; equal recipes are the same image."""

    name: str
    suite: str
    sources: tuple[str, ...]
    packages: tuple[str, ...] = PACKAGES
    apt_options: tuple[str, ...] = ()
    certificates: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """Return twelve characters that change with anything in the recipe or in how it is built."""
        content = asdict(self) | {"certificates": {n: c.hex() for n, c in self.certificates.items()}}
        steps = [*(hook for _, hook in hooks(self, Path("/work"))), MASKED]
        return hashlib.sha256(json.dumps([content, steps], sort_keys=True).encode()).hexdigest()[:12]

    @property
    def tag(self) -> str:
        """Return the image's name in podman's storage."""
        return f"localhost/provision-lab/{self.name}:{self.digest}"

    @property
    def origin(self) -> str:
        """Return what is behind the name: nothing other than the name says."""
        return ""

    @property
    def made_of(self) -> str:
        """Return what it is made of, for messages."""
        return f"Debian {self.suite} from this machine's mirror"


def recipe(name: str) -> Recipe:
    """Return the recipe of one of the `SUITES` for this machine's mirror."""
    suite = SUITES[name]
    return Recipe(
        name=name,
        suite=suite,
        sources=controller.mirror().lines(suite),
        apt_options=controller.apt_options(),
        certificates=controller.certificates(),
    )


def build(podman: Podman, wanted: Recipe) -> None:
    """Build an image and put it into podman's storage; nothing is left when it fails."""
    with tempfile.TemporaryDirectory(prefix="provision-lab-") as folder:
        work = Path(folder)
        _write_inputs(wanted, work)
        tar = work / "root.tar"
        process.run(
            mmdebstrap_argv(wanted, work, tar),
            next_step=f"check that this machine reaches {_archive(wanted)}",
        )
        labels = ("--change", f"LABEL {LABEL}.recipe={wanted.digest}")
        podman.run("import", "--change", 'CMD ["/sbin/init"]', *labels, str(tar), wanted.tag)


def _archive(wanted: Recipe) -> str:
    return wanted.sources[0].split()[1] if wanted.sources else "Debian's archive"


def mmdebstrap_argv(wanted: Recipe, work: Path, tar: Path) -> list[str]:
    """Return the command that writes an image's file system to `tar`."""
    mode = "root" if os.geteuid() == 0 else "unshare"
    return [
        "mmdebstrap",
        "--quiet",
        f"--mode={mode}",
        "--variant=minbase",
        "--format=tar",
        f"--include={','.join(wanted.packages)}",
        f"--aptopt={ANY_DATE}",
        *(f"--aptopt={option}" for option in wanted.apt_options),
        "--dpkgopt=path-exclude=/usr/share/doc/*",
        "--dpkgopt=path-include=/usr/share/doc/*/copyright",
        "--dpkgopt=path-exclude=/usr/share/man/*",
        "--dpkgopt=path-exclude=/usr/share/info/*",
        "--dpkgopt=path-exclude=/usr/share/locale/*",
        *(f"{option}={hook}" for option, hook in hooks(wanted, work)),
        wanted.suite,
        str(tar),
        *wanted.sources,
    ]


def hooks(wanted: Recipe, work: Path) -> list[tuple[str, str]]:
    """Return what is done after the packages: certificates, the user, timers."""
    copies = [f"copy-in {work / name} /usr/local/share/ca-certificates" for name in _file_names(wanted)]
    commands = [
        *copies,
        'chroot "$1" update-ca-certificates >/dev/null',
        f'chroot "$1" useradd --create-home --shell /bin/bash {USER}',
        f'chroot "$1" install --directory --owner={USER} --group={USER} --mode=700 /home/{USER}/.ssh',
        f"copy-in {work / 'sudoers-lab'} /etc/sudoers.d",
        # Files that an ordinary user copies in are that user's, and sudo trusts none of those.
        'chroot "$1" chown --recursive root:root /etc/sudoers.d /usr/local/share/ca-certificates',
        # An empty file, not the text "uninitialized": a host that is up is past its first boot.
        ': > "$1/etc/machine-id"; rm -f "$1"/etc/ssh/ssh_host_*',
        f'systemctl --root="$1" mask --quiet {" ".join(MASKED)}',
    ]
    return [("--customize-hook", command) for command in commands]


def _file_names(wanted: Recipe) -> list[str]:
    # Its own prefix keeps them apart from the files that host_base installs and removes.
    return [f"lab-{name}" for name in sorted(wanted.certificates)]


def _write_inputs(wanted: Recipe, work: Path) -> None:
    # apt reads the keys as another user; nothing in here is a secret.
    work.chmod(0o755)
    keyring.check()
    for name, content in wanted.certificates.items():
        (work / f"lab-{name}").write_bytes(content)
    sudoers = work / "sudoers-lab"
    sudoers.write_text(SUDOERS)
    sudoers.chmod(0o440)
