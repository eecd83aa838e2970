# SPDX-License-Identifier: Apache-2.0
"""Read any Ansible inventory through `ansible-inventory`, the interface that Ansible keeps stable."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from provisioner import settings
from provisioner.errors import InventoryError, ProvisionError, UsageError
from provisioner.fleet import findings, origins, structure
from provisioner.fleet.files import UNLOCK_HINT, LockedError

BUILTIN_GROUPS = ("all", "ungrouped")

# Settings of a listing, whatever ansible.cfg and the environment set for runs.
_LISTING = {
    # A half-read inventory would silently leave hosts out, and so would the same key twice.
    "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "true",
    "ANSIBLE_DUPLICATE_YAML_DICT_KEY": "error",
    "ANSIBLE_INVENTORY_EXPORT": "false",
    # Of `--limit gpu1,typo`, Ansible would otherwise ignore the part that matches nothing.
    "ANSIBLE_HOST_PATTERN_MISMATCH": "error",
    # The command line asks, once.
    "ANSIBLE_ASK_VAULT_PASS": "False",
    # Anything beside the document would spoil it.
    "ANSIBLE_NOCOLOR": "1",
    "ANSIBLE_VERBOSITY": "0",
    "ANSIBLE_DEBUG": "false",
}
# Ansible's message about an inventory that none of its plugins can read.
_READING = re.compile(r"Failed to parse inventory with '\w+' plugin: (?:Failed to parse inventory: )?(.+)")
_PLACE = re.compile(r"Origin: (\S.*:\d+):\d+$", re.MULTILINE)
# How messages begin that it prints before it reads any inventory; later errors are in brackets.
_NO_START = "ERROR: "
_FORMS = "as name=value, as JSON, or as @FILE"
_NO_MATCH = re.compile(
    r"(?:Could not match supplied host pattern, ignoring: |subscripted pattern )'?([^'\n]+)"
)
_LOCKED = "no vault secrets found"
_NOT_UNLOCKED = "Decryption failed"
_UNREAD = re.compile(r"Completely failed to parse inventory source (.+)")


@dataclass(frozen=True)
class Inventory:
    """The merged variables of every host, and the groups it belongs to, nearest first."""

    source: str
    hosts: Mapping[str, Mapping[str, Any]]
    groups: Mapping[str, tuple[str, ...]]

    @property
    def folder(self) -> Path:
        """Return the folder to which relative paths in the inventory refer."""
        path = Path(self.source)
        return path if path.is_dir() else path.parent

    def magic(self, host: str) -> dict[str, Any]:
        """Return what Ansible itself adds to the variables of a host, as far as templates often use it."""
        groups = sorted(set(self.groups[host]) - {"all"})
        added = {
            "inventory_hostname": host,
            "inventory_hostname_short": host.split(".", maxsplit=1)[0],
            "group_names": groups,
        }
        if not Path(self.source).exists():
            return added
        return {**added, "inventory_dir": os.path.abspath(self.folder.expanduser())}  # noqa: PTH100 - as Ansible does


def load(
    source: str,
    *,
    limit: str | None = None,
    extra_vars: Sequence[str] = (),
    vault_arguments: Sequence[str] = (),
) -> Inventory:
    """Return the inventory at `source`: INI, YAML, a folder, a script, or a list such as `host,`.

    Raises UsageError when there is no such file, or when the limit or the variables are not valid, and
    InventoryError when Ansible cannot read it.
    """
    if "," not in source and not Path(source).exists():
        raise UsageError(
            f"no inventory at {source}",
            "give the path of an Ansible inventory, or write one with `provision init`",
        )
    _check_variables(extra_vars)
    structure.check(source)
    document = _list(source, limit, extra_vars, vault_arguments)
    hosts = document.get("_meta", {}).get("hostvars", {})
    groups = _groups_of_hosts(document)
    return Inventory(source, {name: hosts.get(name, {}) for name in groups}, groups)


def unlock(path: Path, vault_arguments: Sequence[str] = ()) -> bytes:
    """Return the content of a file that is encrypted by Ansible's vault; raises LockedError."""
    done = _call([sys.executable, "-m", "ansible", "vault", "view", *vault_arguments, str(path)])
    if done.returncode == 0:
        return done.stdout.encode()
    if _NOT_UNLOCKED in done.stderr:
        raise LockedError("is encrypted, and the password of the vault does not fit")
    raise LockedError("is encrypted, and no password of the vault is given")


def _check_variables(extra_vars: Sequence[str]) -> None:
    """Refuse what Ansible would ignore, or report without the name of the file."""
    for given in extra_vars:
        if given.startswith("@") and not Path(given[1:]).expanduser().is_file():
            raise UsageError(
                f"there is no regular file {given[1:]}, to which -e refers",
                "give -e the path of a file as @FILE",
            )
        # It is not shown, as it may be a secret.
        if given[:1] not in {"@", "{", "["} and "=" not in given:
            raise UsageError("an -e has no '=', so it sets nothing", f"give it {_FORMS}")


