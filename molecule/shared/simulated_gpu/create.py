# SPDX-License-Identifier: Apache-2.0
"""Make the throwaway hosts of an inventory with simulated GPUs, all of them or those named.

`python molecule/shared/simulated_gpu/create.py INVENTORY [HOST,HOST...]`
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).resolve().parents[number]) for number in (1, 3)]

from provisioner import lab
from provisioner.fleet import inventory
from provisioner.lab.podman import connect
from simulated_gpu import build, conda
from simulated_gpu.install import STATE, install
from simulated_gpu.sources import name_distribution

GROUP = "lab"


def create(source: str, names: list[str]) -> None:
    """Start the hosts, and give new ones their GPUs, a kernel and their distribution's repositories."""
    found = inventory.load(source)
    known = {name: dict(found.hosts[name]) for name, groups in found.groups.items() if GROUP in groups}
    chosen = {name: known[name] for name in names or known}
    build.ensure(connect(start=True), {str(words["lab_image"]) for words in chosen.values()})
    conda.serve(chosen)
    lab.up(chosen, say=_say)
    for name, words in chosen.items():
        at = str(words["lab_name"])
        if lab.exec_in(name, ["test", "-e", STATE], lab=at, check=False).code:
            install(name, lab=at)
        name_distribution(name, lab=at)


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description="make throwaway hosts with simulated GPUs")
    parser.add_argument("inventory")
    parser.add_argument("hosts", nargs="?", default="")
    given = parser.parse_args()
    create(given.inventory, [name for name in given.hosts.split(",") if name])


if __name__ == "__main__":
    main()
