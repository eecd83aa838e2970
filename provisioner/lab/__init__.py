# SPDX-License-Identifier: Apache-2.0
"""Throwaway hosts on this machine: one mechanism for `provision lab`, Molecule and the tests.

A lab host is a podman container with systemd, sshd and a package manager, like a new server; those of Debian
have no Python. Its SSH port is published on 127.0.0.1. A hub host that serves models comes with every lab.
The functions take the variables of the hosts in an inventory's group `lab` (see `variables.yml`), return
plain data and print nothing::

    from provisioner import lab

    report = lab.up({"one": {"ansible_host": "127.0.0.1", "ansible_port": 2221}}, say=print)
    report.hosts[0].systemd         # "running"
    lab.up({"one": ..., "two": ...}, say=print, copies={"two": "one"})  # two starts as one is now
    lab.keep("one"), lab.restore({"one": ...}, "one", say=print)  # back to the files that it had
    lab.exec_in("one", ["systemctl", "is-active", "ssh"]).text  # past SSH, as root; lab="lab" by default
    lab.copy_in("one", [lab.SeedFile("/etc/example", b"text")])
    lab.filesystem_digest("one")    # path -> type, mode, owner, size, sha256
    lab.stop("one"), lab.start("one"), lab.kill("one"), lab.reboot("one")
    lab.status().is_up
    lab.down(say=print)             # purge=True also removes keys, package cache, models and images

Every failure is a `provisioner.errors.LabError` (or `BusyError`). Keys and known_hosts are in
`$XDG_STATE_HOME/provision/lab/<name>/` and survive `down`; so does the volume `provision-lab-cache`, mounted
at /var/cache/provision in all hosts, unless `down` purges. Only `process.py` starts processes.
"""

from __future__ import annotations

from provisioner.lab.filesystem import filesystem_digest
from provisioner.lab.hosts import SeedFile, boot_time, copy_in, exec_in, kill, reboot, start, stop
from provisioner.lab.lifecycle import down, keep, restore, ssh_command, status, up
from provisioner.lab.report import HostReport, LabReport
from provisioner.lab.spec import HUB_URL

__all__ = [
    "HUB_URL",
    "HostReport",
    "LabReport",
    "SeedFile",
    "boot_time",
    "copy_in",
    "down",
    "exec_in",
    "filesystem_digest",
    "keep",
    "kill",
    "reboot",
    "restore",
    "ssh_command",
    "start",
    "status",
    "stop",
    "up",
]
