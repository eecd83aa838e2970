# SPDX-License-Identifier: Apache-2.0
"""Let one run at a time change a host, whatever inventory or controller it comes from.

The lock is a file that its run's heartbeat touches. The heartbeat is a shell at the end of an SSH session
that the run holds open: when the run ends, however it ends, the session ends, and the shell removes the file.
One that was killed here leaves a file that no one touches, which the next run takes over.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
import uuid
from pathlib import Path
from typing import Any, Iterator

from .fault import Fault
from .files import read_json, replace_file
from .paths import text_of

# It is gone after a reboot, as the heartbeat is. The login user owns the folder, and so ends its own lock.
FOLDER = Path("/run/provision/lock")
BEAT_SECONDS = 10
# Also the time that the first beat may take.
STALE_SECONDS = 45
# A run that is just ending, such as one before a question was answered, gets so long for that.
ENDING_SECONDS = 3.0
PAUSE_SECONDS = 0.2


def take(run: str, by: str, what: str) -> tuple[str, str]:
    """Take the lock; return its token, and a warning if it was taken from a run that died.

    Raises Fault, which says who holds it, since when and what to do.
    """
    deadline = time.monotonic() + ENDING_SECONDS
    while True:
        with _guard():
            found = holder()
            if not _alive(found) or found["run"] == run:
                token = uuid.uuid4().hex
                _write({"run": run, "by": by, "what": what, "since": time.time(), "token": token})
                died = found and found["run"] != run
                return token, f"took over the host from {_described(found)}: it has died" if died else ""
        if time.monotonic() >= deadline:
            raise Fault(
                f"this host is being changed by {_described(found)}",
                "wait until that run ends, or stop it with Ctrl-C where it was started, then run the same "
                f"command again; a run that was killed lets go of the host within {STALE_SECONDS} s",
            )
        time.sleep(PAUSE_SECONDS)


def noticed() -> str:
    """Return a warning if a run changes this host now."""
    found = holder()
    return (
        f"this host is being changed by {_described(found)}: what is shown may change"
        if _alive(found)
        else ""
    )


def holder() -> dict[str, Any]:
    """Return whom the lock belongs to; empty if no one has it."""
    found = read_json(FOLDER / "holder", {})
    if not isinstance(found, dict) or not {"run", "by", "what", "since"} <= set(found):
        return {}
    try:
        return {**found, "beat": (FOLDER / "holder").stat().st_mtime}
    except FileNotFoundError:
        return {}


def _alive(found: dict[str, Any]) -> bool:
    # The clock may have been set meanwhile; the next beat shows it.
    return bool(found) and abs(time.time() - found["beat"]) < STALE_SECONDS


def _described(found: dict[str, Any]) -> str:
    since = time.strftime("%H:%M:%S", time.localtime(found["since"]))
    age, beat = (max(0, int(time.time() - found[key])) for key in ("since", "beat"))
    started = f"since {since}, for {age // 60} min {age % 60} s; last heartbeat {beat} s ago"
    return f"run {found['run']} of {found['by']} ({found['what']}, {started})"


def _write(entry: dict[str, Any]) -> None:
    user = login_user()
    os.chown(str(FOLDER), user, -1)
    replace_file(FOLDER / "holder", (json.dumps(entry) + "\n").encode(), 0o644)
    # The user may have put a link there meanwhile.
    os.chown(str(FOLDER / "holder"), user, -1, follow_symlinks=False)


@contextlib.contextmanager
def _guard() -> Iterator[None]:
    """Keep another module of this kind from reading and writing at the same time."""
    FOLDER.mkdir(mode=0o755, parents=True, exist_ok=True)
    with FOLDER.with_suffix(".guard").open("w") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        yield


def login_user(process: str = "self", proc: Path = Path("/proc")) -> int:
    """Return the number of the user who logged in: the first one above this process that is not root."""
    fields = dict(
        line.split(":", 1) for line in text_of(proc / process / "status").splitlines() if ":" in line
    )
    user, parent = (fields.get(name, "0").split()[0] for name in ("Uid", "PPid"))
    if user != "0" or parent in ("0", "1"):
        return int(user)
    return login_user(parent, proc)


# What holds the lock whose token is $0: it touches the file until its input ends, writes now and then, so
# that a connection that is gone is noticed, and removes the file at the end. csh must be able to pass it on.
HEARTBEAT = (
    f"f={FOLDER}/holder; "
    'mine() { grep -qF "$0" "$f" 2> /dev/null; }; '
    f'(while mine && touch -c "$f" && sleep {BEAT_SECONDS}; do echo; done) & '
    'cat > /dev/null; mine && rm -f "$f"; kill 0'
)
