# SPDX-License-Identifier: Apache-2.0
"""Apply a list of settings to a host in one round trip, and restore exactly what was there before."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.provision.host import proxied, proxy
from ansible.module_utils.provision.host.entry import run
from ansible.module_utils.provision.host.fault import Fault
from ansible.module_utils.provision.host.files import write_json
from ansible.module_utils.provision.host.settings import KINDS, NotApplicable, read_file, run_checked
from ansible.module_utils.provision.host.sources import rewrite_chrony, rewrite_sources, source_files

LEDGER = Path("/var/lib/provision/host_base.json")
TRUST = {
    # Only a fresh start drops the links of certificates that are gone.
    "/usr/local/share/ca-certificates/": ("update-ca-certificates", "--fresh"),
    "/etc/pki/ca-trust/source/anchors/": ("update-ca-trust", "extract"),
}
RUNTIME = Path("/run/provision")
UNITS = "/etc/systemd/system"
SYSCTL_FILE = "/etc/sysctl.d/60-provision.conf"
CONTAINER_UNIT = "docker.service"
CHRONY = ("chrony.service", "chronyd.service")


def shown(key: str, value: str | None) -> str:
    """Return a value as a difference shows it; of a certificate only the digest."""
    if value is None:
        return ""
    if key == "dnf proxy_password":
        return "not shown\n"
    if key.startswith("private ") and not value.startswith(proxied.OPEN):
        return f"mode {value[:4]}, the text is not shown\n"
    if key.startswith(tuple("file " + directory for directory in TRUST)):
        return f"certificate, sha256 {hashlib.sha256(value.encode()).hexdigest()}\n"
    return value if value.endswith("\n") else value + "\n"


class Settings:
    """Compare the settings of a host with the wanted ones and change what differs."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        self.ledger: dict[str, dict[str, Any]] = {}
        if LEDGER.exists():
            self.ledger = json.loads(LEDGER.read_text(encoding="utf-8"))
            if not module.check_mode and LEDGER.stat().st_mode & 0o077:
                # It contains the content of files, which may have been for root alone.
                LEDGER.chmod(0o600)
        self.diff: list[dict[str, str]] = []
        self.changes: list[str] = []
        self.notes: list[str] = []

    def save(self) -> None:
        """Write the ledger in the order of the changes; without entries it is removed."""
        if self.ledger:
            write_json(LEDGER, self.ledger, 0o600)
        else:
            LEDGER.unlink(missing_ok=True)

    def wanted(self) -> dict[str, str]:
        """Return every wanted setting by its key."""
        found: dict[str, str] = {}
        kernel: dict[str, str] = {}
        for item in self.module.params["settings"]:
            kind, name, value = item["kind"], item["name"], str(item["value"])
            if kind.startswith("sysctl"):
                kernel.update(self.kernel(name, value, minimum=kind == "sysctl_minimum"))
            elif kind == "chrony":
                found[f"chrony {name}"] = rewrite_chrony(read_file(name) or "", value.split())
            else:
                found[f"{kind} {name}"] = value
        if kernel:
            lines = "".join(f"{name} = {value}\n" for name, value in sorted(kernel.items()))
            found[f"file {SYSCTL_FILE}"] = "# Written by the role host_base.\n" + lines
        found.update({f"sysctl {name}": value for name, value in kernel.items()})
        return {**found, **self.mirrored(), **self.proxied()}

    def kernel(self, name: str, value: str, *, minimum: bool) -> dict[str, str]:
        """Return a kernel setting if this host can change it."""
        if self.module.params["container"] and not name.startswith("net."):
            self.notes.append(f"{name} belongs to the machine that runs this container")
            return {}
        try:
            current = KINDS["sysctl"].read(name)
        except NotApplicable as reason:
            self.notes.append(str(reason))
            return {}
        if not os.access(f"/proc/sys/{name.replace('.', '/')}", os.W_OK):
            self.notes.append(f"{name} is read-only here: the machine that runs this host decides it")
            return {}
        before = self.ledger.get(f"sysctl {name}", {"before": current})["before"]
        return {} if minimum and int(before) >= int(value) else {name: value}

    def mirrored(self) -> dict[str, str]:
        """Return the package sources that mirrors change, or have changed."""
        mirrors = self.module.params["mirrors"]
        found = {}
        for path, text in source_files().items() if mirrors else ():
            new = rewrite_sources(text, mirrors)
            if new != text or f"source {path}" in self.ledger:
                found[f"source {path}"] = new
        return found

    def proxied(self) -> dict[str, str]:
        """Return the settings of the host's proxy; raises Fault where the variable cannot mean one."""
        given, direct = self.module.params["proxy"], self.module.params["direct"]
        wrong = next(proxy.mistakes(given), None) if given else None
        if wrong:
            raise Fault(f"host_base_proxy {wrong[0]}", wrong[1])
        # Ansible keeps the whole URL out of what it prints; of it, this is what a program may repeat.
        logins = filter(None, map(proxy.parts, proxy.proxies(given).values()))
        self.module.no_log_values.update(one.password for one in logins if one.password)
        return proxied.settings(given, direct, self.module.params["container_engine"])

    def set(self, key: str, value: str | None) -> None:
        """Change one setting if it differs, and remember what was there before."""
        kind, _, name = key.partition(" ")
        try:
            current = KINDS[kind].read(name)
            if current == value:
                return
            if not self.module.check_mode:
                # The first value before a change is on disk before anything changes.
                self.ledger.setdefault(key, {"before": current})["after"] = value
                self.save()
                KINDS[kind].write(name, value)
        except NotApplicable as reason:
            self.notes.append(str(reason))
            return
        self.changes.append(key)
        head = {"before_header": key, "after_header": key}
        self.diff.append({**head, "before": shown(key, current), "after": shown(key, value)})

    def restore(self, key: str) -> None:
        """Restore what was there before one setting, unless it has been changed since."""
        kind, _, name = key.partition(" ")
        entry = self.ledger[key]
        try:
            current = KINDS[kind].read(name)
        except NotApplicable:
            current = entry["before"]
        if current == entry["after"] or kind == "directory":
            self.set(key, entry["before"])
        elif current != entry["before"]:
            self.notes.append(f"{key} stays: it has been changed since")
        if not self.module.check_mode:
            del self.ledger[key]
            self.save()

    def refresh(self) -> None:
        """Run what has to follow a change."""
        if self.module.check_mode:
            return
        if any(f" {UNITS}/" in key for key in self.changes):
            run_checked("systemctl", "daemon-reload")
        for directory, argv in TRUST.items():
            # Without the package, its installation does the same later.
            if any(key.startswith("file " + directory) for key in self.changes) and shutil.which(argv[0]):
                run_checked(*argv)
        if any(key.startswith("chrony ") for key in self.changes):
            for unit in CHRONY:
                if KINDS["service"].read(unit) == "on":
                    run_checked("systemctl", "restart", unit)

    def warnings(self) -> list[str]:
        """Return what the host does not do by itself: a running Docker keeps a proxy that is gone."""
        gone = f"file {proxied.DOCKER}" in self.changes and not Path(proxied.DOCKER).exists()
        if not gone or KINDS["service"].read(CONTAINER_UNIT) != "on":
            return []
        return ["Docker uses the previous proxy until it is restarted: systemctl restart docker"]

    def run(self) -> dict[str, Any]:
        """Apply or restore the settings, and return the result."""
        absent = self.module.params["state"] == "absent"
        wanted = {} if absent else self.wanted()
        for key in reversed([key for key in self.ledger if key not in wanted]):
            if absent or key.partition(" ")[0] in self.module.params["scope"]:
                self.restore(key)
        for key, value in wanted.items():
            self.set(key, value)
        self.refresh()
        if absent and not self.module.check_mode:
            shutil.rmtree(str(RUNTIME), ignore_errors=True)
            if LEDGER.parent.is_dir() and not any(LEDGER.parent.iterdir()):
                LEDGER.parent.rmdir()
        changed, warnings = bool(self.changes), self.warnings()
        result = {"changed": changed, "changes": self.changes, "notes": self.notes, "diff": self.diff}
        return {**result, **({"provision": {"warning": warnings}} if warnings else {})}


ARGUMENTS: dict[str, dict[str, Any]] = {
    "settings": {"type": "list", "elements": "dict", "default": []},
    "scope": {"type": "list", "elements": "str", "default": []},
    "mirrors": {"type": "dict", "default": {}},
    "proxy": {"type": "dict", "default": {}, "no_log": True},
    "direct": {"type": "list", "elements": "str", "default": []},
    "container": {"type": "bool", "default": False},
    "container_engine": {"default": "none"},
    "state": {"choices": ["present", "absent"], "default": "present"},
}


def main() -> None:
    """Run as an Ansible module."""
    run(lambda module: Settings(module).run(), ARGUMENTS)


if __name__ == "__main__":
    main()
