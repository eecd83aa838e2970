# SPDX-License-Identifier: Apache-2.0
"""List the settings of a host that contain its proxy: our own file, and those of other programs."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, Iterable, Mapping

from . import proxy
from .settings import DNF

APT = "/etc/apt/apt.conf.d/95provision-proxy"
DOCKER = "/etc/systemd/system/docker.service.d/50-provision-proxy.conf"
PODMAN = "/etc/containers/containers.conf.d/50-provision-proxy.conf"
HOSTS = Path("/etc/hosts")
# Read by everyone, or, with a password in it, by root alone.
OPEN, CLOSED = "0644", "0600"


def settings(given: Mapping[str, Any], direct: Iterable[str], engine: str) -> dict[str, str]:
    """Return every setting of the host that its proxy needs, by kind and name; none where it has no proxy."""
    urls = proxy.proxies(given)
    if not urls:
        return {}
    known = list(direct)
    variables = proxy.environment(given, [*known, *addresses(known)])
    mode = CLOSED if proxy.has_login(given) else OPEN
    found = {f"private {proxy.FILE}": f"{CLOSED}\n{proxy.text(variables)}"}
    if shutil.which("apt-get"):
        found[f"private {APT}"] = f"{mode}\n{apt(urls, variables['no_proxy'].split(','))}"
    elif shutil.which("dnf"):
        found.update(dnf(urls, mode))
    if engine == "docker":
        found[f"directory {Path(DOCKER).parent}"] = "0755 root:root"
        found[f"file {DOCKER}"] = f"{proxy.HEAD}[Service]\nEnvironmentFile=-{proxy.FILE}\n"
    # podman refuses to start for users who cannot read one of its files, so none of them has a password.
    if engine == "podman" and mode == OPEN:
        folders = list(Path(PODMAN).parents)[1::-1]
        found.update({f"directory {folder}": "0755 root:root" for folder in folders})
        found[f"file {PODMAN}"] = podman(variables)
    return found


def apt(urls: Mapping[str, str], around: Iterable[str]) -> str:
    """Return apt's settings, which know single hosts around the proxy, but no domains."""
    lines = [f'Acquire::{scheme}::Proxy "{url}";' for scheme, url in urls.items()]
    for name in around:
        if not {":", "/"} & set(name):
            lines += [f'Acquire::{scheme}::Proxy::{name.lstrip(".")} "DIRECT";' for scheme in urls]
    return proxy.HEAD.replace("#", "//") + "".join(f"{line}\n" for line in lines)


def dnf(urls: Mapping[str, str], mode: str) -> dict[str, str]:
    """Return dnf's settings: one proxy for everything; user and password are options of their own."""
    parts = proxy.parts(urls["https"])
    if parts is None:
        return {}
    login = {"proxy_username": parts.user, "proxy_password": parts.password} if parts.user else {}
    # Closed before the password is in it, and opened after.
    closed = {f"mode {DNF}": mode} if login else {}
    return {**closed, **{f"dnf {name}": value for name, value in {"proxy": parts.address, **login}.items()}}


def podman(variables: Mapping[str, str]) -> str:
    """Return podman's settings: for its own pulls, and not for what runs in containers."""
    pairs = ", ".join(f'"{name}={value}"' for name, value in sorted(variables.items()))
    return f"{proxy.HEAD}[containers]\nhttp_proxy = false\n\n[engine]\nenv = [{pairs}]\n"


def addresses(names: Iterable[str], path: Path | None = None) -> list[str]:
    """Return the addresses that the host's own list has for names: some servers refer to their address."""
    wanted, found = set(names), []
    try:
        lines = (path or HOSTS).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    for line in lines:
        words = line.partition("#")[0].split()
        if wanted & set(words[1:]):
            found.append(words[0])
    return found
