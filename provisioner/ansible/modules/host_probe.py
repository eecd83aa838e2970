# SPDX-License-Identifier: Apache-2.0
"""Read everything that roles need to know about a host in one round trip."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: host_probe
short_description: Read what roles need to know about a host
description:
  - Sets C(ansible_facts.host_probe). Reads files where possible; every program it runs has a time limit, so a
    hanging driver or a dead mount cannot stop the run.
  - GPUs are read with NVIDIA's own bindings of NVML, which the controller sends along.
options:
  controller_clock: {type: float, description: The controller's time in seconds since 1970.}
  driver_seconds: {type: float, default: 60, description: Maximum time for the GPU driver to answer.}
author: [The provision developers]
"""

EXAMPLES = r"""
- name: Probe the host
  host_probe:
    controller_clock: "{{ now().timestamp() }}"
"""

RETURN = r"""
ansible_facts:
  type: dict
  returned: always
  description: >-
    C(host_probe) with os, python, systemd, boot_token, clock, container, memory, disks, firewall and our
    services. C(nvidia_pci) lists NVIDIA's devices on the PCI bus, with architecture and bound driver.
    C(driver) has a state (ok, hung, mismatch, not loaded, no library, no driver, failed), its problem and the
    next step, the driver that the host needs, the newest CUDA that it supports, and in C(xid) its errors in
    the kernel's log. C(gpus) lists the GPUs that the driver offers, with memory errors, temperature and so
    on if the GPU reports them.
"""

import platform
import sys
import time
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.provision.gpu import pci, state, xid
from ansible.module_utils.provision.host import managed
from ansible.module_utils.provision.host.entry import run_module
from ansible.module_utils.provision.host.facts import parse_meminfo, parse_mounts, parse_os_release, run

MOUNT_SECONDS = 5
CAP_SYS_TIME = 1 << 25
TIME_SERVICES = (
    "chronyd.service",
    "chrony.service",
    "systemd-timesyncd.service",
    "ntpd.service",
    "ntpsec.service",
)


def read(path: str) -> str:
    """Return a small file's text, or nothing if there is no file."""
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def operating_system() -> dict[str, Any]:
    """Describe the distribution and the kernel."""
    facts = parse_os_release(read("/etc/os-release") or read("/usr/lib/os-release"))
    return dict(facts, arch=platform.machine(), kernel=read("/proc/sys/kernel/osrelease"))


def boot_token() -> str:
    """Return a value that changes with each boot, in containers too, where the kernel's boot ID stays."""
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


def firewall() -> str:
    """Return the firewall that is active."""
    if run(["systemctl", "is-active", "firewalld.service"]) == "active":
        return "firewalld"
    if "ENABLED=yes" in read("/etc/ufw/ufw.conf"):
        return "ufw"
    return "none"


def time_service() -> str:
    """Return the service that synchronises the clock."""
    for unit in TIME_SERVICES:
        if run(["systemctl", "is-active", unit]) == "active":
            return unit
    return "none"


def can_set_clock() -> bool:
    """Return whether this host can set its clock; a container cannot."""
    for line in read("/proc/self/status").splitlines():
        if line.startswith("CapBnd:"):
            return bool(int(line.split()[1], 16) & CAP_SYS_TIME)
    return False


def nvidia(
    container: bool, seconds: float = state.SECONDS
) -> tuple[list[dict[str, Any]], dict[str, Any], list[dict[str, Any]]]:
    """Return NVIDIA's devices on the bus, the state of the driver, and the GPUs that it offers."""
    devices = pci.devices()
    driver, gpus = state.examine(devices, container=container, seconds=seconds)
    given = None
    if container:
        # The log is that of the machine, which may have GPUs outside this container.
        given = [gpu["pci"] for gpu in gpus]
    # Only a driver writes such errors, and most hosts of a mixed fleet have none.
    driver["xid"] = None if driver["state"] == state.NO_DRIVER else xid.since_boot(given)
    return devices, driver, gpus


def probe(
    started: float, controller_clock: float | None, driver_seconds: float = state.SECONDS
) -> dict[str, Any]:
    """Return every fact."""
    container = run(["systemd-detect-virt", "--container"]) not in ("", "none")
    devices, driver, gpus = nvidia(container, driver_seconds)
    return {
        "os": operating_system(),
        "python": {"version": platform.python_version(), "executable": sys.executable},
        "systemd": systemd_version(),
        "init_is_systemd": Path("/run/systemd/system").is_dir(),
        "boot_token": boot_token(),
        "clock": started,
        # The time to get here counts as skew, so a small positive value means nothing.
        "clock_skew_s": round(started - controller_clock, 3) if controller_clock else None,
        "can_set_clock": can_set_clock(),
        "time_service": time_service(),
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


def main() -> None:
    """Run as an Ansible module."""
    started = time.time()
    spec = {
        "controller_clock": {"type": "float"},
        "driver_seconds": {"type": "float", "default": state.SECONDS},
    }
    module = AnsibleModule(argument_spec=spec, supports_check_mode=True)

    def work() -> dict[str, Any]:
        facts = probe(started, module.params["controller_clock"], module.params["driver_seconds"])
        return {"changed": False, "ansible_facts": {"host_probe": facts}}

    run_module(module, work)


if __name__ == "__main__":
    main()
