# SPDX-License-Identifier: Apache-2.0
"""Carry the reason of a failure on a host to the entry that reports it."""

from __future__ import annotations

import errno
import os
import re
from typing import Any, Callable

NO_CONSENT = "run again with --yes, or answer the question, to allow the interruption"
AGAIN = "run the same command again: it continues where this one ended"
DEFECT = (
    "this is a bug in provision: run the same command again, and report it with the host's log if it "
    "happens again"
)
# What helps where the kernel refuses a file operation.
REMEDIES = {
    errno.ENOSPC: "free space on that file system (see `df -h`, and `df -i` for inodes)",
    errno.EDQUOT: "free space there, or raise the quota",
    errno.EROFS: "check `dmesg` for disk errors, and remount the file system read-write",
    errno.EIO: "check `dmesg` for disk errors",
    errno.EACCES: "use `ls -ldZ` and `ausearch -m avc -ts recent` to find what denies root access",
    errno.EPERM: "use `lsattr` to check whether the file is immutable",
    errno.EMFILE: "raise the limit of open files",
    errno.ENOMEM: "free memory on the host",
}
CAUSE_LENGTH = 300
# How apt and dpkg, dnf, pip, uv, conda, compilers, curl and Python begin the line that shows the error.
_ERROR_LINE = re.compile(
    r"(?:E: |dpkg: error|(?:\S+: )?(?:fatal|(?:fatal )?error): ?\S|Errors? during |ERROR:? \S|curl: \(\d+\) "
    r"|\S*(?:Error|Exception): )",
    re.IGNORECASE,
)
REPAIR = "fix the reported problem on the host"
RETRY = "then run the same command again"


class Fault(Exception):
    """Report what went wrong; `next_step` is what to do about it.

    Where a program's output follows a first line that ends with a colon, the message is that line and the
    one line of the output that shows the cause; `detail` has all of it, for the log.
    """

    def __init__(self, message: str, next_step: str, detail: str = "", cause: str = "") -> None:
        head, _, output = message.partition(":\n")
        if output and "\n" not in head:
            message, detail = f"{head}: {cause or cause_in(output)}", output.strip("\n")
        elif message.endswith(":\n"):
            message = f"{head}, and it printed nothing"
        super().__init__(message)
        self.next_step = next_step
        self.detail = detail

    @property
    def provision(self) -> dict[str, Any]:
        """Return the `provision` key of a module's result that reports this fault."""
        return {"next": self.next_step, **({"detail": self.detail} if self.detail else {})}


def cause_in(output: str) -> str:
    """Return the line of a program's output that shows why it failed: its first error, else its last line."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    found = (line for line in lines if _ERROR_LINE.match(line))
    return next(found, lines[-1] if lines else "it printed nothing")[:CAUSE_LENGTH]


class ConsentNeeded(Fault):
    """Report changes that need consent and have none."""

    def __init__(self, changes: list[str], next_step: str = NO_CONSENT) -> None:
        super().__init__(f"needs consent: {'; '.join(changes)}", next_step)
        self.changes = changes

    @property
    def provision(self) -> dict[str, Any]:
        """Return the `provision` key of a module's result that asks for consent."""
        return {"consent": self.changes, "next": self.next_step}


def fault_of(error: BaseException) -> Fault:
    """Return what any exception means to the user: a message with a next step."""
    if isinstance(error, Fault):
        return error
    if isinstance(error, OSError):
        return Fault(described(error), f"{REMEDIES.get(error.errno or 0, REPAIR)}, {RETRY}")
    if isinstance(error, MemoryError):
        return Fault("the host ran out of memory", f"{REMEDIES[errno.ENOMEM]}, {RETRY}")
    if isinstance(error, Exception):
        text = str(error)
        return Fault(f"unexpected {type(error).__name__}{': ' if text else ''}{text}", DEFECT)
    return Fault("it was stopped before it had finished", AGAIN)


def described(error: OSError) -> str:
    """Return an error of the kernel with the files it is about, without Python's number and quotes."""
    if not error.strerror:
        return str(error) or type(error).__name__
    files = " -> ".join(
        os.fsdecode(name) for name in (error.filename, error.filename2) if isinstance(name, (str, bytes))
    )
    return f"{files}: {error.strerror}" if files else str(error.strerror)


def undo(error: BaseException, *steps: Callable[[], object]) -> None:
    """Undo what an error has left half done, by every step that can; raises Fault when one cannot.

    That fault begins with the error, which is what the user has to know first.
    """
    failed = []
    for step in steps:
        try:
            step()
        except Exception as second:  # noqa: BLE001, PERF203 - the other steps must not depend on it
            failed.append(fault_of(second))
    if failed:
        said = "; ".join(str(one) for one in failed)
        raise Fault(
            f"{fault_of(error)}; and not all of it could be undone: {said}",
            failed[0].next_step,
            fault_of(error).detail,
        ) from error
