# SPDX-License-Identifier: Apache-2.0
"""Record which packages the transactions of this project install, so that a removal finds them.

The script of a transaction itself lists what is installed before and after it, so that what others install
between two calls never counts as ours. Both lists get their names when they are complete; a transaction that
was interrupted has no second list.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from ..files import keep_json, read_json, write_json
from ..paths import text_of
from . import Manager

# One transaction at a time, whichever module starts it.
UNIT = "provision-job-packages"
STATE = Path("/var/lib/provision")
# What the last transaction was for and its two lists; it exists until its result has been reported.
RECORD = STATE / "packages.transaction"
LEDGER = STATE / "packages.json"
LISTS = r"""
record=$1 asked=$2 listing=$3
shift 3
rm -rf "$record"
mkdir "$record"
printf '%s\n' "$asked" > "$record/asked"
again() { :; }
before="cd '$record' && { test -e before || { $listing > before.new && mv before.new before; }; }"
after() {
    if sh -c "$listing" > "$record/after.new" && sync "$record/after.new"; then
        mv "$record/after.new" "$record/after"
    fi
    again || echo 'Not all holds could be put back; see apt-mark showhold.'
}
trap after EXIT
trap 'exit 143' TERM
"""


def command(packages: Manager, script: str, asked: list[str], names: list[str]) -> list[str]:
    """Return the command of a recorded transaction: `asked` is what it is for, `names` what it changes."""
    return [
        "/bin/sh",
        "-ec",
        LISTS + packages.keep_holds + script,
        "sh",
        str(RECORD),
        json.dumps(asked),
        packages.listing,
        *names,
    ]


def installed_for(asked: list[str]) -> set[str]:
    """Return what the recorded transactions for any of these names have installed, or all of them."""
    entries = (entry for entry in read_json(LEDGER, []) if not asked or set(asked) & set(entry["asked"]))
    return {name for entry in entries for name in entry["installed"]}


def note(asked: list[str], installed: list[str]) -> None:
    """Add packages that were installed to the ledger."""
    if installed:
        write_json(LEDGER, [*read_json(LEDGER, []), {"asked": asked, "installed": installed}], 0o644)


def settle(packages: Manager, asked: list[str]) -> dict[str, list[str]]:
    """Move what the last transaction has installed and removed into the ledger, and return both, once."""
    before, after = (packages.names_in(text_of(RECORD / name)) for name in ("before", "after"))
    wanted = read_json(RECORD / "asked", asked)
    # Of a transaction that was killed; others have done this themselves.
    packages.hold_again(text_of(RECORD / "held").split())
    shutil.rmtree(str(RECORD))
    if not before or not after:
        return {"installed": [], "removed": []}  # It is no longer known which packages are ours, so none is.
    installed, removed = sorted(after - before), sorted(before - after)
    entries = [
        {**entry, "installed": [name for name in entry["installed"] if name not in removed]}
        for entry in read_json(LEDGER, [])
    ]
    left = [one for one in [*entries, {"asked": wanted, "installed": installed}] if one["installed"]]
    keep_json(LEDGER, left, 0o644)
    return {"installed": installed, "removed": removed}
