# SPDX-License-Identifier: Apache-2.0
"""Change single values of Docker's daemon.json, and query the daemon about what it works with."""

from __future__ import annotations

import http.client
import json
import re
import shutil
import socket
from pathlib import Path
from typing import Any, Tuple

from ..host import paths, proxied, proxy
from ..host.commands import call
from ..host.fault import Fault
from ..host.files import replace_file
from ..host.settings import read_file
from ..host.systemd import journal, show

DAEMON = Path("/etc/docker/daemon.json")
SOCKET = "/run/docker.sock"
UNIT = "docker.service"
ASK_SECONDS = 15
VALIDATE_SECONDS = 60
START_SECONDS = 180
Keys = Tuple[str, str]
CDI: Keys = ("features", "cdi")
RUNTIME: Keys = ("runtimes", "nvidia")
NVIDIA_RUNTIME = {"args": [], "path": "nvidia-container-runtime"}


def load(text: str | None) -> dict[str, Any]:
    """Return what daemon.json contains; one that Docker itself could not read is refused."""
    try:
        found = json.loads(text) if text and text.strip() else {}
    except ValueError as error:
        step = f"repair {DAEMON} on the host, then apply again"
        raise Fault(f"{DAEMON} is not JSON: {error}", step) from error
    if not isinstance(found, dict):
        step = f"make {DAEMON} one JSON object, then apply again"
        raise Fault(f"{DAEMON} contains a {type(found).__name__} instead of an object", step)
    return found


def lookup(config: dict[str, Any], keys: Keys) -> Any:
    """Return one value, None where there is none."""
    outer = config.get(keys[0])
    return outer.get(keys[1]) if isinstance(outer, dict) else None


def with_value(config: dict[str, Any], keys: Keys, value: Any) -> dict[str, Any]:
    """Return the configuration with one value set, or without it when it is None."""
    outer, inner = keys
    before = config.get(outer, {})
    if not isinstance(before, dict):
        step = f"make '{outer}' in {DAEMON} an object, then apply again"
        raise Fault(f"'{outer}' in {DAEMON} is not an object", step)
    after = {**before, inner: value}
    if value is None:
        del after[inner]
    changed = {**config, outer: after}
    if not after:
        del changed[outer]  # no one needs an empty object
    return changed


def is_right(config: dict[str, Any], keys: Keys) -> bool:
    """Return whether daemon.json has the right value, even if someone else has written it another way."""
    found = lookup(config, keys)
    if keys == CDI:
        return found is True
    return isinstance(found, dict) and Path(str(found.get("path", ""))).name == NVIDIA_RUNTIME["path"]


def wanted_value(keys: Keys) -> Any:
    """Return the value that is written where it is missing."""
    return True if keys == CDI else NVIDIA_RUNTIME


def text_of(config: dict[str, Any], like: str | None) -> str:
    """Return the file's text, indented as it was."""
    indent = re.search(r"^(\s+)\"", like or "", re.MULTILINE)
    width: int | str = indent.group(1).strip("\n") if indent else 4
    return json.dumps(config, indent=width, ensure_ascii=False) + "\n"


def write(text: str | None, path: Path = DAEMON) -> None:
    """Replace daemon.json in one step, after Docker has validated it; None removes it."""
    if text is None:
        path.unlink(missing_ok=True)
        return
    mode = path.stat().st_mode & 0o7777 if path.exists() else 0o644
    replace_file(path, text.encode(), mode, check=_validate)


def _validate(path: Path) -> None:
    if not shutil.which("dockerd"):
        return
    argv = ("dockerd", "--validate", "--config-file", str(path))
    done = call(*argv, seconds=VALIDATE_SECONDS)
    # Docker 20 and older cannot validate; such a daemon reports errors when it starts.
    if done.returncode and "unknown flag" not in done.stderr:
        raise Fault(
            f"Docker rejects the new {DAEMON}: {done.stderr.strip() or done.stdout.strip()}",
            f"repair {DAEMON}, then apply again",
        )


class _Connection(http.client.HTTPConnection):
    """Use HTTP over the daemon's socket; the command line may be another package."""

    def connect(self) -> None:
        """Connect to the socket."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(ASK_SECONDS)
        self.sock.connect(SOCKET)


def query(path: str) -> Any:
    """Return the daemon's answer, None if it is not running or does not answer in time."""
    connection = _Connection("localhost", timeout=ASK_SECONDS)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return json.loads(answer.read()) if answer.status == http.client.OK else None
    except (OSError, ValueError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def info() -> dict[str, Any] | None:
    """Return what the daemon reports about itself, None if it does not answer."""
    found = query("/info")
    return found if isinstance(found, dict) else None


def running() -> list[str]:
    """List the running containers."""
    return [str(one.get("Names", ["?"])[0]).lstrip("/") for one in query("/containers/json") or ()]


def works_with(info: dict[str, Any], keys: Keys) -> bool:
    """Return whether the running daemon has CDI on, or has NVIDIA's runtime."""
    if keys == CDI:
        return bool(info.get("CDISpecDirs"))
    return RUNTIME[-1] in (info.get("Runtimes") or {})


def lacks_proxy(processes: Path = Path("/proc")) -> bool:
    """Return whether the daemon was started before its unit got the host's proxy, or another one."""
    if not Path(proxied.DOCKER).exists():
        return False
    main = show(UNIT, "MainPID").get("MainPID", "0")
    has = paths.text_of(processes / main / "environ").split("\0")
    return not {f"{name}={value}" for name, value in proxy.read().items()} <= set(has)


def uses_iptables() -> bool:
    """Return whether the daemon uses iptables, as it does unless daemon.json says otherwise."""
    config = load(read_file(str(DAEMON)))
    return config.get("iptables") is not False and config.get("firewall-backend") != "nftables"


def is_confined(info: dict[str, Any] | None) -> bool:
    """Return whether the running daemon has SELinux confine its containers."""
    return "name=selinux" in ((info or {}).get("SecurityOptions") or [])


def control(verb: str) -> None:
    """Start or restart the daemon; if that fails, the daemon's own messages say why."""
    done = call("systemctl", verb, UNIT, seconds=START_SECONDS)
    if done.returncode:
        raise Fault(
            f"Docker does not {verb}:\n{done.stderr.strip()}\n{journal(12, f'--unit={UNIT}')}",
            f"read 'journalctl -u {UNIT}' on the host, repair it, then apply again",
        )
