# SPDX-License-Identifier: Apache-2.0
"""Make one throwaway host and work on it: start, stop, reboot, run commands, compare file systems."""

from __future__ import annotations

import io
import socket
import tarfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from provisioner.errors import LabError
from provisioner.lab.image import USER
from provisioner.lab.podman import LABEL, Podman, connect
from provisioner.lab.process import Result
from provisioner.lab.spec import DEFAULT_LAB, HUB, container

# What systemd, sshd, sudo, a firewall and `ss --processes` need and a container does not get by itself.
CAPABILITIES = "AUDIT_WRITE,NET_ADMIN,SYS_ADMIN,SYS_PTRACE"
READY_SECONDS = 60
# An engine may take its time to stop.
REBOOT_SECONDS = 180
SETTLED = ("running", "degraded")
# What systemd says without inotify instances: each host takes half a dozen of the 128 that the kernel allows.
TOO_MANY = "Too many open files"
# Repeats a script for about five seconds, or until it succeeds; then this prints what it printed.
UNTIL = """
left=50
until said=$(sh -c "$1"); do
    left=$((left - 1))
    [ "$left" -gt 0 ] || exit 1
    sleep 0.1
done
printf '%s' "$said"
"""


@dataclass(frozen=True)
class HostPlan:
    """How to create one container."""

    lab: str
    name: str
    image: str
    network: str
    address: str
    publish: tuple[int, int]
    recipe: str
    mounts: tuple[str, ...] = ()
    origin: str = ""

    @property
    def container(self) -> str:
        """Return the container's name."""
        return container(self.lab, self.name)


@dataclass(frozen=True)
class SeedFile:
    """Describe a file that a new container starts with."""

    path: str
    content: bytes
    mode: int = 0o644


def create_argv(plan: HostPlan, ulimits: Mapping[str, int]) -> list[str]:
    """Return podman's arguments for a container that behaves like a machine."""
    outside, inside = plan.publish
    return [
        "create",
        f"--name={plan.container}",
        f"--hostname={plan.name}",
        f"--label={LABEL}={plan.lab}",
        f"--label={LABEL}.host={plan.name}",
        f"--label={LABEL}.port={outside}",
        f"--label={LABEL}.address={plan.address}",
        f"--label={LABEL}.recipe={plan.recipe}",
        f"--label={LABEL}.origin={plan.origin}",
        f"--network={plan.network}",
        f"--ip={plan.address}",
        f"--publish=127.0.0.1:{outside}:{inside}",
        "--no-hosts",
        "--systemd=always",
        "--stop-signal=SIGRTMIN+3",
        # A reboot ends PID 1, and podman starts the container again.
        "--restart=always",
        "--pids-limit=0",
        f"--cap-add={CAPABILITIES}",
        "--security-opt=label=disable",
        "--security-opt=apparmor=unconfined",
        *(f"--ulimit={name}={value}:{value}" for name, value in ulimits.items()),
        *(f"--volume={mount}" for mount in plan.mounts),
        plan.image,
    ]


def seed(files: Sequence[SeedFile]) -> bytes:
    """Pack files with their modes for `podman cp`, which gives them to root."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for file in files:
            info = tarfile.TarInfo(file.path.lstrip("/"))
            info.size, info.mode, info.mtime = len(file.content), file.mode, int(time.time())
            archive.addfile(info, io.BytesIO(file.content))
    return packed.getvalue()


def exec_in(
    host: str,
    argv: Sequence[str],
    *,
    lab: str = DEFAULT_LAB,
    stdin: bytes | None = None,
    check: bool = True,
) -> Result:
    """Run a command as root on a host, past SSH; a failure is a `LabError` unless `check` is off."""
    interactive = ("--interactive",) if stdin is not None else ()
    return connect().run("exec", *interactive, container(lab, host), *argv, stdin=stdin, check=check)


def copy_in(host: str, files: Sequence[SeedFile], *, lab: str = DEFAULT_LAB) -> None:
    """Copy files into a host, owned by root; missing folders are created."""
    connect().run("cp", "-", f"{container(lab, host)}:/", stdin=seed(files))


def stop(host: str, *, lab: str = DEFAULT_LAB) -> None:
    """Shut a host down in order."""
    connect().run("stop", "--time=20", container(lab, host))


def kill(host: str, *, lab: str = DEFAULT_LAB) -> None:
    """Cut a host's power; it stays off until `start`."""
    connect().run("stop", "--time=0", container(lab, host))


def start(host: str, *, lab: str = DEFAULT_LAB) -> None:
    """Start a stopped host and wait until it is up."""
    podman = connect()
    podman.run("start", container(lab, host))
    wait_until_up(podman, container(lab, host), ssh_port(podman, host, lab))


