# SPDX-License-Identifier: Apache-2.0
"""Run Docker's daemon with the one value of daemon.json that gives GPUs to containers, and undo that."""

from __future__ import annotations

import json
from typing import Any, Callable

from ..host.fault import Fault
from ..host.settings import read_file
from ..host.systemd import systemctl
from . import cdi, docker
from .docker import CDI, DAEMON, RUNTIME, UNIT, Keys
from .ledger import Ledger


class Daemon:
    """Docker's daemon; `allow` is called before containers are interrupted."""

    def __init__(self, keys: Keys | None, ledger: Ledger, allow: Callable[[str], None]) -> None:
        self.keys = keys
        self.ledger = ledger
        self.allow = allow

    def settle(self, *, installed: bool) -> None:
        """Run the daemon with the right settings."""
        for keys in (CDI, RUNTIME):
            # Without a toolkit, a driver may be broken only for the moment.
            if self.keys and keys != self.keys:
                self.give_back(keys)
        self.write()
        if self.ledger.dry and not installed:
            return
        info = docker.info()
        if (info is None or not cdi.is_enabled(UNIT)) and self.ledger.plan(f"enable {UNIT}"):
            systemctl("enable", UNIT)
            docker.control("start")
            info = docker.info()
        self.restart(info)

    def undo(self, *, stays: bool) -> None:
        """Restore the previous values, and restart a daemon that stays."""
        for keys in (CDI, RUNTIME):
            self.give_back(keys)
        if stays and not self.ledger.dry:
            self.restart(docker.info())

    def write(self) -> None:
        """Set the value."""
        text = read_file(str(DAEMON))
        config = docker.load(text)
        if not self.keys or docker.is_right(config, self.keys):
            return
        before, value = docker.lookup(config, self.keys), docker.wanted_value(self.keys)
        changed = docker.with_value(config, self.keys, value)
        if self.ledger.plan(str(DAEMON), shown(self.keys, before), shown(self.keys, value)):
            entry = {"before": before, "file": text is not None}
            self.ledger.keep(daemon={".".join(self.keys): entry, **self.ledger.entries.get("daemon", {})})
            docker.write(docker.text_of(changed, text))

    def give_back(self, keys: Keys) -> None:
        """Restore the previous value, unless someone else has changed it since."""
        kept: dict[str, Any] = self.ledger.entries.get("daemon", {})
        entry = kept.get(".".join(keys))
        if entry is None:
            return
        text = read_file(str(DAEMON))
        config = docker.load(text)
        value, before = docker.lookup(config, keys), entry["before"]
        ours = value == docker.wanted_value(keys)
        if ours and self.ledger.plan(str(DAEMON), shown(keys, value), shown(keys, before)):
            left = docker.with_value(config, keys, before)
            # Before the file: a run that ends in between still restarts the daemon.
            self.ledger.keep(restart=True)
            docker.write(docker.text_of(left, text) if left or entry["file"] else None)
        if not self.ledger.dry:
            del kept[".".join(keys)]
            if not kept:
                del self.ledger.entries["daemon"]
            self.ledger.save()

    def restart(self, info: dict[str, Any] | None) -> None:
        """Restart the daemon where it does not work with what daemon.json contains now."""
        keys = self.keys
        works = info is not None and (not keys or docker.works_with(info, keys))
        works = works and not docker.lacks_proxy()
        if info is None or (works and not self.ledger.entries.get("restart")):
            return
        containers = docker.running()
        if containers:
            self.allow(f"restart Docker, which stops {', '.join(sorted(containers))}")
        if self.ledger.plan("restart Docker"):
            docker.control("restart")
            self.ledger.entries.pop("restart", None)
            self.ledger.save()
            now = docker.info()
            if keys and (now is None or not docker.works_with(now, keys)):
                raise Fault(
                    f"Docker was restarted and still does not work with {'.'.join(keys)} of {DAEMON}",
                    f"read 'journalctl -u {UNIT}' on the host",
                )


def shown(keys: Keys, value: Any) -> str:
    """Return one value of daemon.json as a difference shows it; the rest may contain a password."""
    return f"{'.'.join(keys)} = {json.dumps(value)}\n" if value is not None else ""
