# SPDX-License-Identifier: Apache-2.0
"""Bring about what is no package of a container runtime: Docker's daemon, CDI, the links of devices."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..driver import hold as holds
from ..host.commands import call
from ..host.fault import Fault
from ..host.settings import read_file, write_file
from . import cdi as container_cdi
from . import docker as container_docker
from . import modules
from . import selinux as container_selinux
from .docker import CDI, DAEMON, RUNTIME, Keys
from .steps import DOCKER, Steps, listed

PERMISSION = "SELinux's permission for containers to use GPUs"
WITHOUT_PERMISSION = (
    "SELinux is on, and its policy has no permission for containers to use devices: bring container-selinux "
    "up to date, or run containers that use GPUs with --security-opt label=disable"
)


class Settings(Steps):
    """Compare settings with the wanted ones and change what differs."""

    def settle(self) -> None:
        """Bring all of it about, in the order in which one needs the other."""
        if self.wanted.toolkit_version:
            self.hold()
            self.dev_char()
            if self.wanted.cdi:
                self.cdi_units()
        if self.wanted.engine == DOCKER:
            self.hold_modules()
            self.docker()
        if self.wanted.toolkit_version:
            if self.wanted.cdi:
                self.cdi()
            # Last, when every device is there.
            self.selinux()

    def hold_modules(self) -> None:
        """Have dnf keep a kernel's modules as it keeps the kernel that a driver was built for."""
        loose = modules.loose()
        if loose and self.record("versions that dnf locks", "", listed(loose)):
            holds.hold()

    def selinux(self) -> None:
        """Let containers use the GPUs where SELinux keeps them from that."""
        if not self.is_confined() or container_selinux.is_allowed():
            return
        name = container_selinux.permission()
        # The policy of containers comes with the engine.
        if not name and not self.missing_packages():
            self.warn(WITHOUT_PERMISSION)
        elif self.record(PERMISSION, f"{name} = off\n" if name else "", f"{name} = on\n" if name else ""):
            self.ledger["selinux"] = sorted({*self.ledger.get("selinux", []), name})
            self.save()
            container_selinux.put(name, on=True)

    def is_confined(self) -> bool:
        """Tell whether SELinux confines containers: Docker has it do so only where daemon.json says so."""
        if self.wanted.container or not container_selinux.is_on():
            return False
        return self.wanted.engine != DOCKER or bool(container_docker.is_confined(container_docker.info()))

    def dev_char(self) -> None:
        """Keep systemd from taking GPUs from containers when it reloads."""
        # The devices of a container belong to the machine below it.
        if self.wanted.container:
            return
        path, rule = str(container_cdi.RULE), container_cdi.RULE_TEXT
        text = read_file(path)
        if text != rule and self.record(path, text or "", rule):
            self.ledger["rule"] = path
            self.save()
            write_file(path, rule)
            container_cdi.tell_udev()
        left = container_cdi.unlinked()
        if left and left != self.ledger.get("unlinkable") and self.record("links in /dev/char"):
            wrong = container_cdi.link()
            if wrong:
                # Said once: the next run cannot do more about it.
                self.ledger["unlinkable"] = container_cdi.unlinked()
                self.save()
                self.warn(f"systemctl daemon-reload may take GPUs from containers: {wrong}")

    def cdi_units(self) -> None:
        """Have the toolkit's own units keep the specification right."""
        for unit in container_cdi.units():
            if not container_cdi.is_on(unit) and self.record(f"{unit} on"):
                self.ledger["units"] = sorted({*self.ledger.get("units", []), unit})
                self.save()
                systemctl("enable", unit)
                if unit == container_cdi.WATCHER:
                    systemctl("start", unit)

    def cdi(self) -> None:
        """Make every GPU known to containers by its UUID."""
        kept = str(container_cdi.KEPT)
        if kept in self.ledger.get("made", []) and container_cdi.PASSING.exists():
            # The toolkit's own units work by now, and two descriptions of one GPU contradict each other.
            self.drop(kept)
        wrong = container_cdi.fault_of(self.wanted.gpus, self.wanted.driver)
        if wrong and self.record(f"CDI specification, {wrong}"):
            made = container_cdi.generate(self.wanted.gpus, self.wanted.driver)
            if made:
                self.ledger["made"] = sorted({*self.ledger.get("made", []), str(made)})
                self.save()

    def drop(self, made: str) -> None:
        """Remove a specification of ours."""
        path = Path(made)
        if path.exists() and self.record(f"removed {made}"):
            path.unlink()
        if not self.dry:
            self.ledger["made"].remove(made)
            self.save()

    def docker(self) -> None:
        """Bring Docker to run, with daemon.json as it has to be."""
        for keys in (CDI, RUNTIME):
            # Without a toolkit, a driver may only be broken for the moment.
            if self.wanted.keys and keys != self.wanted.keys:
                self.give_back(keys)
        self.write_daemon()
        if self.dry and self.wanted.engine_packages[0] not in self.found:
            return
        said = container_docker.info()
        on = container_cdi.is_on(container_docker.UNIT)
        if (said is None or not on) and self.record("docker.service on"):
            systemctl("enable", container_docker.UNIT)
            container_docker.control("start")
            said = container_docker.info()
        self.restart_docker(said)

    def write_daemon(self) -> None:
        """Set the one value of daemon.json that gives GPUs to containers."""
        keys, text = self.wanted.keys, read_file(str(DAEMON))
        config = container_docker.load(text)
        if not keys or container_docker.is_right(config, keys):
            return
        before, value = container_docker.lookup(config, keys), container_docker.wanted_value(keys)
        fresh = container_docker.with_value(config, keys, value)
        if self.record(str(DAEMON), shown(keys, before), shown(keys, value)):
            entry = {"before": before, "file": text is not None}
            self.ledger.setdefault("daemon", {}).setdefault(".".join(keys), entry)
            self.save()
            container_docker.write(container_docker.text_of(fresh, text))

    def give_back(self, keys: Keys) -> None:
        """Take a value of ours out of daemon.json unless somebody else has changed it since."""
        kept: dict[str, Any] = self.ledger.get("daemon", {})
        entry = kept.get(".".join(keys))
        if entry is None:
            return
        text = read_file(str(DAEMON))
        config = container_docker.load(text)
        value, before = container_docker.lookup(config, keys), entry["before"]
        ours = value == container_docker.wanted_value(keys)
        if ours and self.record(str(DAEMON), shown(keys, value), shown(keys, before)):
            left = container_docker.with_value(config, keys, before)
            # Before the file: a run that ends in between still restarts the daemon.
            self.ledger["restart"] = True
            self.save()
            container_docker.write(container_docker.text_of(left, text) if left or entry["file"] else None)
        if not self.dry:
            del kept[".".join(keys)]
            if not kept:
                del self.ledger["daemon"]
            self.save()

    def restart_docker(self, said: dict[str, Any] | None) -> None:
        """Restart the daemon where it does not work with what daemon.json says now."""
        keys = self.wanted.keys
        works = said is not None and (not keys or container_docker.works_with(said, keys))
        if said is None or (works and not self.ledger.get("restart")):
            return
        containers = container_docker.running()
        if containers:
            self.allow(f"restart Docker, which stops {', '.join(sorted(containers))}")
        if self.record("restart of Docker"):
            container_docker.control("restart")
            self.ledger.pop("restart", None)
            self.save()
            now = container_docker.info()
            if keys and (now is None or not container_docker.works_with(now, keys)):
                raise Fault(
                    f"Docker was restarted and still does not work with {'.'.join(keys)} of {DAEMON}",
                    f"read 'journalctl -u {container_docker.UNIT}' on the host",
                )

    def require_packages(self) -> None:
        """Refuse to go on where the packages are not the wanted ones after all."""
        wrong = [f"{name} is {self.found[name]}" for name in self.wrong_versions()]
        wrong += [f"{name} is missing" for name in self.missing()]
        if wrong:
            version = self.wanted.toolkit_version
            pinned = f", and container_runtime_toolkit_version is {version}" if version else ""
            raise Fault(
                f"{', '.join(wrong)}{pinned}",
                "apply again; where the repository lacks that version, name one that it has",
            )


def systemctl(verb: str, unit: str) -> None:
    """Have systemd do one thing with a unit."""
    done = call("systemctl", verb, unit, seconds=container_docker.START_SECONDS)
    if done.returncode:
        raise Fault(
            f"systemctl {verb} {unit} failed: {done.stderr.strip()}",
            f"read 'journalctl -u {unit}' on the host",
        )


def shown(keys: Keys, value: Any) -> str:
    """Return one value of daemon.json as a difference shows it; the rest may hold a password."""
    return f"{'.'.join(keys)} = {json.dumps(value)}\n" if value is not None else ""