def reboot(host: str, *, lab: str = DEFAULT_LAB) -> None:
    """Reboot a host from inside and wait until it is up again."""
    before = boot_time(host, lab=lab)
    if before is None:
        raise LabError(f"host {host} of lab {lab} is not running", "start it: provision lab up")
    exec_in(host, ["systemctl", "reboot"], lab=lab, check=False)
    wait_for(lambda: boot_time(host, lab=lab) not in (before, None), f"{host} did not reboot", REBOOT_SECONDS)
    podman = connect()
    wait_until_up(podman, container(lab, host), ssh_port(podman, host, lab))


def own_home(podman: Podman, name: str) -> None:
    """Give the login user what was copied into its home, on a host that has just been started."""
    # podman gives all it copies to root.
    owner = ("chown", "--recursive", f"{USER}:{USER}", f"/home/{USER}/.ssh")
    try:
        podman.run("exec", name, *owner)
    except LabError as error:
        raise _ended(podman, name) or error from error


def _ended(podman: Podman, name: str) -> LabError | None:
    """Return why a container ended as soon as it was started, or None if it runs."""
    if podman.run("inspect", "--format={{.State.Running}}", name, check=False).text == "true":
        return None
    logged = podman.run("logs", "--tail=5", name, check=False)
    said = (logged.stdout + logged.stderr).decode(errors="replace").split("\n")
    if any(TOO_MANY in line for line in said):
        step = "sudo sysctl fs.inotify.max_user_instances=1024, or take another lab down"
        return LabError(f"{name} cannot start: this machine has no inotify instances left", step)
    last = next((line.strip() for line in reversed(said) if line.strip()), "it logged nothing")
    return LabError(f"{name} ended as soon as it was started: {last}", f"see `podman logs {name}`")


def ssh_port(podman: Podman, host: str, lab: str) -> int | None:
    """Return the loopback port of a host's sshd; the hub has none."""
    ports = {machine.host: machine.port for machine in podman.machines(lab) if machine.host != HUB}
    return ports.get(host)


def boot_time(host: str, *, lab: str = DEFAULT_LAB) -> str | None:
    """Return when the host's PID 1 began, in clock ticks, or None while the host is off."""
    result = exec_in(host, ["cat", "/proc/1/stat"], lab=lab, check=False)
    return result.text.rpartition(")")[2].split()[19] if result.code == 0 else None


def systemd_state(podman: Podman, name: str) -> str:
    """Return the state of systemd in a container: running, degraded, starting or offline."""
    return podman.run("exec", name, "systemctl", "is-system-running", check=False).text or "offline"


def wait_until_up(podman: Podman, name: str, port: int | None = None) -> str:
    """Wait until users may log in and sshd greets on `port`; return systemd's state.

    It does not wait for a slow service, such as an engine that loads a model: then systemd is still
    `starting`, but the host is up.
    """
    # Waiting inside: podman takes a tenth of a second of processor time for each question.
    sessions = "systemctl is-active --quiet systemd-user-sessions.service"
    wait_for(
        lambda: podman.run("exec", name, "sh", "-c", UNTIL, "sh", sessions, check=False).code == 0,
        f"{name}: systemd did not come up; see `podman logs {name}`",
    )
    if port is not None:
        wait_for(lambda: greets(port), f"{name}: sshd does not answer on 127.0.0.1:{port}")
    return systemd_state(podman, name)


def wait_until_settled(podman: Podman, name: str) -> str:
    """Wait until systemd has started everything; return its state."""
    settled = f"systemctl is-system-running | grep -Ex '{'|'.join(SETTLED)}'"
    return str(
        wait_for(
            lambda: podman.run("exec", name, "sh", "-c", UNTIL, "sh", settled, check=False).text,
            f"{name}: systemd did not finish starting",
        )
    )


def greets(port: int) -> bool:
    """Return whether an SSH server answers on a loopback port."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False


def answers(port: int) -> bool:
    """Return whether an HTTP server answers on a loopback port."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
            connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
            return connection.recv(5) == b"HTTP/"
    except OSError:
        return False


def wait_for(probe: Callable[[], object], failure: str, seconds: float = READY_SECONDS) -> object:
    """Poll until the answer is true and return it; after `seconds` raise a `LabError`."""
    deadline = time.monotonic() + seconds
    while not (answer := probe()):
        if time.monotonic() > deadline:
            raise LabError(f"{failure} within {seconds:g} s", "see `provision lab status`")
        time.sleep(0.1)
    return answer
