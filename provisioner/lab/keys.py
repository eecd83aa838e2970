# SPDX-License-Identifier: Apache-2.0
"""Keep a lab's SSH keys: one for the client, one for each host, and the known_hosts file with them.

They survive `provision lab down`, so a lab that is started again is already known.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from provisioner.lab import controller, process


def client_key(lab: str) -> Path:
    """Return the private key that logs in to a lab's hosts, made on first use."""
    return _ensure(controller.state_dir(lab) / "id_ed25519", f"provision lab {lab}")


def host_key(lab: str, host: str) -> Path:
    """Return the private key of one host, made on first use."""
    return _ensure(controller.state_dir(lab) / "hosts" / host / "ssh_host_ed25519_key", f"root@{host}")


def known_hosts_file(lab: str) -> Path:
    """Return the path of the known_hosts file of a lab."""
    return controller.state_dir(lab) / "known_hosts"


def write_known_hosts(lab: str, ports: Mapping[str, int]) -> None:
    """Write the host keys of a lab for ssh, one line for each published port."""
    lines = [known_hosts_line(port, public_half(host_key(lab, host))) for host, port in ports.items()]
    path = known_hosts_file(lab)
    text = "".join(lines)
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


def known_hosts_line(port: int, public_key: str) -> str:
    """Return one line of known_hosts for a port on the loopback address."""
    kind, key = public_key.split()[:2]
    return f"[127.0.0.1]:{port} {kind} {key}\n"


def public_half(private_key: Path) -> str:
    """Return the public key that belongs to a private key file."""
    return private_key.with_name(f"{private_key.name}.pub").read_text()


def _ensure(path: Path, comment: str) -> Path:
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        process.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path)])
    return path
