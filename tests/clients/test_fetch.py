# SPDX-License-Identifier: Apache-2.0
"""Fetch with the hubs' real clients from a hub that misbehaves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.provision.host.fault import Fault
from ansible.module_utils.provision.models.fetch import fetch
from ansible.module_utils.provision.models.files import read_manifest

from tests.clients.served import ONE, TWO, Orders, assert_nothing_served, assert_served_whole, outcome, sums


def test_publishes_every_file_with_its_hash(hub: Any, orders: Orders, source: str) -> None:
    spec = orders(source)
    fetch(spec)
    assert_served_whole(hub, spec)
    told = outcome(spec)
    assert told["state"] == "done"
    assert told["changed"] is True
    assert sorted(told["fetched"]) == sorted(sums(hub.model))
    manifest = read_manifest(Path(spec["directory"]))
    assert manifest is not None
    assert {name: known.sha256 for name, known in manifest.files.items()} == sums(hub.model)
    assert manifest.files[ONE].origin == "hub"
    assert hub.stats(ONE)["bytes"] == (hub.model / ONE).stat().st_size


def test_a_cut_connection_is_resumed_where_it_broke(hub: Any, orders: Orders, source: str) -> None:
    hub.plant({"path": f"*/{ONE}", "kind": "cut", "after": 3 * 1024**2, "count": 1})
    spec = orders(source)
    fetch(spec)
    assert_served_whole(hub, spec)
    size = (hub.model / ONE).stat().st_size
    # At most the block that was being filled when it broke comes twice.
    assert size <= hub.stats(ONE)["bytes"] < size + 2 * 1024**2


def test_a_later_run_resumes_what_an_earlier_one_left(hub: Any, orders: Orders, source: str) -> None:
    hub.plant(
        {"path": f"*/{ONE}", "kind": "cut", "after": 3 * 1024**2, "count": 1},
        {"path": f"*/{ONE}", **down(500)},
    )
    spec = orders(source, attempts=1)
    with pytest.raises(Fault):
        fetch(spec)
    assert_nothing_served(spec)
    hub.plant()
    hub.forget()
    fetch(spec)
    assert_served_whole(hub, spec)
    size = (hub.model / ONE).stat().st_size
    assert hub.stats(ONE)["bytes"] <= size - 2 * 1024**2
    assert "bytes" not in hub.stats(TWO)


def test_a_killed_run_is_resumed_by_the_next(hub: Any, orders: Orders, source: str, tmp_path: Path) -> None:
    hub.plant({"path": f"*/{ONE}", "kind": "slow", "rate": 1024**2})
    spec = orders(source)
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    argv = [sys.executable, spec["program"], "fetch", str(tmp_path / "spec.json")]
    with subprocess.Popen(argv, start_new_session=True) as job:
        # A client on a busy machine has not yet written all of what the hub has sent.
        while hub.stats(ONE).get("bytes", 0) < 3 * 1024**2:
            assert job.poll() is None
            time.sleep(0.05)
        os.killpg(job.pid, signal.SIGKILL)
    assert_nothing_served(spec)
    hub.plant()
    hub.forget()
    fetch(spec)
    assert_served_whole(hub, spec)
    assert hub.stats(ONE)["bytes"] <= (hub.model / ONE).stat().st_size - 1024**2


def test_the_clients_own_download_serves_where_xet_is_allowed(
    hub: Any, orders: Orders, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "0")
    hub.plant({"path": f"*/{ONE}", "kind": "wrong", "after": 4096, "count": 1})
    spec = orders()
    orphan = Path(f"{spec['directory']}.partial/.cache/huggingface/download/of-a-killed-process.incomplete")
    orphan.parent.mkdir(parents=True)
    orphan.touch()
    fetch(spec)
    assert_served_whole(hub, spec)
    assert hub.stats(ONE)["heads"] == hub.stats(ONE)["requests"] == 2


def test_wrong_bytes_are_fetched_again(hub: Any, orders: Orders, source: str) -> None:
    hub.plant({"path": f"*/{ONE}", "kind": "wrong", "after": 4096, "count": 1})
    spec = orders(source)
    fetch(spec)
    assert_served_whole(hub, spec)
    assert hub.stats(TWO)["bytes"] == (hub.model / TWO).stat().st_size


def test_a_hub_that_keeps_sending_wrong_bytes_is_named(hub: Any, orders: Orders, source: str) -> None:
    hub.plant({"path": f"*/{ONE}", "kind": "wrong", "after": 4096})
    spec = orders(source)
    with pytest.raises(
        Fault, match=r"model-00001.* (has sha256|Hash mismatch).* expected [0-9a-f]{16}"
    ) as caught:
        fetch(spec)
    assert hub.url in str(caught.value)
    assert_nothing_served(spec)
    assert outcome(spec)["message"] == str(caught.value)


def test_a_wrong_small_file_is_noticed_by_its_git_hash(hub: Any, orders: Orders) -> None:
    hub.plant({"path": "*/config.json", "kind": "wrong", "after": 3})
    spec = orders()
    with pytest.raises(Fault, match=r"config.json .* has git hash"):
        fetch(spec)
    assert_nothing_served(spec)


def test_a_truncated_answer_is_completed(hub: Any, orders: Orders, source: str) -> None:
    hub.plant({"path": f"*/{ONE}", "kind": "truncate", "after": 1000, "count": 1})
    spec = orders(source)
    fetch(spec)
    assert_served_whole(hub, spec)


def test_a_hub_that_always_truncates_is_given_up(hub: Any, orders: Orders, source: str) -> None:
    hub.plant({"path": f"*/{ONE}", "kind": "truncate", "after": 1000})
    spec = orders(source, attempts=2)
    with pytest.raises(Fault, match="failed 2 times in a row"):
        fetch(spec)
    assert_nothing_served(spec)


def down(status: int) -> dict[str, Any]:
    return {"kind": "status", "status": status}


@pytest.mark.parametrize("status", [500, 429])
def test_a_passing_error_is_retried(hub: Any, orders: Orders, source: str, status: int) -> None:
    hub.plant({"path": f"*/{ONE}", **down(status), "retry_after": 0, "count": 1})
    spec = orders(source)
    fetch(spec)
    assert_served_whole(hub, spec)
    assert hub.stats(ONE)["requests"] == 2


def test_a_lasting_error_says_what_where_and_what_next(hub: Any, orders: Orders, source: str) -> None:
    hub.plant({"path": f"*/{ONE}", **down(500)})
    spec = orders(source, attempts=2)
    with pytest.raises(Fault, match=f"{hub.url} failed 2 times in a row.*500") as caught:
        fetch(spec)
    assert "apply again" in caught.value.next_step
    assert_nothing_served(spec)


def test_a_hub_that_falls_silent_is_left_and_asked_again(hub: Any, orders: Orders, source: str) -> None:
    hub.plant({"path": f"*/{ONE}", "kind": "stall", "after": 3 * 1024**2, "count": 1})
    spec = orders(source, stall_seconds=1)
    fetch(spec)
    assert_served_whole(hub, spec)
    size = (hub.model / ONE).stat().st_size
    assert hub.stats(ONE)["bytes"] < size + 2 * 1024**2


def test_too_little_disk_is_refused_before_the_first_byte(hub: Any, orders: Orders, source: str) -> None:
    spec = orders(source, reserve_bytes=10**18)
    with pytest.raises(Fault, match=r"not enough disk .* GB free, and .* GB in reserve are needed") as caught:
        fetch(spec)
    assert "model_store_root" in caught.value.next_step
    assert not hub.stats(ONE)
    assert not hub.stats("config.json")
    assert_nothing_served(spec)


def test_a_model_the_hub_does_not_have_is_no_reason_to_retry(orders: Orders, source: str) -> None:
    spec = orders(source, model="stand-in/nowhere")
    with pytest.raises(Fault, match="has no stand-in/nowhere") as caught:
        fetch(spec)
    assert "serve_model" in caught.value.next_step
    assert_nothing_served(spec)


def test_a_missing_token_is_asked_for_by_its_word(hub: Any, orders: Orders, source: str) -> None:
    hub.plant({"kind": "token", "token": "canary-7c1d"})
    with pytest.raises(Fault, match="HTTP 401: no token is configured") as caught:
        fetch(orders(source))
    assert f"model_store_{source}_token_file" in caught.value.next_step


def test_the_token_reaches_the_hub_and_nothing_else(
    hub: Any, orders: Orders, source: str, tmp_path: Path
) -> None:
    hub.plant(
        {"kind": "token", "token": "canary-7c1d"},
        {"path": "*.safetensors", "kind": "slow", "rate": 4 * 1024**2},
    )
    token = tmp_path / "token"
    token.write_text("canary-7c1d\n")
    spec = orders(source, token_file=str(token))
    path = tmp_path / "spec.json"
    path.write_text(json.dumps(spec))
    with subprocess.Popen(
        [sys.executable, spec["program"], "fetch", str(path)], stderr=subprocess.PIPE, stdout=subprocess.PIPE
    ) as job:
        seen = list(command_lines_while(job))
        out, err = job.communicate()
    assert job.returncode == 0, err.decode()
    assert_served_whole(hub, spec)
    assert hub.stats(ONE)["authorized"] > 0
    assert any(b"client" in line for line in seen)
    assert b"canary-7c1d" not in b"".join(seen) + out + err
    token.unlink()
    kept = [path for path in tmp_path.rglob("*") if path.is_file() and hub.root not in path.parents]
    assert not [path for path in kept if b"canary-7c1d" in path.read_bytes()]


def command_lines_while(job: subprocess.Popen[bytes]) -> Iterator[bytes]:
    """Yield command lines and environments of the job and its children until it ends."""
    while job.poll() is None:
        for process in Path("/proc").glob("[0-9]*"):
            try:
                line = (process / "cmdline").read_bytes()
                if b"model-store-" in line:
                    yield line + (process / "environ").read_bytes()
            except OSError:
                continue
