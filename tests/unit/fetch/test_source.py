# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import socket
import ssl
import time
from email.message import Message
from email.utils import formatdate
from http.client import RemoteDisconnected
from urllib.error import URLError

import pytest
from ansible.module_utils.provision.fetch.source import (
    Passing,
    Source,
    network_fault,
    seconds_of,
    status_fault,
)
from ansible.module_utils.provision.host.fault import Fault

SOURCE = Source("https://me:secret@h.example:8443/a/tool.zip?sig=secret#part")


def test_shows_nothing_that_may_be_secret() -> None:
    assert str(SOURCE) == "https://h.example:8443/a/tool.zip?…"
    assert SOURCE.path == "/a/tool.zip"
    assert str(Source("http://[::1]:80/x")) == "http://[::1]:80/x"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (TimeoutError("timed out"), "no data for 60 s"),
        (URLError(socket.gaierror(-2, "Name or service not known")), "cannot be resolved"),
        (URLError(ConnectionRefusedError(111, "Connection refused")), "Connection refused"),
        (RemoteDisconnected("closed"), "RemoteDisconnected"),
        (URLError("odd"), "was cut off"),
        (OSError("Tunnel connection failed: 503 Service Unavailable"), "HTTP 503"),
    ],
)
def test_what_may_pass(error: Exception, said: str) -> None:
    fault = network_fault(error, SOURCE, 60)
    assert isinstance(fault, Passing)
    assert said in str(fault)


def test_a_certificate_does_not_mend_itself() -> None:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_message = "self-signed certificate"
    fault = network_fault(URLError(error), SOURCE, 60)
    assert isinstance(fault, Fault)
    assert "cannot be trusted: self-signed certificate" in str(fault)
    assert "release_archive_ca_bundle" in fault.next_step


def test_a_proxy_that_wants_a_password_says_so() -> None:
    error = URLError(OSError("Tunnel connection failed: 407 Proxy Authentication Required"))
    fault = network_fault(error, SOURCE, 60)
    assert isinstance(fault, Fault)
    assert "HTTP 407 Proxy Authentication Required" in str(fault)
    assert "the proxy's URL" in fault.next_step


def test_the_wait_is_taken_from_the_answer() -> None:
    headers = Message()
    headers["Retry-After"] = "12"
    fault = status_fault(429, headers, SOURCE)
    assert isinstance(fault, Passing)
    assert fault.retry_after == 12


def test_a_wait_may_be_a_date() -> None:
    assert 3000 < seconds_of(formatdate(time.time() + 3600, usegmt=True)) <= 3600
    assert [seconds_of(text) for text in ("-5", "soon", "")] == [0, 0, 0]
