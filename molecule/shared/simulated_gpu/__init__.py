# SPDX-License-Identifier: Apache-2.0
"""Simulated GPU hosts: hardware and kernel in `host`, the vendors' repositories in `vendor`.

No GPU, no kernel and no vendor's archive is needed: a lab host shows what /etc/simulated-gpu/state says, and
real apt, dnf, DKMS, dracut and initramfs-tools work on packages that only look like the vendors'::

    podman = connect(start=True)
    simulated_gpu.ensure(podman)               # the repositories, served at http://hub.lab:8000/releases/vendor/
    simulated_gpu.install("host", gpus=2)      # with the oldest simulated kernel; nouveau is loaded
    simulated_gpu.set_state("host", lost=1)    # a fault
    simulated_gpu.boot("host")                 # what a reboot would load, without one
    root = simulated_gpu.copy("gone", podman)  # for withdraw() and rotate(), served at releases/vendor-gone/
"""

from __future__ import annotations

__all__ = ["boot", "copy", "enroll", "ensure", "install", "install_kernel", "rotate", "set_state", "withdraw"]

try:
    import provisioner  # noqa: F401 - in the builder's container there is none
except ModuleNotFoundError:
    pass
else:
    from simulated_gpu.build import copy, ensure
    from simulated_gpu.install import boot, enroll, install, install_kernel, set_state
    from simulated_gpu.repositories import rotate, withdraw
