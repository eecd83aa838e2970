# SPDX-License-Identifier: Apache-2.0
"""Run the host's own programs, every one bounded in time."""

from __future__ import annotations

import contextlib
import os
import subprocess

from .fault import Fault

COMMAND_SECONDS = 30
# What a program that was killed gets for ending.
END_SECONDS = 1
REPAIR = "run it on the host and fix what it reports"
# What is read by a program: in English, without colours and never through a pager.
ENVIRONMENT = {"LC_ALL": "C", "SYSTEMD_PAGER": "", "SYSTEMD_COLORS": "0"}


class CommandFault(Fault):
    """Report a program that is missing, cannot be run or hangs."""


def call(*argv: str, seconds: float = COMMAND_SECONDS) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, whatever its exit status; raises CommandFault when it is missing or hangs."""
    try:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
            env=dict(os.environ, **ENVIRONMENT),
        )
    except FileNotFoundError as error:
        raise CommandFault(f"{argv[0]} is not installed on this host", f"install {argv[0]}") from error
    except OSError as error:
        step = f"check that root may run {argv[0]}"
        raise CommandFault(f"{argv[0]} cannot be run: {error.strerror}", step) from error
    try:
        out, err = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired as error:
        process.kill()
        # One that hangs in the kernel cannot be killed, so nothing waits for it for long.
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(END_SECONDS)
        for stream in (process.stdout, process.stderr):
            if stream:
                stream.close()
        command = " ".join(argv[:3])
        raise CommandFault(
            f"{command} did not end within {seconds:g} s",
            f"run '{command}' on the host; if systemd hangs, look at 'systemctl list-jobs'",
        ) from error
    except BaseException:
        process.kill()
        raise
    return subprocess.CompletedProcess(argv, process.returncode, out, err)


def need(*argv: str, seconds: float = COMMAND_SECONDS, next_step: str = REPAIR) -> str:
    """Run a program that has to succeed, and return what it printed."""
    done = call(*argv, seconds=seconds)
    if done.returncode:
        raise Fault(f"{' '.join(argv)} failed: {done.stderr.strip() or done.stdout.strip()}", next_step)
    return done.stdout
