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

from ansible.module_utils.provision.engine import files
from ansible.module_utils.provision.host.fault import Fault
from ansible.module_utils.provision.host.files import replace_file
from ansible.module_utils.provision.host.owners import Owner, give_back
from ansible.module_utils.provision.host.paths import text_of
from ansible.module_utils.provision.host.reach import READERS, require
from ansible.module_utils.provision.host.systemd import quoted
from ansible.module_utils.provision.jobs.job import Job
from ansible.module_utils.provision.jobs.orders import Written
from ansible.module_utils.provision.models.files import read_manifest, untouched, write_stamps
from ansible.module_utils.provision.models.owners import MARK

from .job import PROGRAM
from .record import record_path

# The directory may outlive its record and the numbers of users. Its owner, too, may leave this mark in it:
# only files of that owner are given away.
MARK_TEXT = "provision created this directory for Ollama and may change its owner.\n"
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
        **({"SupplementaryGroups": READERS} if files.known(grp.getgrnam, READERS) else {}),
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


def require_root(root: Path, user: str, *, itself: bool = True) -> None:
    """Raise Fault where Ollama could not use a models directory, or could not once it is created."""
    choice = "engine_ollama_models_dir (OLLAMA_MODELS)"
    require(root, user, writable=True, itself=itself, choice=choice)


def strayed(root: Path, user: str) -> Owner | None:
    """Return whom a models directory of provision belongs to instead of the engine's user.

    Raises Fault where it is not known as one of provision's and belongs to someone else.
    """
    if not root.is_dir():
        return None
    now, owner = Owner.of(root), Owner.named(user)
    if now == owner:
        return None
    if is_ours(root, now):
        return now
    if owner and now.user == owner.user:
        return None
    raise Fault(
        f"{root} belongs to {now}, but Ollama runs as {user}",
        f"run `chown -R {user}: {root}` on the host, or set engine_ollama_models_dir to another one",
    )


def is_ours(root: Path, now: Owner) -> bool:
    """Return whether provision has created a models directory, by its record or by the mark in it.

    One of no one that contains nothing but models was Ollama's before the system was installed again.
    """
    if record_path(str(root)).exists() or text_of(root / MARK) == MARK_TEXT:
        return True
    return now.nameless and {path.name for path in root.iterdir()} <= {"blobs", "manifests", MARK}


def make_root(root: Path, user: str) -> None:
    """Create the models directory for the engine's user, or give it back to that user."""
    owner = Owner.named(user)
    if owner is None:
        raise Fault(f"there is no user {user}", "check /etc/passwd on the host, then apply again")
    if strayed(root, user):
        give_back(root, owner)
    elif not root.is_dir():
        root.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        root.mkdir(mode=0o750)
        replace_file(root / MARK, MARK_TEXT.encode(), 0o644)
        os.chown(str(root), owner.user, owner.group)
        root.chmod(0o750)


def mark(root: Path) -> None:
    """Mark a directory that a version of provision without marks has created."""
    if record_path(str(root)).exists() and root.is_dir() and not (root / MARK).exists():
        replace_file(root / MARK, MARK_TEXT.encode(), 0o644)


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
