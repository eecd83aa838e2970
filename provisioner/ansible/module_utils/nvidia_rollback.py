# SPDX-License-Identifier: Apache-2.0
"""Remember the packages of a driver before a change, and bring them back when it fails."""

from __future__ import annotations

from ansible.module_utils import nvidia_kernel as kernels
from ansible.module_utils.job_fault import JobFault
from ansible.module_utils.nvidia_installed import listed
from ansible.module_utils.nvidia_managers import STREAM, AptDriver, DnfDriver
from ansible.module_utils.nvidia_packages import is_family
from ansible.module_utils.nvidia_process import note


class Rollback:
    """What there was of a driver before a change."""

    def __init__(self, manager: AptDriver | DnfDriver, kernel: str, version: str | None) -> None:
        self.manager = manager
        self.kernel = kernel
        self.version = version
        self.packages = family()
        self.stream = STREAM.read_text(encoding="ascii") if STREAM.exists() else ""

    def streams(self) -> None:
        """Bring the module stream back, without which the packages of before are hidden."""
        if self.stream:
            STREAM.write_text(self.stream, encoding="ascii")
        elif STREAM.exists():
            STREAM.unlink()

    def packages_of_before(self, fault: JobFault, *, runfile: bool) -> None:
        """Bring the packages back; raises JobFault, which begins with `fault`, when they are not."""
        try:
            self.manager.unpin()
            self.streams()
            came = [name for name in family() if name not in self.packages]
            if came:
                self.manager.remove(came)
            # Looked at again: what was removed may have taken more along.
            now = family()
            changed = {name: found for name, found in self.packages.items() if now.get(name) != found}
            if changed:
                specs = [self.manager.spec(name, found) for name, found in changed.items()]
                self.manager.install(specs, "bringing the driver of before back", erase=True)
        except Exception as second:
            step = getattr(second, "next", fault.next)
            raise JobFault(
                f"{fault}\nand the driver of before could not be brought back: {second}", step
            ) from second
        self._prove(fault, runfile=runfile)
        note("the packages are what they were before")

    def _prove(self, fault: JobFault, *, runfile: bool) -> None:
        if runfile:
            gone = f"driver {self.version} of the .run installer is gone"
            raise JobFault(f"{fault}\nand {gone}: what is loaded goes on until the next boot", fault.next)
        if family() != self.packages:
            raise JobFault(f"{fault}\nand the packages of before are not all back", fault.next)
        module = kernels.module(self.kernel)
        if self.version and (module is None or module.version != self.version):
            gone = f"driver {self.version} is back, but kernel {self.kernel} has no module of it any more"
            raise JobFault(f"{fault}\nand {gone}: what is loaded goes on until the next boot", fault.next)


def family() -> dict[str, str]:
    """Return the packages of a driver with their versions."""
    return {name: version for name, version in listed().items() if is_family(name)}
