# SPDX-License-Identifier: Apache-2.0
"""Tie processes to the life of this Ansible: their input ends when Ansible does, even if it is killed.

The input is a pipe that Ansible's main process opens and never writes to. Its workers inherit it, but not the
programs that they start, so the kernel closes it with Ansible; nothing has to be done meanwhile.
"""

from __future__ import annotations

import os
import subprocess
import uuid
from collections.abc import Sequence
from pathlib import Path

from provisioner.runs import events

VARIABLE = "PROVISION_LIFELINE"
RUN = "PROVISION_RUN"


def open_for_this_process() -> None:
    """Open the pipe, in Ansible's main process, and give the run a name."""
    reader, _kept_open = os.pipe()
    os.environ[VARIABLE] = f"{os.getpid()} {reader}"
    path = os.environ.get(events.VARIABLE, "")
    own = Path(path).parent.name if path and path != os.devnull else ""
    os.environ[RUN] = own or uuid.uuid4().hex[:12]


def start(argv: Sequence[str | bytes]) -> bool:
    """Start a program that lives as long as this run; return False where Ansible has no such pipe."""
    main, _, reader = os.environ.get(VARIABLE, "").partition(" ")
    if main not in (str(os.getppid()), str(os.getpid())):
        return False
    try:
        subprocess.Popen(  # it outlives this worker on purpose
            argv,
            stdin=int(reader),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError:
        return False
    return True
