# SPDX-License-Identifier: Apache-2.0
"""Start work on Ollama's models as the engine's user, sandboxed, and prepare the files that it needs."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import grp
import hashlib
import os
import pwd
import stat
from pathlib import Path
from typing import Any

from ansible.module_utils.provision.host.fault import Fault
from ansible.module_utils.provision.host.settings import name_of
from ansible.module_utils.provision.host.systemd import quoted
from ansible.module_utils.provision.jobs.job import Job
from ansible.module_utils.provision.jobs.orders import Written
from ansible.module_utils.provision.models.files import read_manifest, untouched, write_stamps

from .job import PROGRAM

# The request that makes one file share the blocks of another; the standard library lacks it.
CLONE = 0x40049409


class OllamaJob(Job):
    """A unit that works as the engine's user; its notes are in its own directory of /run."""

    def __init__(self, name: str, params: dict[str, Any]) -> None:
        super().__init__(f"provision-job-ollama-{name}", PROGRAM, params)
        self.user = params["user"]
        self.result = Path(params["runtime"]).parent / self.unit / "state.json"

    def advance(self, verb: str, orders: Written, limits: dict[str, object]) -> dict[str, Any] | None:
        """Start or attach, with orders that the engine's user may read."""
        own = {"User": self.user, "Group": self.user, "RuntimeDirectory": self.unit}
        own["RuntimeDirectoryPreserve"] = "yes"
        return super().advance(verb, orders, {**own, **limits})

    def write_orders(self, spec: dict[str, Any]) -> None:
        """Write the orders of the next start, for the engine's user to read."""
        super().write_orders(spec)
        os.chown(str(self.spec), 0, grp.getgrnam(self.user).gr_gid)
        self.spec.chmod(0o640)


def limits(root: str, readable: list[str], *, linked: bool) -> dict[str, object]:
    """Return the sandbox of a job: like the engine's, and closed except for the models directory."""
    homes = any(path.startswith(("/home/", "/root/", "/run/user/")) for path in [root, *readable])
    return {
        "SupplementaryGroups": "provision",
        "KillMode": "mixed",
        "ProtectSystem": "strict",
        "ReadWritePaths": quoted(root),
        "ProtectHome": "read-only" if homes else "yes",
        "PrivateTmp": not f"{root}/".startswith(("/tmp/", "/var/tmp/")),  # noqa: S108 - compared with
        "PrivateDevices": True,
        "ProtectKernelTunables": True,
        "ProtectKernelModules": True,
        "ProtectControlGroups": True,
        # Ollama sets the time of the file that it creates a model from, and a linked one belongs to root.
        "CapabilityBoundingSet": "CAP_FOWNER" if linked else "",
        **({"AmbientCapabilities": "CAP_FOWNER"} if linked else {}),
        "RestrictAddressFamilies": "AF_UNIX AF_INET AF_INET6 AF_NETLINK",
        "RestrictNamespaces": True,
        "RestrictRealtime": True,
        "LockPersonality": True,
    }


def make_root(root: Path, user: str) -> None:
    """Create the models directory for the engine's user, and refuse one that belongs to someone else."""
    if root.exists():
        owner = name_of(pwd.getpwuid, root.stat().st_uid)
        if owner != user:
            raise Fault(
                f"{root} belongs to {owner}, but Ollama runs as {user}",
                f"run `chown -R {user}: {root}` on the host, or set engine_ollama_models_dir to another one",
            )
        return
    root.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    root.mkdir(mode=0o750)
    entry = pwd.getpwnam(user)
    os.chown(str(root), entry.pw_uid, entry.pw_gid)
    root.chmod(0o750)


class Stage:
    """Give the job files of the model store without copying them, where the file system can."""

    def __init__(self, root: Path, user: str) -> None:
        self.root = root
        self.owner = pwd.getpwnam(user)
        self.paths: dict[str, str] = {}
        # Of each directory that a file was linked from, the files whose stamps were right before.
        self.linked: dict[str, list[str]] = {}

    def add(self, file: dict[str, Any]) -> None:
        """Prepare one file: sharing blocks, else as a hard link; else the job copies it."""
        source = Path(file["path"])
        name = f"provision-{hashlib.sha256(file['path'].encode()).hexdigest()[:12]}"
        with self._blobs() as folder:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name, dir_fd=folder)
            if self._clone(source, folder, name) or (file["stored"] and self._link(source, folder, name)):
                self.paths[file["path"]] = str(self.root / "blobs" / name)

    @contextlib.contextmanager
    def _blobs(self) -> Any:
        """Open the directory itself: the engine's user owns what is above it, and could put a link there."""
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
        root = os.open(str(self.root), flags)
        try:
            with contextlib.suppress(FileExistsError):
                os.mkdir("blobs", 0o750, dir_fd=root)
                os.chown("blobs", self.owner.pw_uid, self.owner.pw_gid, dir_fd=root, follow_symlinks=False)
            folder = os.open("blobs", flags, dir_fd=root)
        finally:
            os.close(root)
        try:
            yield folder
        finally:
            os.close(folder)

    def _clone(self, source: Path, folder: int, name: str) -> bool:
        with source.open("rb") as given:
            new = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o640, dir_fd=folder)
            try:
                if not stat.S_ISREG(os.fstat(given.fileno()).st_mode):
                    raise OSError(errno.EINVAL, "not a file")
                fcntl.ioctl(new, CLONE, given.fileno())
                os.fchown(new, self.owner.pw_uid, self.owner.pw_gid)
                return True
            except OSError:  # another file system, or one that cannot share blocks
                os.unlink(name, dir_fd=folder)
                return False
            finally:
                os.close(new)

    def _link(self, source: Path, folder: int, name: str) -> bool:
        directory = source.parent
        manifest = read_manifest(directory)
        right = sorted(untouched(directory, manifest.files if manifest else ()))
        try:
            os.link(str(source), name, dst_dir_fd=folder)
        except OSError:  # another file system
            return False
        self.linked.setdefault(str(directory), right)
        return True


def settle_stamps(linked: dict[str, list[str]]) -> None:
    """Renew the stamps of the model store's files, which are as right as before despite new times."""
    for directory, right in linked.items():
        write_stamps(Path(directory), right)
