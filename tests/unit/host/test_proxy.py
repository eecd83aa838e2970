# SPDX-License-Identifier: Apache-2.0
"""The proxy of a host: what the variable may contain, the environment it means, and the files with it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.provision.host import proxied, proxy
from ansible.module_utils.provision.host.outward import trouble
from ansible.module_utils.provision.host.packages.advice import advice

URL = "http://me:p%40ss@proxy.example:3128"
THROUGH = {"https_proxy": URL}
WRONG: dict[str, dict[str, Any]] = {
    "contains the unknown key http_proxy": {"http_proxy": URL, "http": URL},
    "sets no proxy": {"no_proxy": "x"},
    "has no URL of a proxy as http": {"http": "proxy.example:3128"},
    "has an https:// URL as https": {"https": "https://proxy.example:3128"},
    "has a URL as https that is not an HTTP proxy's": {"https": "socks5://proxy.example:1080"},
    "has a URL without a valid port as http": {"http": "http://proxy.example"},
    "has a URL with a path as http": {"http": "http://proxy.example:3128/pac"},
    "has '*.example' in no_proxy": {"http": URL, "no_proxy": ["*.example"]},
    "has 'http://x' in no_proxy": {"http": URL, "no_proxy": "a, http://x"},
}


@pytest.mark.parametrize("reason", WRONG)
def test_says_what_is_wrong_and_shows_no_password(reason: str) -> None:
    found = list(proxy.mistakes(WRONG[reason]))
    assert [said[: len(reason)] for said, _ in found] == [reason]
    assert "p%40ss" not in str(found)


@pytest.mark.parametrize("password", ["a b", "a'b", 'a"b', "a$b", "a\\b", "a/b", "a@b", "a`b", "a#b"])
def test_a_password_must_be_encoded(password: str) -> None:
    (found,) = proxy.mistakes({"http": f"http://me:{password}@proxy.example:3128"})
    assert "urlencode" in found[1]
    assert password not in found[0]


@pytest.mark.parametrize("url", [URL, "http://proxy:1/", "HTTP://10.0.0.1:3128", "http://[fd00::1]:3128"])
def test_takes_what_clients_understand(url: str) -> None:
    assert not list(proxy.mistakes({"http": url, "no_proxy": ".example.com, 10.1.2.3,fd00::1,10.0.0.0/8"}))


def test_one_url_is_for_both_in_both_spellings_and_loopback_is_direct() -> None:
    found = proxy.environment({"https": f"{URL}/", "no_proxy": "a,.b"}, ["host", "{{ odd }}", "10.0.0.2"])
    assert {found[name] for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY")} == {URL}
    assert found["no_proxy"] == found["NO_PROXY"] == "localhost,127.0.0.1,::1,host,10.0.0.2,a,.b"
    assert not proxy.environment({})


def test_a_shell_and_our_own_code_read_the_file_alike(tmp_path: Path) -> None:
    path = tmp_path / "proxy.env"
    path.write_text(proxy.text({"https_proxy": "http://me:a(b)c!~*;d@proxy:1"}))
    said = subprocess.run(
        ["/bin/sh", "-c", f'. {path}; echo "$https_proxy"'], capture_output=True, text=True, check=True
    )
    assert proxy.read(path) == {"https_proxy": said.stdout.strip()}


def test_a_roles_own_variable_wins_in_both_spellings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proxy, "FILE", tmp_path / "proxy.env")
    proxy.FILE.write_text(proxy.text(proxy.environment({"http": URL})))
    own = {"HTTPS_PROXY": "http://ambient:1"}
    proxy.adopt(own, {"https_proxy": "http://role:2"})
    assert (own["https_proxy"], own["HTTPS_PROXY"]) == ("http://role:2", "http://role:2")
    assert own["http_proxy"] == URL


def test_a_host_without_the_file_keeps_its_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proxy, "FILE", tmp_path / "none")
    own = {"HTTPS_PROXY": "http://ambient:1"}
    proxy.adopt(own)
    assert own == {"HTTPS_PROXY": "http://ambient:1"}


@pytest.fixture
def programs(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    found: set[str] = set()
    monkeypatch.setattr(shutil, "which", lambda name: name if name in found else None)
    return found


def test_only_root_reads_files_with_a_password(programs: set[str]) -> None:
    programs.add("apt-get")
    found = proxied.settings({"http": URL}, [], "podman")
    assert {value.partition("\n")[0] for value in found.values()} == {"0600"}
    # podman does not start for users who cannot read its settings, and others could read the password.
    assert not [key for key in found if "containers" in key]
    programs.clear()
    programs.add("dnf")
    found = proxied.settings({"http": URL}, [], "none")
    assert list(found)[1:] == [
        "mode /etc/dnf/dnf.conf",
        "dnf proxy",
        "dnf proxy_username",
        "dnf proxy_password",
    ]
    assert found["dnf proxy"] == "http://proxy.example:3128"
    # Decoded, as dnf reads it.
    assert found["dnf proxy_password"] == "p@ss"


def test_everyone_reads_files_without_a_password(programs: set[str]) -> None:
    programs.add("apt-get")
    given = {"https": "http://proxy:3128", "no_proxy": ".corp.example,10.0.0.0/8"}
    found = proxied.settings(given, ["host"], "podman")
    mode, _, apt = found[f"private {proxied.APT}"].partition("\n")
    assert mode == "0644"
    assert 'Acquire::http::Proxy "http://proxy:3128";' in apt
    assert 'Acquire::https::Proxy::corp.example "DIRECT";' in apt
    assert "Proxy::::1" not in apt
    assert "10.0.0.0" not in apt
    assert 'env = ["HTTPS_PROXY=http://proxy:3128"' in found[f"file {proxied.PODMAN}"]
    assert not proxied.settings({}, ["host"], "docker")


def test_docker_gets_the_file_and_not_its_content(programs: set[str]) -> None:
    programs.add("apt-get")
    found = proxied.settings({"http": URL}, [], "docker")
    assert "EnvironmentFile=-/etc/provision/proxy.env" in found[f"file {proxied.DOCKER}"]
    assert "p%40ss" not in found[f"file {proxied.DOCKER}"]


def test_addresses_of_direct_names_are_direct_too(tmp_path: Path) -> None:
    path = tmp_path / "hosts"
    path.write_text("127.0.0.1 localhost\n10.0.0.2 hub.lab hub # not me\n10.0.0.3 me\n")
    assert proxied.addresses(["hub.lab"], path) == ["10.0.0.2"]


# What clients really said, and what the user reads.
APT, DNF = "E: Failed to fetch http://deb.example/dists/trixie/InRelease  ", "  - Curl error "
REFUSED, DENIED = "the proxy refused the host", "the proxy refused the address"
PROXY_NAME = "the host cannot resolve the name of the proxy"
SILENT = "the proxy proxy.example:3128 does not answer"
SAID = [
    (f"{APT}407  Proxy Authentication Required [IP: 10.0.0.5 8889]", REFUSED),
    ("  - Status code: 407 for http://repo.example/repodata/repomd.xml (IP: 10.0.0.5)", REFUSED),
    (f"{DNF}(56): Failure when receiving data [CONNECT tunnel failed, response 407]", REFUSED),
    ("OSError('Tunnel connection failed: 407 Proxy Authentication Required')", REFUSED),
    ("Caused by: tunnel error: proxy authorization required", REFUSED),
    (f"{APT}401  Unauthorized [IP: 10.0.0.5 8889]", REFUSED),
    ("Tunnel connection failed: 401 Unauthorized", REFUSED),
    ("  cause: tunnel error: unsuccessful", "the proxy opened no connection to the address"),
    (f"{APT}403  Access denied [IP: 10.0.0.5 8890]", DENIED),
    (f"{DNF}(56): Failure [CONNECT tunnel failed, response 403]", DENIED),
    (f"{APT}Temporary failure resolving 'proxy.example'", PROXY_NAME),
    (
        f"{DNF}(5): Could not resolve proxy name for http://x/y [Could not resolve proxy: proxy.example]",
        PROXY_NAME,
    ),
    ("the proxy's name cannot be resolved (Name or service not known)", PROXY_NAME),
    (
        f"{APT}Temporary failure resolving 'internal.example'",
        "the host cannot resolve the name internal.example",
    ),
    (f"{APT}Could not connect to proxy.example:3128 (10.0.0.5), connection timed out", SILENT),
    (
        f"{DNF}(7): Could not connect to server [Failed to connect to proxy.example port 3128]",
        SILENT,
    ),
]
UNKNOWN = "the host cannot resolve the name "
DIRECT = [
    (f"{APT}Temporary failure resolving 'deb.example'", f"{UNKNOWN}deb.example"),
    (
        f"{DNF}(6): Could not resolve hostname for http://x/y [Could not resolve host: repo.example]",
        f"{UNKNOWN}repo.example",
    ),
    ("the name repo.example cannot be resolved (try again)", f"{UNKNOWN}repo.example"),
    (
        "dial tcp: lookup registry.ollama.ai on 127.0.0.53:53: server misbehaving",
        f"{UNKNOWN}registry.ollama.ai",
    ),
    ("dns error: failed to lookup address information: try again", "the host cannot resolve a name outside"),
]


@pytest.mark.parametrize(("said", "says"), SAID)
def test_a_refusing_proxy_and_a_name_are_two_messages(said: str, says: str) -> None:
    found = trouble(said, THROUGH)
    assert found
    assert found.says.startswith(says)
    assert "host_base_proxy" in found.step


@pytest.mark.parametrize(("said", "says"), DIRECT)
def test_without_a_proxy_a_name_leads_to_the_variable(said: str, says: str) -> None:
    found = trouble(said, {})
    assert found
    assert found.says.startswith(says)
    assert "set host_base_proxy" in found.step


@pytest.mark.parametrize(
    ("said", "step"),
    [
        ("cause: invalid peer certificate: Other(OtherError(CaUsedAsEndEntity))", "an authority has signed"),
        ("ValueError: check_hostname requires server_hostname", "give the index a name"),
    ],
)
def test_a_server_that_other_clients_accept_is_explained(said: str, step: str) -> None:
    for environment in ({}, THROUGH):
        found = trouble(said, environment)
        assert found
        assert step in found.step
        assert found.final


def test_what_is_reached_directly_is_not_blamed_on_the_proxy() -> None:
    assert trouble("Connection refused", THROUGH) is None
    assert trouble("Hash Sum mismatch", THROUGH) is None
    assert trouble("HTTP 403 Forbidden", {}) is None


def test_package_managers_advise_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", URL)
    assert advice(SAID[0][0]).startswith("the proxy refused the host")
