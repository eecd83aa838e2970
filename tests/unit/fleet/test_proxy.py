# SPDX-License-Identifier: Apache-2.0
"""What `provision plan` finds out about a proxy, and what it notes, without showing a password."""

from __future__ import annotations

from typing import Any

import pytest

from provisioner.fleet import proxy, services, variables

PLAIN, LOGIN = "http://proxy:3128", "http://me:s3cret@proxy:3128"
VAULTED = {"__ansible_vault": "$ANSIBLE_VAULT;1.1;AES256\n00"}
OLLAMA = {"serve_engine": "ollama", "serve_model": "smollm2:135m", "serve_model_source": "ollama"}


def found(given: object, **own: Any) -> list[str]:
    resolved = services.resolve(own, {"ollama": variables.defaults("engine_ollama")}).services if own else ()
    return [f"{one.reason}; {one.hint}" for one in proxy.check({proxy.VARIABLE: given, **own}, resolved)]


@pytest.mark.parametrize(
    "given",
    [
        {},
        None,
        VAULTED,
        "{{ company_proxy }}",
        {"http": PLAIN},
        {"http": VAULTED},
        {"https": "http://me:{{ secret }}@proxy:3128", "no_proxy": ["a", ".b"]},
        {"https": PLAIN, "no_proxy": VAULTED},
    ],
)
def test_leaves_to_the_run_what_only_the_run_can_know(given: object) -> None:
    assert found(given) == []


def test_checks_the_rest_beside_what_is_encrypted() -> None:
    (only,) = found({"http": VAULTED, "https": "https://proxy:1"})
    assert "https://" in only


@pytest.mark.parametrize("login", ["me:s3cret@", "me@"])
def test_a_password_is_refused_where_ollama_would_log_it(login: str) -> None:
    (only,) = found({"http": f"http://{login}proxy:1"}, **OLLAMA)
    assert "Ollama would write into its journal; set engine_ollama_https_proxy" in only
    assert "s3cret" not in only
    assert (
        found({"http": f"http://{login}proxy:1"}, **OLLAMA, engine_ollama_https_proxy="http://proxy:2") == []
    )
    hub = {**OLLAMA, "serve_model": "a/b-GGUF", "serve_model_source": "huggingface"}
    assert found({"http": f"http://{login}proxy:1"}, **hub) == []
    assert found({"http": "http://proxy:1"}, **OLLAMA) == []


def test_notes_a_password_that_no_vault_has() -> None:
    given = {proxy.VARIABLE: {"http": LOGIN}}
    (only,) = proxy.notes(given, ["{http: ...}"])
    assert "ansible-vault encrypt_string" in only
    # Of a file that is encrypted as a whole, nothing is read but what Ansible makes of it.
    assert list(proxy.notes(given, [])) == []
    assert list(proxy.notes({proxy.VARIABLE: {"http": VAULTED}}, ["x"])) == []
    assert list(proxy.notes({proxy.VARIABLE: {"http": PLAIN}}, ["x"])) == []


def test_notes_what_some_clients_do_not_understand() -> None:
    given: dict[str, Any] = {proxy.VARIABLE: {"http": PLAIN, "no_proxy": "10.0.0.0/8"}}
    assert ["10.0.0.0/8" in one for one in proxy.notes(given, [])] == [True]
    given = {proxy.VARIABLE: {"http": LOGIN}, "container_runtime_engine": "podman"}
    assert ["podman" in one for one in proxy.notes(given, [])] == [True]
