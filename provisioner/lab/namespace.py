# SPDX-License-Identifier: Apache-2.0
"""Give podman the one thing that small machines lack: a cgroup version 2 at /sys/fs/cgroup.

systemd in a container needs it. Where the machine has only the old or the hybrid layout, a holder process
keeps a private mount namespace with a fresh cgroup2 mount alive, and every podman call enters it. Nothing
else on the machine sees the mount. The holder outlives the command that started it; `provision lab down` ends
it.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import IO

from provisioner.errors import LabError
from provisioner.lab import controller, process, turns

CGROUP = Path("/sys/fs/cgroup")
# The shell first reports that the mount exists, then becomes the process that keeps the namespace.
KEEP = ': > "$1" && exec sleep infinity'
MOUNT_AND_KEEP = f"mount -t cgroup2 none /sys/fs/cgroup && {KEEP}"
START_SECONDS = 10
# Locks: for the command that makes or ends the holder, and for all that work in the namespace.
LOCK, USERS = "holder", "holder-users"
# What this process holds of the second for as long as it works there.
_using: list[IO[str]] = []


def needed(cgroup: Path = CGROUP) -> bool:
    """Return whether this machine needs the private namespace."""
    return not (cgroup / "cgroup.controllers").exists()


def holder() -> int | None:
    """Return the process id of the holder, or None when none is alive."""
    pid, started, _ = _record()
    return pid if pid and _start_time(pid) == started else None


def prefix() -> tuple[str, ...]:
    """Return what to put before a podman call; empty where plain podman will do or no holder lives."""
    if not needed():
        return ()
    pid = holder()
    if pid is None:
        with turns.alone(LOCK):
            pid = holder() or _revived()
    return () if pid is None else ("nsenter", f"--target={pid}", "--mount", "--")


def start_holder() -> bool:
    """Make the namespace unless it exists, and keep others from ending it; return whether it is new."""
    with turns.alone(LOCK):
        if not _using:
            _using.append(turns.joined(USERS))
        if holder() is not None or _revived() is not None:
            return False
        if os.geteuid() != 0:
            raise LabError(
                "this machine has no cgroup version 2 at /sys/fs/cgroup, and only root can supply it",
                "run the lab as root, or boot with systemd.unified_cgroup_hierarchy=1",
            )
        _hold(["unshare", "--mount", "--propagation=private", "sh", "-c", MOUNT_AND_KEEP])
        return True


def stop_holder() -> bool:
    """End the holder, unless another command works in the namespace; return whether it was ended."""
    with turns.alone(LOCK):
        while _using:
            _using.pop().close()
        pid = holder()
        if not turns.is_free(USERS):
            return False
        if pid is not None:
            os.kill(pid, signal.SIGTERM)
        _pid_file().unlink(missing_ok=True)
        return pid is not None


def _revived() -> int | None:
    """Return a new holder for a namespace whose holder died, or None when nothing lives there any more.

    The processes that look after running containers are still inside, and podman can work with those from
    nowhere else.
    """
    inhabitant = _inhabitant(_record()[2])
    if inhabitant is None:
        return None
    return _hold(["nsenter", f"--target={inhabitant}", "--mount", "--", "sh", "-c", KEEP])


def _hold(argv: list[str]) -> int:
    """Start a holder, wait until it is ready, and record its process and its namespace."""
    folder = controller.runtime_dir()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    ready = folder / "ready"
    ready.unlink(missing_ok=True)
    with (folder / "holder.log").open("wb") as log:
        pid = process.start_detached([*argv, "sh", str(ready)], log)
    _wait_for(ready, pid)
    _pid_file().write_text(f"{pid} {_start_time(pid)} {_mount_namespace(Path(f'/proc/{pid}'))}\n")
    return pid


def _record() -> tuple[int, str, str]:
    """Return process id, start time and namespace of the last holder; zero and blanks when there was none."""
    try:
        pid, started, mounts = _pid_file().read_text().split()
    except (OSError, ValueError):
        return 0, "", ""
    return int(pid), started, mounts


def _inhabitant(mounts: str) -> int | None:
    """Return a process that lives in a mount namespace."""
    entries = Path("/proc").glob("[0-9]*")
    return next((int(entry.name) for entry in entries if mounts and _mount_namespace(entry) == mounts), None)


def _mount_namespace(process_entry: Path) -> str:
    try:
        return str((process_entry / "ns/mnt").readlink())
    except OSError:
        return ""


def _pid_file() -> Path:
    return controller.runtime_dir() / "holder"


def _wait_for(ready: Path, pid: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not ready.exists():
        if _start_time(pid) is None or time.monotonic() > deadline:
            reason = (controller.runtime_dir() / "holder.log").read_text().strip()
            raise LabError(f"a private cgroup2 could not be mounted: {reason or 'no answer'}")
        time.sleep(0.02)


def _start_time(pid: int) -> str | None:
    """Return when a live process began, in clock ticks since boot: a pid used again differs in it."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else fields[19]
