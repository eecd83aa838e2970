# SPDX-License-Identifier: Apache-2.0
"""Format outcomes, sizes and times for the screen; every colour has a symbol with the same meaning."""

from __future__ import annotations

import io
import json

from rich.console import Console
from rich.text import Text

from provisioner.ansible.module_utils.provision.host.payload import Transfer
from provisioner.plain import one_line
from provisioner.runs import report as r
from provisioner.runs.fold import RUNNING, WAITING

STYLES = {
    r.OK: "green",
    r.CHANGED: "yellow",
    r.FAILED: "bold red",
    r.UNREACHABLE: "bold red",
    r.INTERRUPTED: "bold red",
    RUNNING: "cyan",
    "passed": "green",
}
SYMBOLS = {
    r.OK: "✓",
    r.CHANGED: "+",
    r.FAILED: "✗",
    r.UNREACHABLE: "!",
    r.SKIPPED: "-",
    r.NOT_REACHED: "·",
    r.INTERRUPTED: "?",
    RUNNING: "▸",
    WAITING: " ",
    "passed": "✓",
    "not applicable": "-",
}
ASCII = str.maketrans({"✓": "v", "✗": "x", "·": ".", "▸": ">"})
MEANINGS = (r.OK, r.CHANGED, r.FAILED, r.UNREACHABLE, r.SKIPPED, r.NOT_REACHED, r.INTERRUPTED)
KILO = 1000.0
MINUTE, HOUR = 60, 3600


def replace_unencodable(console: Console) -> None:
    """Print a question mark for what the output's encoding cannot represent, rather than fail."""
    if isinstance(console.file, io.TextIOWrapper) and "utf" not in console.encoding.lower():
        console.file.reconfigure(errors="replace")


def hosts(count: int) -> str:
    """Return a number of hosts, with the noun: 1 host, 2 hosts."""
    return "1 host" if count == 1 else f"{count} hosts"


def symbol(outcome: str, console: Console, count: int = 0) -> Text:
    """Return the symbol of an outcome, for changes with their number."""
    mark = SYMBOLS.get(outcome, "?")
    mark = mark if "utf" in console.encoding.lower() else mark.translate(ASCII)
    return Text(f"{mark}{count}" if count else mark, STYLES.get(outcome, "dim"))


def legend(outcomes: set[str], console: Console) -> Text:
    """Return the meaning of each symbol that is used."""
    parts = [Text.assemble(symbol(name, console), f" {name}") for name in MEANINGS if name in outcomes]
    return Text("   ").join(parts)


def size(count: float) -> str:
    """Return a number of bytes as people write it: 1.2 GB."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < KILO:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.3g} {unit}"
        count /= KILO
    return f"{count:.3g} TB"


def duration(seconds: float) -> str:
    """Return a time span as people write it: 0.4 s, 12 s, 3:05, 1:02:03."""
    if seconds < 10:
        return f"{max(seconds, 0.0):.1f} s"
    whole = round(seconds)
    if whole < MINUTE:
        return f"{whole} s"
    if whole < HOUR:
        return f"{whole // MINUTE}:{whole % MINUTE:02d}"
    return f"{whole // HOUR}:{whole % HOUR // MINUTE:02d}:{whole % MINUTE:02d}"


def transfer(progress: Transfer) -> str:
    """Return how far a transfer is, with its rate and the time left where these are known."""
    done, total, rate = progress.done_bytes, progress.total_bytes, progress.rate_bytes_s
    parts = [f"{size(rate)}/s"] if rate else []
    if done is not None and total:
        left = [f"{duration(max(total - done, 0) / rate)} left"] if rate else []
        head = " ".join((f"{min(done / total, 1.0):.0%}", *parts, *left))
        parts = [head, f"{size(done)} of {size(total)}"]
    elif done or (done is not None and not progress.label):
        # A step that transfers nothing has a label instead.
        parts = [size(done), *parts]
    if progress.label:
        parts.append(one_line(progress.label, 60))
    return ", ".join(parts)


def progress(known: Transfer | None, attempt: int | None, attempts: int | None) -> str:
    """Return how far a task is: by its transfer, or else by the number of tries."""
    shown = transfer(known) if known else ""
    if shown or not attempt:
        return shown
    return f"try {attempt} of {attempts}" if attempts else f"try {attempt}"


def value(given: object) -> str:
    """Return the value of a variable as an inventory may contain it."""
    if given is None:
        return "unset"
    return given if isinstance(given, str) else json.dumps(given)


def middle(text: str, width: int) -> str:
    """Shorten a name in its middle: similar names mostly differ at their ends."""
    if len(text) <= width:
        return text
    tail = (width - 1) // 2
    return f"{text[: width - 1 - tail]}…{text[len(text) - tail :]}"


def host_text(text: object, style: str = "", limit: int = 2000) -> Text:
    """Return text from a host as a single harmless line: no markup, no control characters."""
    return Text(one_line(text, limit), style)
