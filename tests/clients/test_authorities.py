# SPDX-License-Identifier: Apache-2.0
"""Which certificates each real client trusts, and what it is called when it trusts none."""

from __future__ import annotations

import contextlib
import datetime as dt
import ipaddress
import os
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
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

# The variable by which each client finds the authorities, as the roles model_store and python_env set them.
AUTHORITIES = {"huggingface": "SSL_CERT_FILE", "modelscope": "REQUESTS_CA_BUNDLE"}
AUTHORITY_OF_UV = "SSL_CERT_FILE"
# The file of the server, beside that of the authority.
SERVER = "server.pem"


def certificates(folder: Path) -> Path:
    """Make an authority and a certificate for loopback that it signs; return the file with the authority.

    One that signs itself would do for OpenSSL, but uv takes none for a server that may sign others.
    """
    authority_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    authority = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "authority")])
    server = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "loopback")])
    now = dt.datetime.now(dt.UTC)
    loopback = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])

    def made(name: x509.Name, public: ec.EllipticCurvePublicKey, *, ca: bool) -> bytes:
        builder = (
            x509.CertificateBuilder(authority, name, public, x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(hours=1))
            .not_valid_after(now + dt.timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        )
        if not ca:
            builder = builder.add_extension(loopback, critical=False)
        return builder.sign(authority_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = folder / "authority.pem"
    path.write_bytes(made(authority, authority_key.public_key(), ca=True))
    path.with_name(SERVER).write_bytes(made(server, key.public_key(), ca=False) + private)
    return path


class Secure(ThreadingHTTPServer):
    """A server whose connections are encrypted, each in the thread that serves it."""

    context: ssl.SSLContext

    def get_request(self) -> tuple[Any, Any]:
        connection, address = super().get_request()
        connection.settimeout(10)
        return self.context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False), address

    def handle_error(self, *_: Any) -> None:
        """Say nothing of clients that do not trust it."""


class SecureHub(Secure, Hub):
    """A hub of models over TLS."""


class Index(BaseHTTPRequestHandler):
    """An index of packages that has none."""

    def do_GET(self) -> None:
        self.send_response(404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextlib.contextmanager
def serving(server: Secure, authority: Path) -> Iterator[None]:
    """Let a server work in a thread, with the certificate of an authority."""
    server.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.context.load_cert_chain(authority.with_name(SERVER))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()


@pytest.fixture
def authority(tmp_path: Path) -> Path:
    return certificates(tmp_path)


@pytest.fixture
def hub(tmp_path: Path, authority: Path) -> Iterator[Served]:
    """Serve one model over TLS."""
    with SecureHub(("127.0.0.1", 0), tmp_path / "hub") as server, serving(server, authority):
        served = Served(server, tmp_path / "hub")
        served.url = served.url.replace("http://", "https://")
        yield served


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


@pytest.mark.parametrize(
    ("given", "said"), [(True, "not found in the package registry"), (False, "invalid peer certificate")]
)
def test_uv_reads_the_variable_that_is_its_own(
    tmp_path: Path, authority: Path, monkeypatch: pytest.MonkeyPatch, given: bool, said: str
) -> None:
    for name in [name for name in os.environ if name.startswith(("UV_", "SSL_CERT_"))]:
        monkeypatch.delenv(name)
    if given:
        monkeypatch.setenv(AUTHORITY_OF_UV, str(authority))
    uv = [sys.executable, "-m", "uv", "--no-config", "--cache-dir", str(tmp_path / "cache"), "pip", "install"]
    with Secure(("127.0.0.1", 0), Index) as server, serving(server, authority):
        index = f"https://127.0.0.1:{server.server_port}/simple"
        command = [*uv, "--target", str(tmp_path / "target"), "--index-url", index, "made-up-package"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode
    assert said in " ".join(done.stderr.split()), done.stderr
