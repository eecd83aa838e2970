# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from typing import Any

import pytest
from ansible.module_utils.provision.host.fault import Fault
from ansible.module_utils.provision.models.client import describe
from ansible.module_utils.provision.models.download import Failures
from ansible.module_utils.provision.models.orders import Orders
from ansible.module_utils.provision.models.process import environment

SPEC: dict[str, Any] = {
    "directory": "/models/org/name",
    "source": "modelscope",
    "model": "org/name",
    "revision": "master",
    "endpoint": "http://mirror.example:8000",
    "attempts": 4,
    "stall_seconds": 60,
    "streams": 6,
    "cache": "/cache",
    "token_file": "",
}


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    slept: list[float] = []
    monkeypatch.setattr("ansible.module_utils.provision.jobs.patience.time.sleep", slept.append)
    return slept


def passing(wait: float = 0.0) -> dict[str, Any]:
    return {"ok": False, "kind": "transient", "status": 503, "error": "busy", "retry_after": wait}


def test_pauses_double_until_it_gives_up(pauses: list[float]) -> None:
    failures = Failures(Orders.read(SPEC))
    for _ in range(3):
        failures.add([passing()], progressed=False)
    with pytest.raises(Fault, match=r"ModelScope at http://mirror\.example:8000 failed 4 times in a row"):
        failures.add([passing()], progressed=False)
    assert pauses == [1, 2, 4]


def test_progress_starts_the_count_again(pauses: list[float]) -> None:
    failures = Failures(Orders.read(SPEC))
    for progressed in (False, False, True, False, False):
        failures.add([passing()], progressed=progressed)
    assert pauses == [1, 2, 1, 2, 4]


def test_waits_as_long_as_the_hub_asks(pauses: list[float]) -> None:
    Failures(Orders.read(SPEC)).add([passing(wait=17), passing(wait=3)], progressed=False)
    assert pauses == [17]


def test_does_not_sit_through_an_hour(pauses: list[float]) -> None:
    with pytest.raises(Fault, match="the server asks for a wait of 3600 s"):
        Failures(Orders.read(SPEC)).add([passing(wait=3600)], progressed=True)
    assert pauses == []


def test_a_full_disk_is_no_reason_to_retry() -> None:
    answer = describe(OSError(28, "No space left on device"))
    with pytest.raises(Fault, match="the disk became full"):
        Failures(Orders.read(SPEC)).add([answer], progressed=True)


class _Response:
    status_code = 429
    headers = {"Retry-After": "12"}  # noqa: RUF012 - read only


def test_finds_status_and_wait_in_the_cause_of_an_error() -> None:
    inner = ValueError("busy")
    inner.response = _Response()  # type: ignore[attr-defined]
    outer = RuntimeError("download failed\nwith details")
    outer.__cause__ = inner
    told = describe(outer)
    assert (told["status"], told["retry_after"], told["kind"]) == (429, 12.0, "transient")
    assert told["error"] == "RuntimeError: download failed"


def test_a_ring_of_causes_ends() -> None:
    one, two = ValueError("one"), ValueError("two")
    one.__cause__, two.__cause__ = two, one
    assert describe(one)["kind"] == "transient"


@pytest.mark.parametrize(
    ("status", "kind"), [(401, "refused"), (403, "refused"), (404, "missing"), (400, "broken")]
)
def test_what_no_repetition_mends(status: int, kind: str) -> None:
    error = ValueError("no")
    error.status_code = status  # type: ignore[attr-defined]
    assert describe(error)["kind"] == kind


@pytest.mark.parametrize(
    ("text", "kind", "variable"),
    [
        ("[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed", "untrusted", "model_store_ca_bundle"),
        (
            "Could not find a suitable TLS CA certificate bundle, invalid path: /x",
            "authority",
            "model_store_ca_bundle",
        ),
        ("Invalid URL 'hub/api': No scheme supplied", "address", "model_store_modelscope_endpoint"),
        ("Connection refused", "transient", ""),
    ],
)
def test_what_is_wrong_on_this_side_ends_at_once(
    monkeypatch: pytest.MonkeyPatch, text: str, kind: str, variable: str
) -> None:
    for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    error = RuntimeError("download failed")
    error.__cause__ = OSError(text)
    answer = describe(error)
    assert answer["kind"] == kind
    if variable:
        with pytest.raises(Fault) as caught:
            Failures(Orders.read(SPEC)).add([answer], progressed=False)
        assert variable in caught.value.next_step


def test_a_file_of_authorities_that_is_missing_is_the_cause(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not every library says which file it has not found."""
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere/ca.pem")
    assert describe(FileNotFoundError(2, "No such file or directory"))["kind"] == "authority"


def test_a_mirror_gets_its_companion_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    made = environment(Orders.read(SPEC))
    assert made["HF_ENDPOINT"] == made["MODELSCOPE_ENDPOINT"] == "http://mirror.example:8000"
    assert made["MODELSCOPE_DOMAIN"] == "mirror.example:8000"
    assert made["HF_HUB_DISABLE_XET"] == "1"
    assert made["HF_HUB_DISABLE_TELEMETRY"] == made["DO_NOT_TRACK"] == "1"
    assert made["HF_HUB_DOWNLOAD_TIMEOUT"] == made["MODELSCOPE_DOWNLOAD_TIMEOUT"] == "60"
    assert made["MODELSCOPE_DOWNLOAD_PARALLEL_WORKERS"] == made["MODELSCOPE_DOWNLOAD_PARALLELS"] == "6"
    assert made["HTTPS_PROXY"] == "http://proxy.example:3128"


def test_the_hub_itself_may_use_xet_until_it_stalls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_DISABLE_XET", raising=False)
    spec = {**SPEC, "endpoint": "https://huggingface.co/"}
    assert "HF_HUB_DISABLE_XET" not in environment(Orders.read(spec))
    assert environment(Orders.read(spec), xet=False)["HF_HUB_DISABLE_XET"] == "1"


def test_orders_of_another_version_of_this_program_are_understood() -> None:
    orders = Orders.read({**SPEC, "added_later": 1, "services": ["vllm"], "include": ["*.gguf"]})
    assert orders.wanted.include == ("*.gguf",)
    assert Orders.read(json.loads(json.dumps(orders.to_dict()))) == orders
    needed = ("source", "model", "revision", "directory", "endpoint")
    assert Orders.read({key: SPEC[key] for key in needed}).streams == 4
