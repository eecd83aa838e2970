# SPDX-License-Identifier: Apache-2.0
"""Install and remove packages of the distribution as a transient unit."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: os_packages
short_description: Install and remove packages of the distribution
description:
  - What is there already costs one query. A transaction runs as the unit C(provision-job-packages) and
    survives a lost connection. The task waits until it has ended.
  - Another package manager's lock is waited for, with its owner in the progress and in the error. An
    interrupted dpkg run is repaired first.
  - Packages that a transaction brought are recorded on the host; O(recorded) removes those of
    these names, or all of them without names, and no others.
options:
  names: {type: list, elements: str, required: true, description: Names of packages.}
  state: {type: str, choices: [present, absent], default: present, description: What to do.}
  recorded: {type: bool, default: false, description: Whether V(absent) removes only what is recorded.}
  cache_valid_time: {type: int, default: 86400, description: Age in seconds of package lists that will do.}
  lock_timeout: {type: int, default: 600, description: Longest time in seconds to wait for a lock.}
  poll: {type: int, default: 10, description: Longest time in seconds to wait in one call.}
  timeout: {type: int, default: 14400, description: Longest time in seconds that the task waits.}
author: [The provision developers]
"""

EXAMPLES = r"""
- name: Install the time service
  os_packages: {names: [chrony]}
"""

RETURN = r"""
finished: {type: bool, returned: always, description: Whether there is nothing left to wait for.}
missing: {type: list, returned: when present, description: Names that are or were not installed.}
installed: {type: list, returned: when present, description: Packages that the transaction brought.}
removed: {type: list, returned: when absent, description: Packages that the transaction removed.}
"""

import json
import re
import shutil
import time
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.provision.host.entry import run_module
from ansible.module_utils.provision.host.fault import Fault
from ansible.module_utils.provision.host.json_files import read_json, write_json
from ansible.module_utils.provision.host.packages import RECORDING, lock_owner, manager
from ansible.module_utils.provision.jobs.unit import journal_tail, start_or_attach, state, wait

UNIT = "provision-job-packages"
STATE = Path("/var/lib/provision")
# What was asked for and what there was right before and after; it exists until the result has been reported.
RECORD = STATE / "packages.transaction"
LEDGER = STATE / "packages.json"
WAITING = Path("/run/provision/packages.waiting")
TRANSACTION_SECONDS = 3600
# Package managers take anything else for a pattern, a file or an order to remove.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9+._:-]*[A-Za-z0-9+]")
ADVICE = (
    (("not valid yet", "is not yet valid"), "the host's clock is behind: set it, then apply again"),
    (("is expired", "Release file expired"), "the mirror is out of date or the clock ahead: fix that first"),
    (("Could not resolve", "Temporary failure resolving"), "give the host a working DNS server or a mirror"),
    (
        ("Unable to locate package", "No match for argument", "has no installation candidate"),
        "check the package sources of the host and the host_base mirror words",
    ),
    (
        ("remove is disabled",),
        "the packages to be removed, named above, stand in the way: remove them by hand if nobody needs them",
    ),
    (
        (" conflicts with ", " obsoletes "),
        "the packages named above exclude each other: remove by hand the one that nobody needs",
    ),
    (("No space left on device",), "free space on the host, then apply again"),
    (("certificate verify failed", "SSL certificate problem"), "put the CA in host_base_ca_certificates"),
)


def advice(text: str) -> str:
    """Return what to do about a transaction that failed with this output."""
    for signs, step in ADVICE:
        if any(sign in text for sign in signs):
            return step
    return f"read 'journalctl -u {UNIT}' on the host, then apply again"


