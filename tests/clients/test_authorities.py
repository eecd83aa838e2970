# SPDX-License-Identifier: Apache-2.0
"""Which certificates each hub's real client trusts, and what it is called when it trusts none."""

from __future__ import annotations

import datetime as dt
import ipaddress
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.provision.host.fault import Fault
from ansible.module_utils.provision.models import fetch as store
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from provisioner.lab.hub import Hub
from tests.clients.conftest import Served
from tests.clients.served import assert_nothing_served, assert_served_whole

# The variable by which each client finds the authorities; uv of the role python_env has a test of its role.
AUTHORITIES = {"huggingface": "SSL_CERT_FILE", "modelscope": "REQUESTS_CA_BUNDLE"}


def certificate(folder: Path) -> Path:
    """Make a certificate for loopback that signs itself, and return the file with it and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "loopback")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = folder / "loopback.pem"
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM) + private)
    return path


class SecureHub(Hub):
    """A hub whose connections are encrypted, each in the thread that serves it."""

    context: ssl.SSLContext

    def get_request(self) -> tuple[Any, Any]:
        connection, address = super().get_request()
        connection.settimeout(10)
        return self.context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False), address

    def handle_error(self, *_: Any) -> None:
        """Say nothing of clients that do not trust it."""


@pytest.fixture
def authority(tmp_path: Path) -> Path:
    return certificate(tmp_path)


@pytest.fixture
def hub(tmp_path: Path, authority: Path) -> Iterator[Served]:
    """Serve one model over TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority)
    with SecureHub(("127.0.0.1", 0), tmp_path / "hub") as server:
        server.context = context
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        served = Served(server, tmp_path / "hub")
        served.url = served.url.replace("http://", "https://")
        yield served
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def no_authority(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*AUTHORITIES.values(), "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)


def refused(spec: dict[str, Any]) -> Fault:
    with pytest.raises(Fault) as caught:
        store.fetch(spec)
    assert_nothing_served(spec)
    return caught.value


def test_each_client_reads_the_variable_that_is_its_own(
    hub: Any, orders: Any, source: str, authority: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(AUTHORITIES[source], str(authority))
    spec = orders(source)
    store.fetch(spec)
    assert_served_whole(hub, spec)


def test_a_certificate_of_an_unknown_authority_ends_at_once(orders: Any, source: str) -> None:
    fault = refused(orders(source, attempts=99))
    assert "cannot be trusted" in str(fault)
    assert "model_store_ca_bundle" in fault.next_step


@pytest.mark.parametrize("text", [None, "not a certificate\n"])
def test_a_file_of_authorities_that_is_missing_or_empty_ends_at_once(
    orders: Any, source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None
) -> None:
    path = tmp_path / "authorities.pem"
    if text is not None:
        path.write_text(text)
    for name in AUTHORITIES.values():
        monkeypatch.setenv(name, str(path))
    fault = refused(orders(source, attempts=99))
    assert "certificate" in str(fault)
    assert "model_store_ca_bundle" in fault.next_step


def test_an_endpoint_without_a_scheme_ends_at_once(orders: Any, source: str) -> None:
    fault = refused(orders(source, attempts=99, endpoint="127.0.0.1:9/models"))
    assert str(fault).startswith("127.0.0.1:9/models is not the address of a hub (")
    assert fault.next_step.startswith(
        f"set model_store_{source}_endpoint to an address that begins with https://"
    )
