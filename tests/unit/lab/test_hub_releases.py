# SPDX-License-Identifier: Apache-2.0
"""The stand-in hub as a server of package repositories."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from provisioner.lab import hub, hub_registry

FILES = (
    "vendor/nvidia/ubuntu2404/x86_64/Packages.gz",
    "vendor/nvidia/rhel9/x86_64/repodata/0a1b-primary.xml.zst",
    "vendor/pool/nvidia-open_580.159.04-0ubuntu1~24.04+1_amd64.deb",
    "vendor/pool/a name: with, all [sorts] of=signs%.rpm",
    "vendor/.hidden/#1?",
    "top",
)


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    releases = tmp_path / "releases"
    for name in FILES:
        (releases / name).parent.mkdir(parents=True, exist_ok=True)
        (releases / name).write_bytes(name.encode())
    (tmp_path / "secret").write_bytes(b"hush")
    (tmp_path / "releases-of-another").mkdir()
    (tmp_path / "releases-of-another/secret").write_bytes(b"hush")
    (releases / "vendor/link").symlink_to(tmp_path / "secret")
    (releases / "vendor/folder").symlink_to(tmp_path)
    (releases / "vendor/near").symlink_to("pool")
    with hub.Hub(("127.0.0.1", 0), tmp_path / "models", releases) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def ask(port: int, path: str, method: str = "GET", **headers: str) -> tuple[http.client.HTTPResponse, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, path, headers=headers)
        response = connection.getresponse()
        return response, response.read()
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("vendor/nvidia/ubuntu2404/x86_64/Packages.gz", FILES[0]),
        ("vendor/nvidia/rhel9/x86_64/repodata/0a1b-primary.xml.zst", FILES[1]),
        ("vendor/pool/nvidia-open_580.159.04-0ubuntu1~24.04+1_amd64.deb", FILES[2]),
        ("vendor/pool/nvidia-open_580.159.04-0ubuntu1%7e24.04%2B1_amd64.deb", FILES[2]),
        ("vendor/pool/a%20name%3a%20with,%20all%20%5Bsorts%5D%20of=signs%25.rpm", FILES[3]),
        ("vendor/.hidden/%231%3F", FILES[4]),
        ("top", FILES[5]),
        # What apt and dnf make of a repository's address and a relative name.
        ("vendor/nvidia/ubuntu2404/x86_64/./Packages.gz", FILES[0]),
        ("vendor/nvidia/ubuntu2404/x86_64//Packages.gz", FILES[0]),
        ("vendor/near/nvidia-open_580.159.04-0ubuntu1~24.04+1_amd64.deb", FILES[2]),
    ],
)
def test_every_file_is_served(port: int, path: str, name: str) -> None:
    response, body = ask(port, f"/releases/{path}")
    assert (response.status, body) == (200, name.encode())
    response, body = ask(port, f"/releases/{path}", "HEAD")
    assert (int(response.headers["Content-Length"]), body) == (len(name.encode()), b"")
    response, body = ask(port, f"/releases/{path}", Range="bytes=1-2")
    assert (response.status, body) == (206, name.encode()[1:3])


@pytest.mark.parametrize(
    "path",
    [
        "/releases/../secret",
        "/releases/%2e%2e/secret",
        "/releases/vendor/../../secret",
        "/releases/vendor%2f..%2f..%2fsecret",
        "/releases//../secret",
        "/releases/./../secret",
        "/releases/../releases-of-another/secret",
        "/releases/vendor/link",
        "/releases/vendor/folder/secret",
        "/releases/%00",
        "/releases/top%00",
        "/releases",
        "/releases/",
        "/releases/vendor",
        "/releases/vendor/",
        "/releases/top/",
        "/releases/top/below",
        "/releases/absent",
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_nothing_else_is(port: int, path: str, method: str) -> None:
    response, body = ask(port, path, method)
    assert response.status == 404
    assert b"hush" not in body


def test_a_file_of_a_repository_has_one_name_for_faults_and_counters(tmp_path: Path) -> None:
    paths = ("/releases/vendor/Packages", "/releases/vendor/./Packages", "//releases//vendor//Packages")
    found = [hub_registry.release(path, tmp_path) for path in paths]
    assert [one and one.key for one in found] == ["releases/vendor/Packages"] * 3
