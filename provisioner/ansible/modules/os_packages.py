# SPDX-License-Identifier: Apache-2.0
"""Install and remove packages of the distribution as a transient unit."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.provision.host.entry import run_module
from ansible.module_utils.provision.host.fault import Fault
from ansible.module_utils.provision.host.json_files import read_json, write_json
from ansible.module_utils.provision.host.packages import Allow, User, manager, record
from ansible.module_utils.provision.host.packages.common import held_too_long
from ansible.module_utils.provision.jobs.packages import Transaction
from ansible.module_utils.provision.jobs.unit import journal_tail, state, wait

WAITING = Path("/run/provision/packages.waiting")
# Package managers interpret anything else as a pattern, a file or an instruction to remove.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9+._:-]*[A-Za-z0-9+]")
# There can be only one time service: the distribution's own is removed when this one is requested.
EXCLUSIVE = "chrony"


class Change:
    """Install or remove one set of packages, over as many calls as it takes."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        self.packages = manager(User(record.UNIT))
        self.found: dict[str, str] = self.packages.installed()
        self.asked: list[str] = module.params["names"]
        self.remove = module.params["state"] != "present"
        strange = [name for name in self.asked if not NAME.fullmatch(name)]
        if strange:
            raise Fault(f"not the name of a package: {', '.join(strange)}", "give plain names of packages")

    def open(self) -> list[str]:
        """List the packages that are still to be installed or removed."""
        if self.module.params["state"] == "present":
            return [name for name in self.asked if name not in self.found]
        if not self.module.params["recorded"]:
            return sorted({self.found[name] for name in self.asked if name in self.found})
        return self.ours()

    def ours(self) -> list[str]:
        """List what the recorded transactions for these names installed and is still installed."""
        present = sorted(name for name in record.installed_for(self.asked) if self.found.get(name) == name)
        needing = self.packages.would_remove(present) - set(present) if present else set()
        if needing:
            self.module.warn(
                f"{', '.join(present)} not removed: {', '.join(sorted(needing))}, installed later, need them"
            )
        return [] if needing else present

    def settle(self) -> dict[str, Any]:
        """Report what the last transaction changed, once."""
        installed: list[str] = []
        removed: list[str] = []
        if record.RECORD.exists() and not self.module.check_mode and not state(record.UNIT).running:
            installed, removed = record.settle(self.packages, self.asked)
        return {"installed": installed, "removed": removed}

    def wait_for_lock(self) -> str:
        """Return which process holds the package manager's lock after waiting a little, or nothing."""
        owner = self.packages.lock_owner()
        if not owner:
            WAITING.unlink(missing_ok=True)
            return ""
        since = read_json(WAITING, None) or time.monotonic()
        write_json(WAITING, since, 0o644)
        owner = self.packages.await_lock(self.module.params["poll"])
        waited = time.monotonic() - since
        if owner and waited > self.module.params["lock_timeout"]:
            WAITING.unlink(missing_ok=True)
            raise held_too_long(owner, waited)
        return owner

    def start(self, names: list[str]) -> bool:
        """Start the transaction, or attach to the one that runs."""
        script = self.packages.script(
            refresh=not self.remove and self.packages.stale(self.module.params["cache_valid_time"]),
            remove=self.remove,
            allow=Allow(removal=EXCLUSIVE in names),
        )
        self.settle()
        what = f"{'Remove' if self.remove else 'Install'} {' '.join(names)}"
        return bool(Transaction(self.packages, script, self.asked, names, what).start())

    def advance(self, names: list[str]) -> dict[str, Any]:
        """Continue the transaction as far as one call can."""
        if not state(record.UNIT).running:
            owner = self.wait_for_lock()
            if owner:
                return {"finished": False, "provision": {"progress": {"label": f"waiting for {owner}"}}}
        return self.follow(names, mine=self.start(names))

    def follow(self, names: list[str], *, mine: bool) -> dict[str, Any]:
        """Wait a little for the transaction, and return whether it has done all that was requested."""
        now = wait(record.UNIT, self.module.params["poll"])
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
            raise Fault(
                f"the package manager reported success, but {', '.join(left)} "
                + ("is still installed" if self.remove else "is not installed"),
                f"read 'journalctl -u {record.UNIT}' on the host",
            )
        return {"finished": not left}

    def result(self) -> dict[str, Any]:
        """Return the module's result."""
        names = self.open()
        listed = "".join(f"{name}\n" for name in names)
        diff = {"before": listed, "after": ""} if self.remove else {"before": "", "after": listed}
        outcome: dict[str, Any] = {"finished": True, "missing": [] if self.remove else names}
        if names:
            outcome["diff"] = diff
        if names and self.module.check_mode:
            return dict(outcome, changed=True, installed=[], removed=names if self.remove else [])
        if names:
            outcome.update(self.advance(names))
        elif record.RECORD.exists() and not self.module.check_mode and state(record.UNIT).running:
            # During a transaction the list of packages is neither the one before nor the one after it.
            outcome.update(self.follow(self.asked, mine=False))
        settled = self.settle() if outcome["finished"] else {"installed": [], "removed": []}
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
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    run_module(module, lambda: Change(module).result())


if __name__ == "__main__":
    main()