class Transaction:
    """Bring one set of packages about, over as many calls as it takes."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        self.packages = manager()
        self.found: dict[str, str] = self.packages.installed()
        self.asked: list[str] = module.params["names"]
        self.remove = module.params["state"] != "present"
        strange = [name for name in self.asked if not NAME.fullmatch(name)]
        if strange:
            raise Fault(f"{', '.join(strange)} is not the name of a package", "give plain names of packages")

    def open(self) -> list[str]:
        """List the packages that are still to be installed or removed."""
        if self.module.params["state"] == "present":
            return [name for name in self.asked if name not in self.found]
        if not self.module.params["recorded"]:
            return sorted({self.found[name] for name in self.asked if name in self.found})
        return self.ours()

    def ours(self) -> list[str]:
        """List what the recorded transactions for these names brought and is still there."""
        entries = read_json(LEDGER, [])
        brought = {
            name
            for entry in entries
            if not self.asked or set(entry["asked"]) & set(self.asked)
            for name in entry["installed"]
        }
        present = sorted(name for name in brought if self.found.get(name) == name)
        if not present:
            return []
        strangers = self.packages.would_remove(present) - set(present)
        if strangers:
            self.module.warn(
                f"{', '.join(present)} stay: {', '.join(sorted(strangers))} came later and need them"
            )
            return []
        return present

    def settle(self) -> dict[str, Any]:
        """Report what the last transaction changed, once."""
        nothing: dict[str, Any] = {"installed": [], "removed": []}
        if not RECORD.exists() or self.module.check_mode or state(UNIT).running:
            return nothing
        before, after = (self.listed(name) for name in ("before", "after"))
        if not before or not after:
            # Nobody can tell any more which packages are ours, so none is.
            shutil.rmtree(str(RECORD))
            return nothing
        installed, removed = sorted(after - before), sorted(before - after)
        entries = read_json(LEDGER, [])
        gone = set(removed)
        entries = [
            dict(entry, installed=[x for x in entry["installed"] if x not in gone]) for entry in entries
        ]
        if installed:
            entries.append({"asked": read_json(RECORD / "asked", self.asked), "installed": installed})
        entries = [entry for entry in entries if entry["installed"]]
        if entries:
            write_json(LEDGER, entries, 0o644)
        else:
            LEDGER.unlink(missing_ok=True)
        shutil.rmtree(str(RECORD))
        return {"installed": installed, "removed": removed}

    def listed(self, name: str) -> set[str]:
        """Return the packages that one list of the last transaction names."""
        path = RECORD / name
        return self.packages.names(path.read_text(encoding="utf-8")) if path.exists() else set()

    def wait_for_lock(self) -> str:
        """Return who holds the package manager's lock after waiting a little, or nothing."""
        deadline = time.monotonic() + self.module.params["poll"]
        owner = str(lock_owner(self.packages))
        if not owner:
            WAITING.unlink(missing_ok=True)
            return ""
        since = read_json(WAITING, None) or time.monotonic()
        write_json(WAITING, since, 0o644)
        while owner and time.monotonic() < deadline:
            time.sleep(0.5)
            owner = str(lock_owner(self.packages))
        if owner and time.monotonic() - since > self.module.params["lock_timeout"]:
            WAITING.unlink(missing_ok=True)
            raise Fault(
                f"{owner} has held the package manager's lock for {time.monotonic() - since:.0f} s",
                "wait for it to end or stop it, then apply again",
            )
        return owner

    def start(self, names: list[str]) -> bool:
        """Start the transaction, or attach to the one that runs."""
        script = self.packages.script(
            repair=self.packages.interrupted(),
            refresh=not self.remove and self.packages.stale(self.module.params["cache_valid_time"]),
            remove=self.remove,
        )
        self.settle()
        STATE.mkdir(mode=0o755, parents=True, exist_ok=True)
        properties = {
            "Description": ("Remove " if self.remove else "Install ") + " ".join(names),
            "Environment": list(self.packages.environment),
            "RuntimeMaxSec": TRANSACTION_SECONDS,
        }
        record = [str(RECORD), json.dumps(self.asked), self.packages.listing]
        argv = ["/bin/sh", "-ec", RECORDING + script, "sh", *record, *names]
        return bool(start_or_attach(UNIT, argv, properties=properties))

    def advance(self, names: list[str]) -> dict[str, Any]:
        """Bring the transaction as far as one call can."""
        if not state(UNIT).running:
            owner = self.wait_for_lock()
            if owner:
                return {"finished": False, "provision": {"progress": {"label": f"waiting for {owner}"}}}
        return self.follow(names, mine=self.start(names))

    def follow(self, names: list[str], *, mine: bool) -> dict[str, Any]:
        """Wait a little for the transaction, and return whether it has done all that is asked for."""
        now = wait(UNIT, self.module.params["poll"])
        if now.failed:
            tail = journal_tail(UNIT, 20, now.invocation)
            self.found = self.packages.installed()
            self.settle()
            raise Fault(
                f"{'removing' if self.remove else 'installing'} {', '.join(names)} failed:\n{tail}",
                advice(tail),
            )
        if now.running:
            return {
                "finished": False,
                "provision": {
                    "progress": {"label": journal_tail(UNIT, 1)[:100] or "waiting for the package manager"}
                },
            }
        self.found = self.packages.installed()
        left = self.open()
        if left and mine:
            raise Fault(
                f"the package manager ended well, but {', '.join(left)} "
                + ("stayed" if self.remove else "did not come"),
                f"read 'journalctl -u {UNIT}' on the host",
            )
        return {"finished": not left}

    def result(self) -> dict[str, Any]:
        """Return the module's result."""
        names = self.open()
        listed = "".join(name + "\n" for name in names)
        diff = {"before": listed, "after": ""} if self.remove else {"before": "", "after": listed}
        outcome: dict[str, Any] = {"finished": True, "missing": [] if self.remove else names}
        if names:
            outcome["diff"] = diff
        if names and self.module.check_mode:
            return dict(outcome, changed=True, installed=[], removed=names if self.remove else [])
        if names:
            outcome.update(self.advance(names))
        elif RECORD.exists() and not self.module.check_mode and state(UNIT).running:
            # In the middle of a transaction the lists of packages are neither those of before nor of after.
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
    run_module(module, lambda: Transaction(module).result())


if __name__ == "__main__":
    main()
