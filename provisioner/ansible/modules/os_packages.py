# SPDX-License-Identifier: Apache-2.0
"""Install and remove packages of the distribution as a transient unit."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.provision.host.entry import run
from ansible.module_utils.provision.host.fault import Fault
from ansible.module_utils.provision.host.files import read_json, write_json
from ansible.module_utils.provision.host.packages import Allow, User, manager, record
from ansible.module_utils.provision.host.packages.common import held_too_long
from ansible.module_utils.provision.jobs.packages import transact
from ansible.module_utils.provision.jobs.unit import journal_tail, state, wait

WAITING = Path("/run/provision/packages.waiting")
# Package managers interpret anything else as a pattern, a file or an instruction to remove.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9+._:-]*[A-Za-z0-9+]")
# There can be only one time service: the distribution's own is removed when this one is requested.
EXCLUSIVE = "chrony"
NO_CHANGE: dict[str, list[str]] = {"installed": [], "removed": []}


class Change:
    """Install or remove one set of packages, over as many calls as it takes."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module, self.params = module, module.params
        self.packages = manager(User(record.UNIT))
        self.found: dict[str, str] = self.packages.installed()
        self.asked: list[str] = self.params["names"]
        self.remove = self.params["state"] == "absent"
        strange = [name for name in self.asked if not NAME.fullmatch(name)]
        if strange:
            raise Fault(f"not the name of a package: {', '.join(strange)}", "give plain names of packages")

    def open(self) -> list[str]:
        """List the packages that are still to be installed or removed."""
        if not self.remove:
            return [name for name in self.asked if name not in self.found]
        if not self.params["recorded"]:
            return sorted({self.found[name] for name in self.asked if name in self.found})
        present = sorted(name for name in record.installed_for(self.asked) if self.found.get(name) == name)
        needing = self.packages.would_remove(present) - set(present) if present else set()
        if needing:
            others = ", ".join(sorted(needing))
            self.module.warn(f"{', '.join(present)} not removed: {others}, installed later, need them")
        return [] if needing else present

    def settle(self) -> dict[str, list[str]]:
        """Report what the last transaction changed, once."""
        if self.module.check_mode or not record.RECORD.exists() or state(record.UNIT).running:
            return NO_CHANGE
        return record.settle(self.packages, self.asked)

    def wait_for_lock(self) -> str:
        """Return which process holds the package manager's lock after waiting a little, or nothing."""
        owner = self.packages.lock_owner()
        if not owner:
            WAITING.unlink(missing_ok=True)
            return ""
        since = read_json(WAITING, None) or time.monotonic()
        write_json(WAITING, since, 0o644)
        owner = self.packages.await_lock(self.params["poll"])
        waited = time.monotonic() - since
        if owner and waited > self.params["lock_timeout"]:
            WAITING.unlink(missing_ok=True)
            raise held_too_long(owner, waited)
        return owner

    def advance(self, names: list[str]) -> dict[str, Any]:
        """Start the transaction, or attach to the one that runs, and continue it as far as one call can."""
        owner = "" if state(record.UNIT).running else self.wait_for_lock()
        if owner:
            return {"finished": False, "provision": {"progress": {"label": f"waiting for {owner}"}}}
        script = self.packages.script(
            refresh=not self.remove and self.packages.stale(self.params["cache_valid_time"]),
            remove=self.remove,
            allow=Allow(removal=EXCLUSIVE in names),
        )
        self.settle()
        what = f"{'Remove' if self.remove else 'Install'} {' '.join(names)}"
        return self.follow(names, mine=transact(self.packages, script, self.asked, names, what))

    def follow(self, names: list[str], *, mine: bool) -> dict[str, Any]:
        """Wait a little for the transaction, and return whether it has done all that was requested."""
        now = wait(record.UNIT, self.params["poll"])
        if now.running:
            label = journal_tail(record.UNIT, 1)[:100] or "waiting for the package manager"
            return {"finished": False, "provision": {"progress": {"label": label}}}
        self.found = self.packages.installed()
        if now.failed:
            tail = journal_tail(record.UNIT, 20, now.invocation)
            self.settle()
            what = f"{'removing' if self.remove else 'installing'} {', '.join(names)}"
            raise self.packages.failure(f"{what} failed:\n{tail}", tail)
        left = self.open()
        if left and mine:
            still = "is still installed" if self.remove else "is not installed"
            raise Fault(
                f"the package manager reported success, but {', '.join(left)} {still}",
                f"read 'journalctl -u {record.UNIT}' on the host",
            )
        return {"finished": not left}

    def result(self) -> dict[str, Any]:
        """Return the module's result."""
        names = self.open()
        outcome: dict[str, Any] = {"finished": True, "missing": [] if self.remove else names}
        if names:
            listed = "".join(f"{name}\n" for name in names)
            outcome["diff"] = dict(zip(("before", "after"), (listed, "") if self.remove else ("", listed)))
        if names and self.module.check_mode:
            return dict(outcome, changed=True, installed=[], removed=names if self.remove else [])
        if names:
            outcome.update(self.advance(names))
        elif record.RECORD.exists() and not self.module.check_mode and state(record.UNIT).running:
            # During a transaction the list of packages is neither the one before nor the one after it.
            outcome.update(self.follow(self.asked, mine=False))
        settled = self.settle() if outcome["finished"] else NO_CHANGE
        return dict(outcome, changed=bool(settled["installed"] or settled["removed"]), **settled)


ARGUMENTS: dict[str, dict[str, Any]] = {
    "names": {"type": "list", "elements": "str", "required": True},
    "state": {"choices": ["present", "absent"], "default": "present"},
    "recorded": {"type": "bool", "default": False},
    "cache_valid_time": {"type": "int", "default": 86400},
    "lock_timeout": {"type": "int", "default": 600},
    "poll": {"type": "int", "default": 10},
    "timeout": {"type": "int", "default": 14400},
}


def main() -> None:
    """Run as an Ansible module."""
    run(lambda module: Change(module).result(), ARGUMENTS)


if __name__ == "__main__":
    main()
