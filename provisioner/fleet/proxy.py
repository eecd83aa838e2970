# SPDX-License-Identifier: Apache-2.0
"""Check the proxy of a host, as far as no vault hides it; its values are never shown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from provisioner.ansible.module_utils.provision.host import proxy
from provisioner.fleet import variables
from provisioner.fleet.findings import Finding
from provisioner.fleet.services import Service

VARIABLE = "host_base_proxy"
# Takes the place of a URL that only Ansible can read.
_LATER = "http://later.invalid:1"


def check(given: Mapping[str, Any], services: Sequence[Service]) -> Iterator[Finding]:
    """Find what is wrong with the proxy of a host, and with the engines that would use it."""
    known = _known(given)
    if not known:
        return
    for reason, hint in proxy.mistakes(known):
        yield Finding(VARIABLE, reason, hint=hint)
    for service in services if proxy.has_login(known) else ():
        own = f"{service.engine.role}_https_proxy"
        if service.model.kept_by_engine and own in service.settings and not service.settings[own]:
            reason = f"has a user or a password, which {service.engine.title} would write into its journal"
            hint = f"set {own} to a proxy without one, or take the model from a hub (serve_model_source)"
            yield Finding(VARIABLE, reason, hint=hint)


def notes(given: Mapping[str, Any], texts: Sequence[str]) -> Iterator[str]:
    """Yield what to know about the proxy of a host; `texts` is how the inventory's plain files set it."""
    known = _known(given)
    has_login = proxy.has_login(known)
    if has_login and texts:
        yield f"{VARIABLE} has a password that is not encrypted: use `ansible-vault encrypt_string`"
    networks = [name for name in proxy.names(known.get("no_proxy")) if "/" in name]
    if networks:
        yield (
            f"no_proxy of {VARIABLE} has the network {networks[0]}, which uv, pip and Docker know, and apt, "
            "conda and the downloads of archives do not: list hosts or a domain as well"
        )
    if has_login and given.get("container_runtime_engine") == "podman":
        yield f"{VARIABLE} has a password, so podman does not get it: its settings are for everyone to read"


def _known(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the variable with stand-ins for what is deferred, empty where none of it can be checked."""
    found = given.get(VARIABLE)
    if not isinstance(found, Mapping) or variables.is_encrypted(found):
        return {}
    known = {key: value for key, value in found.items() if not variables.is_deferred(value)}
    later = {key: _LATER for key in proxy.SCHEMES if key in found and key not in known}
    return {**known, **later}
