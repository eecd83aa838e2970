# SPDX-License-Identifier: Apache-2.0
"""Add or remove a package repository of NVIDIA with its key pinned by fingerprint."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.provision.host import proxy
from ansible.module_utils.provision.host.entry import run
from ansible.module_utils.provision.host.fault import Fault, undo
from ansible.module_utils.provision.host.paths import text_of
from ansible.module_utils.provision.host.repository import (
    Repository,
    disabled,
    key_for,
    key_is_right,
    out_of_sight,
    refuse_login,
    rivals,
)
from ansible.module_utils.provision.host.settings import write_file


@dataclass(frozen=True)
class Change:
    """Collect what changes, and make it unless this is a dry run."""

    dry: bool
    diff: list[dict[str, str]] = field(default_factory=list)

    def write(self, path: Path, text: str) -> None:
        """Give a file this text; an empty one removes it."""
        before, head = text_of(path), str(path)
        if before != text:
            self.diff.append({"before_header": head, "after_header": head, "before": before, "after": text})
            if not self.dry:
                write_file(head, text or None)

    def move(self, path: Path, to: Path) -> None:
        """Give a file another name."""
        self.diff.append({"before": f"{path}\n", "after": f"{to}\n"})
        if not self.dry:
            path.rename(to)


def add(repository: Repository, change: Change, *, replace: bool) -> list[str]:
    """Add the repository, and return the source files that were disabled."""
    refuse_login(repository)
    others = rivals(repository)
    # A file of many sources is nobody's to move away.
    if others and not (replace and all(path.parent == repository.source.parent for path in others)):
        raise Fault(
            f"{', '.join(map(str, others))} already defines {repository.url}, and two sources of one "
            "repository contradict each other",
            "remove that file, or disable it with the role's variable that ends in _replace_repository",
        )
    if not key_is_right(repository):
        # A dry run leaves the network alone, too: what it would fetch, it says.
        key = f"key {', '.join(repository.fingerprints)}\n" if change.dry else key_for(repository)
        change.write(repository.key, key)
    try:
        for path in others:
            change.move(path, out_of_sight(repository.name, path))
        for path, text in repository.files().items():
            change.write(path, text)
    except BaseException as error:
        # A host that has neither source would miss every update.
        moved = [(out_of_sight(repository.name, path), path) for path in others if not path.exists()]
        undo(error, *(partial(hidden.rename, path) for hidden, path in moved))
        raise
    return [str(path) for path in others]


def remove(repository: Repository, change: Change) -> list[str]:
    """Remove our files, and enable the sources that were disabled, so that none is."""
    for path in (*repository.files(), repository.key):
        change.write(path, "")
    for hidden, path in disabled(repository).items():
        change.move(hidden, path)
    return []


def outcome(module: AnsibleModule) -> dict[str, Any]:
    """Return the result of one call."""
    given = dict(module.params, fingerprints=tuple(module.params["fingerprints"]))
    replace, state = given.pop("replace"), given.pop("state")
    environment = {name: str(value) for name, value in given.pop("environment").items()}
    os.environ.update(proxy.spelt(environment))
    repository, change = Repository(**given), Change(dry=module.check_mode)
    present = state == "present"
    replaced = add(repository, change, replace=replace) if present else remove(repository, change)
    return {"changed": bool(change.diff), "diff": change.diff, "replaced": replaced}


ARGUMENTS: dict[str, dict[str, Any]] = {
    "name": {"type": "str", "required": True},
    "url": {"type": "str", "required": True},
    "key_url": {"type": "str", "default": "", "no_log": False},
    "key_text": {"type": "str", "default": "", "no_log": False},
    "key_word": {"type": "str", "default": "the fingerprints", "no_log": False},
    "role": {"type": "str", "default": ""},
    "fingerprints": {"type": "list", "elements": "str", "default": []},
    "pins": {"type": "str", "default": ""},
    "signed": {"choices": ["packages", "metadata"], "default": "packages"},
    # Not the keyword of a task, which shows its values in the list of processes.
    "environment": {"type": "dict", "default": {}, "no_log": True},
    "replace": {"type": "bool", "default": False},
    "state": {"choices": ["present", "absent"], "default": "present"},
}


def main() -> None:
    """Run as an Ansible module."""
    run(outcome, ARGUMENTS)


if __name__ == "__main__":
    main()
