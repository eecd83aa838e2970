# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest

from provisioner.fleet import addresses
from tests.unit.fleet.made_up import reasons, resolve, service

pytestmark = pytest.mark.usefixtures("made_up_engine")


@pytest.mark.parametrize(
    "given", ["127.0.0.1", "0.0.0.0", "::", "::1", "localhost", "192.0.2.1", "2001:db8::1"]
)
def test_a_service_listens_on_an_address_or_localhost(given: str) -> None:
    assert service(serve_address=given, serve_expose="everything").address == given


@pytest.mark.parametrize(
    ("given", "plain"), [("[::]", "::"), ("[::1]", "::1"), ("[2001:db8::1]", "2001:db8::1")]
)
def test_brackets_are_taken_off_an_address(given: str, plain: str) -> None:
    found = service(serve_address=given, serve_expose="everything")
    assert (found.address, found.for_ansible()["serve_address"]) == (plain, plain)


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        ("gpu1.example.com", "such as 0.0.0.0"),
        ("eth0", "such as 0.0.0.0"),
        ("256.1.1.1", "such as 0.0.0.0"),
        ("", "such as 0.0.0.0"),
        ("10", "such as 0.0.0.0"),
        ("224.0.0.1", "such as 0.0.0.0"),
        ("fe80::1%eth0", "such as 0.0.0.0"),
        ("0.0.0.0:8000", "did you mean 0.0.0.0?"),
        ("http://127.0.0.1", "did you mean 127.0.0.1?"),
        ("https://[::]:8000/v1", "did you mean ::?"),
        ("[::]:8000", "did you mean ::?"),
        ("10.0.0.5/24", "did you mean 10.0.0.5?"),
        ("*", "did you mean 0.0.0.0?"),
        ("Localhost", "did you mean localhost?"),
        (" 127.0.0.1", "did you mean 127.0.0.1?"),
    ],
)
def test_nothing_else_is_an_address(given: str, hint: str) -> None:
    (reason,) = reasons(serve_address=given)
    assert reason.startswith("serve_address: must be an IP address")
    assert hint in reason


BEYOND = pytest.mark.parametrize("given", ["0.0.0.0", "::", "[::]", "192.0.2.1", "2001:db8::1"])


@BEYOND
def test_an_address_that_others_can_reach_needs_consent(given: str) -> None:
    (reason,) = reasons(serve_address=given)
    assert reason.startswith("serve_address: opens abacus.service to the network: ")
    assert "write serve_expose: everything beside it" in reason
    assert reasons(serve_address=given, serve_expose="everything") == []


@pytest.mark.parametrize("given", ["127.0.0.1", "127.0.0.53", "::1", "[::1]", "localhost"])
def test_the_host_itself_needs_none(given: str) -> None:
    assert reasons(serve_address=given) == []


def test_a_key_is_no_such_consent_and_neither_is_another_value(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("sk-test")
    assert any(
        "serve_expose" in reason for reason in reasons(serve_address="::", serve_api_key_file=str(key))
    )
    assert any(
        "must be everything" in r or "must be one of everything" in r for r in reasons(serve_expose="all")
    )


def test_an_address_of_one_of_several_services_is_checked_too() -> None:
    items = [{"serve_name": "a"}, {"serve_name": "b", "serve_port": 8001, "serve_address": "gpu1"}]
    _, (finding,) = resolve(serve_services=items)
    assert (finding.variable, finding.item) == ("serve_address", 2)


@pytest.mark.parametrize(
    ("first", "second", "clash"),
    [
        ("127.0.0.1", "127.0.0.1", True),
        ("localhost", "127.0.0.1", True),
        ("::1", "localhost", True),
        ("::1", "0:0:0:0:0:0:0:1", True),
        ("0.0.0.0", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("localhost", "192.0.2.1", False),
    ],
)
def test_one_port_on_one_address_is_for_one_service(first: str, second: str, *, clash: bool) -> None:
    assert addresses.overlap(first, second) is clash