def _list(
    source: str, limit: str | None, extra_vars: Sequence[str], vault_arguments: Sequence[str]
) -> dict[str, Any]:
    argv = [sys.executable, "-m", "ansible", "inventory", "-i", source, "--list", *vault_arguments]
    variables = [argument for value in extra_vars for argument in ("-e", value)]
    limited = ["--limit", limit] if limit else []
    done = _call([*argv, *variables, *limited])
    if done.returncode == 0:
        document: dict[str, Any] = json.loads(done.stdout)
        return document
    # For all of these, Ansible reports that it cannot read the inventory.
    if (variables or limited) and not done.stderr.startswith(_NO_START) and _call(argv).returncode == 0:
        reason = _reason(source, done.stderr)
        if variables and _call([*argv, *variables]).returncode:
            step = UNLOCK_HINT if "vault" in reason else f"give them {_FORMS}"
            raise UsageError(f"Ansible cannot read the variables of -e: {reason}", step)
        raise _wrong_limit(source, str(limit), reason, argv)
    raise _refusal(source, done.stderr)


def _wrong_limit(source: str, limit: str, reason: str, argv: Sequence[str]) -> UsageError:
    """Return what is wrong with a limit, with the name that its part was meant to be."""
    if not (part := _NO_MATCH.search(reason)):
        step = "give names of hosts or groups, or an Ansible pattern"
        return UsageError(f"Ansible cannot read --limit {limit}: {reason}", step)
    document = json.loads(_call(argv).stdout)
    known = {*document, *_groups_of_hosts(document)} - {"_meta"}
    near = findings.nearest(part[1], sorted(known))
    step = (
        f"did you mean {near}?" if near else f"`ansible-inventory -i {source} --graph` shows hosts and groups"
    )
    return UsageError(f"--limit {limit}: no host or group matches {part[1]}", step)


def _call(argv: Sequence[str]) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **settings.locale_for_ansible(), **_LISTING}
    return subprocess.run(argv, env=environment, capture_output=True, encoding="utf-8", check=False)


def _refusal(source: str, stderr: str) -> ProvisionError:
    if stderr.startswith(_NO_START):
        reason = stderr.partition("\n")[0].removeprefix(_NO_START)
        step = "fix that in the environment or in the ansible.cfg that `ansible --version` shows"
        return UsageError(f"Ansible does not start: {reason}", step)
    step = f"`ansible-inventory -i {source} --list -vvv` shows how each part was read"
    reason = _reason(source, stderr)
    if _LOCKED in reason:
        reason, step = "its variables are encrypted", UNLOCK_HINT
    elif _NOT_UNLOCKED in reason:
        reason, step = "the password of the vault does not fit", UNLOCK_HINT
    return InventoryError(f"Ansible cannot read the inventory {source}: {reason}", next_step=step)


def _reason(source: str, stderr: str) -> str:
    # Ansible does not report which file of variables it could not read.
    place = origins.broken_yaml(source) if "YAML parsing failed" in stderr else None
    if named := _PLACE.search(stderr):
        place = place or named[1]
    where = f" ({place})" if place else ""
    readings, unread = _READING.findall(stderr), _UNREAD.search(stderr)
    if readings and unread:
        # Ansible tries INI last, even for files that are clearly something else.
        return readings[-1] if _may_be_ini(Path(unread[1])) else f"{readings[0]}{where}"
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    errors = [line for line in lines if "ERROR" in line or "rror:" in line]
    message = " ".join(errors or lines[-3:]).removeprefix("[ERROR]: ")
    return f"{message}{where}" if message else "no reason given"


def _may_be_ini(path: Path) -> bool:
    return path.suffix not in origins.YAML_SUFFIXES and not os.access(path, os.X_OK)


def _groups_of_hosts(document: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """Return each host's groups, the nearest first and `all` last."""
    children = {name: group.get("children", []) for name, group in document.items() if name != "_meta"}
    found: dict[str, list[str]] = {}
    for group in sorted(children, key=lambda name: -_depth(name, children)):
        for host in _members(group, document):
            found.setdefault(host, []).append(group)
    for host in document.get("_meta", {}).get("hostvars", {}):
        found.setdefault(host, ["all"])
    return {host: tuple(names) for host, names in found.items()}


def _depth(group: str, children: Mapping[str, Sequence[str]]) -> int:
    parents = [name for name, members in children.items() if group in members]
    return 0 if not parents else 1 + max(_depth(parent, children) for parent in parents)


def _members(group: str, document: Mapping[str, Any]) -> list[str]:
    entry = document.get(group, {})
    hosts = list(entry.get("hosts", []))
    for child in entry.get("children", []):
        hosts += [host for host in _members(child, document) if host not in hosts]
    return hosts
