# SPDX-License-Identifier: Apache-2.0
"""Explain failures of conda, and set the owner of its files."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from ..host.fault import Fault
from ..host.follow import Done
from ..host.outward import trouble
from .conda_place import CONDARC, Wanted

CAUSES = {
    r"PackagesNotFound|ResolvePackageNotFound|UnsatisfiableError|nothing provides|does not exist": (
        "a package of exactly that version is not in the channels for this architecture: check "
        "python_env_conda_python, python_env_conda_packages and python_env_conda_channels"
    ),
    r"Terms of Service": (
        "read the terms of the channels, and set python_env_conda_accept_terms: true if you accept them"
    ),
    r"HTTP 40[13]|\b40[13] ": "set python_env_conda_netrc_file to a netrc file with user and password",
    r"CondaHTTPError|CondaSSLError|ConnectionError|ConnectTimeout|Could not resolve|SSL": (
        "check that this host reaches the channels; configure a mirror in python_env_conda_channel_alias or "
        "python_env_conda_custom_channels, a proxy in python_env_environment, a certificate authority in "
        "python_env_ca_bundle"
    ),
    r"No space left|NoSpaceLeft": "free space, then apply again",
}


def conda_fault(wanted: Wanted, done: Done) -> Fault:
    """Return why conda did not install Python, with a remedy where its output shows a known cause."""
    known = trouble(done.tail)
    remedy = (
        f"{known.says}: {known.step}"
        if known
        else next((remedy for pattern, remedy in CAUSES.items() if re.search(pattern, done.tail)), "")
    )
    return Fault(
        f"conda of {wanted} could not install Python {wanted.python} (exit {done.code}):\n{done.tail}",
        remedy or f"read conda's output; its settings are in {wanted.prefix / CONDARC}",
    )


def settled(directory: Path) -> None:
    """Give everything in a directory to root, readable but not writable for others."""
    for folder, names, files in os.walk(str(directory)):
        for path in (Path(folder), *(Path(folder) / name for name in (*names, *files))):
            found = path.lstat()
            if (found.st_uid, found.st_gid) != (os.geteuid(), os.getegid()):
                os.lchown(str(path), os.geteuid(), os.getegid())
            mode = stat.S_IMODE(found.st_mode)
            wanted = mode & ~0o7022 | (0o555 if stat.S_ISDIR(found.st_mode) else 0o444)
            if wanted != mode and not stat.S_ISLNK(found.st_mode):
                path.chmod(wanted)
