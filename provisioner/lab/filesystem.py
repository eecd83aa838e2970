# SPDX-License-Identifier: Apache-2.0
"""Describe a host's file system, so that a test can say what a run changed."""

from __future__ import annotations

from collections.abc import Sequence

from provisioner.lab.hosts import exec_in
from provisioner.lab.spec import DEFAULT_LAB

# Changes by themselves: logs, clocks, and what podman itself keeps in the file system.
VOLATILE = (
    "/var/log",
    "/var/lib/systemd",
    "/var/tmp/systemd-private-*",  # noqa: S108 - a pattern of names to leave out
    "/etc/hosts",
    "/etc/resolv.conf",
)


def filesystem_digest(
    host: str, *, lab: str = DEFAULT_LAB, exclude: Sequence[str] = (), content: bool = True
) -> dict[str, str]:
    """Describe every file of a host, so that two descriptions show what changed between them.

    Each path maps to type, mode, owner, size, link target and, with `content`, the sha256 of regular files;
    without it the time of the last change instead, which is quick and notices even rewrites of equal bytes.
    Mounted file systems (/proc, /run, /tmp, the shared cache) and `VOLATILE` paths are left out.
    """
    pruned = [argument for path in (*VOLATILE, *exclude) for argument in ("-path", path, "-o")]
    walk = ["find", "/", "-xdev", "(", *pruned[:-1], ")", "-prune", "-o"]
    stamp = "" if content else " %C@"
    listed = exec_in(host, [*walk, "-printf", rf"%p\t%y %m %U:%G %s %l{stamp}\0"], lab=lab)
    described = dict(
        line.split("\t", 1) for line in listed.stdout.decode(errors="surrogateescape").split("\0") if line
    )
    if content:
        sums = exec_in(host, [*walk, "-type", "f", "-exec", "sha256sum", "--zero", "{}", "+"], lab=lab)
        for line in sums.stdout.decode(errors="surrogateescape").split("\0"):
            digest, _, path = line.partition("  ")
            if path in described:
                described[path] += f" sha256:{digest}"
    # A directory's size depends on how it grew once, not on what it contains.
    return {path: _without_size(text) if text.startswith("d") else text for path, text in described.items()}


def _without_size(text: str) -> str:
    kind, mode, owner, _size, *rest = text.split(" ")
    return " ".join((kind, mode, owner, *rest))
