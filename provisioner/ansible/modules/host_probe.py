# SPDX-License-Identifier: Apache-2.0
"""Read everything roles need to know about a host in one round trip."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: host_probe
short_description: Read what roles need to know about a host
description:
  - Sets C(ansible_facts.host_probe). Reads files where it can; every program it calls has a time limit, so a
    hung driver tool or a dead mount cannot hold the run.
author: [The provision developers]
"""

EXAMPLES = r"""
- name: Probe the host
  host_probe:
"""

RETURN = r"""
ansible_facts:
  type: dict
  returned: always
  description: C(host_probe) with os, python, systemd, clock, memory, disks, gpus, driver, listening sockets.
"""

import os
import platform
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.host_facts import (
    listening_sockets,
    parse_gpus,
    parse_meminfo,
    parse_mounts,
    parse_os_release,
    run,
)

NVIDIA_SMI_FIELDS = "index,uuid,name,memory.total,compute_cap,driver_version"
# A card that fell off the bus can hold nvidia-smi for minutes.
NVIDIA_SMI_SECONDS = 20
MOUNT_SECONDS = 5


def read(path: str) -> str:
    """Return a small file's text, or nothing when it is not there."""
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def operating_system() -> dict[str, Any]:
    """Describe the distribution and the kernel."""
    facts = parse_os_release(read("/etc/os-release") or read("/usr/lib/os-release"))
    return dict(facts, arch=platform.machine(), kernel=platform.release())


def boot_token() -> str:
    """Return a value that changes with each boot, in containers as well, where the kernel's boot id stays."""
    started = read("/proc/1/stat").rpartition(")")[2].split()
    return f"{read('/proc/sys/kernel/random/boot_id')}-{started[19] if len(started) > 19 else 0}"


def systemd_version() -> int | None:
    """Return systemd's version, or None without it."""
    words = run(["systemctl", "--version"]).split()
    return int(words[1]) if len(words) > 1 and words[1].isdigit() else None


def disks() -> list[dict[str, Any]]:
    """List file systems with their size and free space."""
    found = []
    for device, mount in parse_mounts(read("/proc/self/mounts")):
        # df is another process, so a dead network mount costs a time limit and not the run.
        words = run(["df", "-B1", "--output=size,avail", mount], MOUNT_SECONDS).split()
        if len(words) >= 4 and words[-1].isdigit():
            found.append(
                {"mount": mount, "device": device, "size_bytes": int(words[-2]), "free_bytes": int(words[-1])}
            )
    return found


def gpus() -> tuple[list[dict[str, Any]], str | None]:
    """List NVIDIA GPUs and the driver's version; nothing where the driver's tool is missing."""
    if not shutil.which("nvidia-smi"):
        return [], None
    query = ["nvidia-smi", "--query-gpu=" + NVIDIA_SMI_FIELDS, "--format=csv,noheader,nounits"]
    cards, driver = parse_gpus(run(query, NVIDIA_SMI_SECONDS))
    return cards, driver


def selinux() -> str:
    """Return enforcing, permissive or disabled."""
    enforce = read("/sys/fs/selinux/enforce")
    return {"1": "enforcing", "0": "permissive"}.get(enforce, "disabled")


def firewall() -> str:
    """Return the firewall that is active."""
    if run(["systemctl", "is-active", "firewalld.service"]) == "active":
        return "firewalld"
    if "ENABLED=yes" in read("/etc/ufw/ufw.conf"):
        return "ufw"
    return "none"


def package_manager() -> str:
    """Return apt or dnf."""
    return "dnf" if not shutil.which("apt-get") and shutil.which("dnf") else "apt"


def probe() -> dict[str, Any]:
    """Return every fact."""
    cards, driver = gpus()
    return {
        "os": operating_system(),
        "python": {"version": platform.python_version(), "executable": sys.executable},
        "systemd": systemd_version(),
        "init_is_systemd": Path("/run/systemd/system").is_dir(),
        "boot_token": boot_token(),
        "clock": time.time(),
        "container": run(["systemd-detect-virt", "--container"]) not in ("", "none"),
        "memory_bytes": parse_meminfo(read("/proc/meminfo")),
        "cpus": len(os.sched_getaffinity(0)),
        "disks": disks(),
        "gpus": cards,
        "driver": {"version": driver},
        "listening": listening_sockets(Path("/proc")),
        "selinux": selinux(),
        "firewall": firewall(),
        "package_manager": package_manager(),
    }


def main() -> None:
    """Run as an Ansible module."""
    module = AnsibleModule(argument_spec={}, supports_check_mode=True)
    module.exit_json(changed=False, ansible_facts={"host_probe": probe()})


if __name__ == "__main__":
    main()
