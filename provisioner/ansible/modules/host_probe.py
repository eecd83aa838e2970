# SPDX-License-Identifier: Apache-2.0
"""Read everything that roles need to know about a host in one round trip."""

from __future__ import annotations

import platform
import re
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.provision.engine import replaced
from ansible.module_utils.provision.gpu import state
from ansible.module_utils.provision.host import entry, facts, managed
from ansible.module_utils.provision.host.facts import parse_meminfo, parse_mounts, read, run


def disks() -> list[dict[str, Any]]:
    """List file systems with their size and free space."""
    mounts = parse_mounts(read("/proc/self/mounts"))
    found = ((device, mount, facts.file_system(mount)) for device, mount in mounts)
    return [{**known, "mount": mount, "device": device} for device, mount, known in found if known]


def firewall() -> str:
    """Return the firewall that is active."""
    if run(["systemctl", "is-active", "firewalld.service"]) == "active":
        return "firewalld"
    return "ufw" if "ENABLED=yes" in read("/etc/ufw/ufw.conf") else "none"


def probe(
    started: float, controller_clock: float | None, driver_seconds: float = state.SECONDS
) -> dict[str, Any]:
    """Return every fact."""
    version = re.match(r"systemd ([0-9]+)", run(["systemctl", "--version"]))
    container = facts.is_container()
    devices, driver, gpus = state.inspect(container=container, seconds=driver_seconds)
    return {
        "os": {
            **facts.os_release(),
            "arch": platform.machine(),
            "kernel": read("/proc/sys/kernel/osrelease"),
        },
        "python": {"version": platform.python_version(), "executable": sys.executable},
        "systemd": int(version.group(1)) if version else None,
        "init_is_systemd": Path("/run/systemd/system").is_dir(),
        # It changes with each boot, in containers too, where the kernel's boot ID stays.
        "boot_token": f"{read('/proc/sys/kernel/random/boot_id')}-{facts.init_started()}",
        "clock": started,
        # The time to get here counts as skew, so a small positive value means nothing.
        "clock_skew_s": round(started - controller_clock, 3) if controller_clock else None,
        "can_set_clock": facts.can_set_clock(),
        "time_service": facts.time_service(),
        "container": container,
        "memory_bytes": parse_meminfo(read("/proc/meminfo")),
        "disks": disks(),
        "gpus": gpus,
        "driver": driver,
        # The bus shows devices without a driver, so a broken driver is not mistaken for a host without GPUs.
        "nvidia_pci": devices,
        # What an apply has created, whether or not it is still in the inventory.
        "services": managed.services(),
        "firewall": firewall(),
    }


ARGUMENTS: dict[str, dict[str, Any]] = {
    "controller_clock": {"type": "float"},
    "driver_seconds": {"type": "float", "default": state.SECONDS},
}


def main() -> None:
    """Run as an Ansible module."""
    started = time.time()

    def work(module: AnsibleModule) -> dict[str, Any]:
        found = {"host_probe": probe(started, **module.params)}
        seen = [asdict(one) for one in replaced.services()]
        return {"changed": False, "ansible_facts": found, "provision": {"replaced": seen}}

    entry.run(work, ARGUMENTS)


if __name__ == "__main__":
    main()
