# SPDX-License-Identifier: Apache-2.0
"""Choose the addresses that a host must reach, and judge how it reached them: names, proxy, certificates."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from provisioner.ansible.module_utils.provision.host import proxy
from provisioner.ansible.module_utils.provision.host.outward import trouble
from provisioner.fleet import variables
from provisioner.fleet.services import Service
from provisioner.plain import one_line
from provisioner.remote.reach import Way

WRONG = "wrong"
RESOLVER = "fix /etc/resolv.conf on the host"
DNS_STEP = f"{RESOLVER}, or set a mirror that it can resolve; behind a proxy, set host_base_proxy"
NETWORK_STEP = "allow it in the firewall, or set host_base_proxy or a mirror in the inventory"
PROXY_STEP = "check host_base_proxy, and that the proxy accepts this host and reaches the address"
HUBS = {"huggingface": "model_store_huggingface_endpoint", "modelscope": "model_store_modelscope_endpoint"}


def environment(way: Way) -> dict[str, str]:
    """Return the environment of the host's proxy, which the host itself and a lab's hub do without."""
    direct = [way.host, *(hop.host for hop in way.hops[-1:]), "hub.lab"]
    return proxy.environment(way.variables.get("host_base_proxy") or {}, direct)


def addresses(way: Way) -> list[dict[str, Any]]:
    """Return where the host's downloads come from, with the proxies that the inventory sets for them."""
    given = {**variables.defaults("model_store"), **variables.defaults("python_env"), **way.variables}
    hubs = sorted({HUBS[one.model.source] for one in way.services if one.model.source in HUBS})
    origins = [("hub", given[variable], "model_store") for variable in hubs]
    if given["python_env_index_url"]:
        origins.append(("Python packages", given["python_env_index_url"], "python_env"))
    fetched = [
        {
            "what": what,
            "url": url,
            "environment": given.get(f"{role}_environment") or {},
            "ca_bundle": given.get(f"{role}_ca_bundle") or "",
        }
        for what, url, role in origins
    ]
    fetched += [one for service in way.services for one in _of_engine(service)]
    return [
        one
        for number, one in enumerate(fetched)
        if str(one["url"]).startswith(("http://", "https://")) and one not in fetched[:number]
    ]


def _of_engine(service: Service) -> Iterator[dict[str, Any]]:
    """Yield where an engine's releases and models come from, as far as it has variables for that."""
    role = service.engine.role
    own = service.settings.get(f"{role}_https_proxy")
    common = {"environment": {"HTTPS_PROXY": own} if own else {}, "ca_bundle": ""}
    archive = urlsplit(str(service.settings.get(f"{role}_url") or ""))
    # Any answer counts, so the server is enough: the path may contain {version} and {arch}.
    yield {"what": "releases", "url": f"{archive.scheme}://{archive.netloc}/", **common}
    if service.model.source == service.engine.name:
        yield {"what": "model registry", "url": service.settings.get(f"{role}_registry"), **common}


def judge(_way: Way, facts: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """Yield what kept the host from an address, with its fix."""
    for one in facts["reached"]:
        known = trouble(one["error"], {})
        refused = known if known and known.final else None
        where = f"{one['url']} ({one['what']})"
        if not one["resolves"] and one["proxy"]:
            says = f"the host cannot resolve the name of the proxy, {one['proxy']} ({one['what']})"
            yield WRONG, "proxy", says, f"use its address in host_base_proxy, or {RESOLVER}"
        elif not one["resolves"]:
            says = f"the host cannot resolve {one['name']} ({one['what']})"
            yield WRONG, "dns", says, DNS_STEP
        elif "CERTIFICATE" in one["error"].upper():
            says = f"the host does not trust the certificate of {where}"
            yield WRONG, "tls", says, "add your company's CA to host_base_ca_certificates and apply"
        elif one["error"] and one["proxy"]:
            said = refused.says if refused else one_line(one["error"], 120)
            says = f"the host cannot reach {where} through the proxy {one['proxy']}: {said}"
            yield WRONG, "proxy", says, refused.step if refused else PROXY_STEP
        elif one["error"]:
            says = f"the host cannot reach {where}: {one_line(one['error'], 120)}"
            yield WRONG, "network", says, NETWORK_STEP
