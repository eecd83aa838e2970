#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Time the first and the converged apply of a lab, `provision apply` beside plain `ansible-playbook`."""

from __future__ import annotations

import argparse
import os
import platform
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
# This checkout's command, whatever is installed beside the interpreter.
PROVISION = (sys.executable, "-m", "provisioner")
COMMANDS = Path(sys.executable).parent
# What the lab says while somebody else starts or removes hosts, which takes some minutes.
BUSY = "another lab command is at work"
LAB_SECONDS = 1800


@dataclass(frozen=True)
class Runner:
    """Name one way to bring a site up, and the command that does it."""

    name: str
    argv: tuple[str, ...]


@dataclass(frozen=True)
class Row:
    """Hold the seconds that each runner took for one job."""

    job: str
    seconds: tuple[float, ...]


def main() -> None:
    """Measure what is asked for and print it side by side."""
    options = _options()
    runners = _runners(options.inventory)
    rows = [] if options.converged_only else [_first(options.inventory, runners)]
    if options.converged_only:
        _lab("up", options.inventory)
        _timed(runners[0])
    rows.append(_converged(runners, options.repeat))
    command = shlex.join(["bench/apply.py", *sys.argv[1:]])
    print(f"\n{command}: {os.cpu_count()} cores, {platform.platform()}")
    for runner in runners:
        print(f"  {runner.name}: {shlex.join((Path(runner.argv[0]).name, *runner.argv[1:]))}")
    print("\n".join(_table(runners, rows)))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="On a new machine run it twice: the first run fills the package cache that all hosts share.",
    )
    parser.add_argument("inventory", nargs="?", type=Path, default=CHECKOUT / "inventories/lab.ini")
    parser.add_argument("--repeat", type=int, default=5, help="converged applies of each; the median counts")
    parser.add_argument("--converged-only", action="store_true", help="keep the lab's hosts as they are")
    return parser.parse_args()


def _runners(inventory: Path) -> tuple[Runner, Runner]:
    site = CHECKOUT / "playbooks/site.yml"
    return (
        Runner("provision", (*PROVISION, "apply", "--yes", str(inventory))),
        Runner("ansible-playbook", (str(COMMANDS / "ansible-playbook"), "-i", str(inventory), str(site))),
    )


def _first(inventory: Path, runners: Sequence[Runner]) -> Row:
    """Give each runner hosts that nobody has touched."""
    seconds = []
    for runner in runners:
        _lab("down", inventory)
        _lab("up", inventory)
        seconds.append(_timed(runner))
    return Row("first apply, fresh hosts", tuple(seconds))


def _converged(runners: Sequence[Runner], repeat: int) -> Row:
    """Let the runners take turns, so that both meet the same noise."""
    rounds = [[_timed(runner) for runner in runners] for _ in range(repeat)]
    return Row(
        f"converged apply, median of {repeat}", tuple(map(statistics.median, zip(*rounds, strict=True)))
    )


def _lab(verb: str, inventory: Path) -> None:
    """Start or remove the hosts, once nobody else is at it; none of it is timed."""
    deadline = time.monotonic() + LAB_SECONDS
    while BUSY in _run((*PROVISION, "lab", verb, str(inventory)), passing=BUSY):
        if time.monotonic() > deadline:
            sys.exit(f"{BUSY}, for more than {LAB_SECONDS // 60} minutes")
        time.sleep(5)


def _timed(runner: Runner) -> float:
    started = time.monotonic()
    _run(runner.argv)
    elapsed = time.monotonic() - started
    print(f"{runner.name}: {elapsed:.1f} s", file=sys.stderr)
    return elapsed


def _run(argv: Sequence[str], passing: str | None = None) -> str:
    """Run a command that has to succeed, unless it fails with `passing`; return its messages."""
    done = subprocess.run(
        argv, cwd=CHECKOUT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode != 0 and (passing is None or passing not in done.stderr):
        sys.exit(
            f"{shlex.join(argv)} ended with {done.returncode}:\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
        )
    return done.stderr if done.returncode else ""


def _table(runners: Sequence[Runner], rows: Sequence[Row]) -> list[str]:
    lines = [f"{'':34}" + "".join(f"{runner.name:>18}" for runner in runners) + f"{'ratio':>8}"]
    for row in rows:
        ratio = row.seconds[0] / row.seconds[1]
        lines.append(f"{row.job:34}" + "".join(f"{took:>16.1f} s" for took in row.seconds) + f"{ratio:>8.2f}")
    return lines


if __name__ == "__main__":
    main()
