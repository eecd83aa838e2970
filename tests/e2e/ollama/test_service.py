# SPDX-License-Identifier: Apache-2.0
"""Serve with a real Ollama: what took effect, other versions, models made anew, and several services."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.machines import Done, Machines
from tests.e2e.ollama.services import DROP_INS, HOST, NEW, OLD, OLDEST, Ollama

GGUF = "HuggingFaceTB/SmolLM2-135M-Instruct-GGUF"
# What a model of a hub's file takes.
WITH_FILES = ("models", "serve", "verify")
# Where a setting of a running model is found.
ARGUMENT = "--parallel of llama-server"


@pytest.fixture
def ollama(ollama_host: Machines, tmp_path: Path) -> Iterator[Ollama]:
    """Give the host with what another test has left there, which an apply turns into what this one wants."""
    found = Ollama(ollama_host, tmp_path)
    yield found
    found.sh(f"rm -rf {DROP_INS} && systemctl daemon-reload")


def rung(done: Done, name: str, service: str = "ollama") -> dict[str, Any]:
    rungs = [one for one in done.report["rungs"] if (one["rung"], one["service"]) == (name, service)]
    assert len(rungs) == 1, rungs
    return dict(rungs[0])


def test_asked_slots_run_side_by_side(ollama: Ollama) -> None:
    words: dict[str, Any] = {"serve_env": {"OLLAMA_NUM_PARALLEL": "3"}}
    done = ollama.apply(**words)
    evidence = rung(done, "settings")["evidence"]
    assert f"slots: requested 3, effective 3 ({ARGUMENT})" in evidence
    assert "context: requested 2048, effective 2048" in evidence
    arguments = ollama.sh("tr '\\0' ' ' </proc/$(pgrep --newest llama-server)/cmdline")
    assert " -np 3 " in arguments
    spans = ask_together(ollama, 3)
    assert max(began for began, _ in spans) < min(ended for _, ended in spans)
    assert ollama.apply(only=(), **words).report["changed"] == 0


ASK_TOGETHER = """
import json, sys, threading, time, urllib.request
body = {"model": "smollm2:135m", "prompt": "Count to a hundred: one,", "options": {"num_predict": 48}}
def ask():
    with urllib.request.urlopen("http://127.0.0.1:11434/api/generate", json.dumps(body).encode()) as answer:
        times = [time.time() for line in answer]
    print(times[0], times[-1])
threads = [threading.Thread(target=ask) for _ in range(int(sys.argv[1]))]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
"""


def ask_together(ollama: Ollama, count: int) -> list[tuple[float, float]]:
    """Ask so many questions at once, and return when each one's answer began and ended."""
    lines = ollama.sh(f"python3 -c {shlex.quote(ASK_TOGETHER)} {count}").splitlines()
    found = [(float(line.split()[0]), float(line.split()[1])) for line in lines]
    assert len(found) == count
    return found


def test_says_what_took_effect_where_more_was_asked_than_the_model_takes(ollama: Ollama) -> None:
    done = ollama.apply(code=1, engine_ollama_context_length=32768)
    found = rung(done, "settings")
    assert found["status"] == "failed"
    assert "context: requested 32768, effective 8192" in found["evidence"]
    assert "the model does not support such a long context" in found["evidence"] + str(found["next"])
    assert rung(done, "token")["status"] == "passed"


@pytest.mark.parametrize(
    ("other", "source"),
    [(OLD, ARGUMENT), pytest.param(OLDEST, "its journal", marks=pytest.mark.exhaustive)],
    ids=[OLD, OLDEST],
)
def test_another_version_is_one_restart_and_no_download_of_models(
    ollama: Ollama, hub: Any, other: str, source: str
) -> None:
    words: dict[str, Any] = {"engine_ollama_num_parallel": 3}
    ollama.apply(**words)
    ollama.sh(
        f"mkdir -p {DROP_INS} && printf '[Service]\\nEnvironment=MY_OWN=1\\n' > {DROP_INS}/mine.conf && "
        "systemctl daemon-reload"
    )
    models, environment = ollama.manifests(), ollama.sh("cat /etc/provision/ollama.env")
    for version, seen in ((other, source), (NEW, ARGUMENT)):
        hub.reset()
        before = starts(ollama)
        done = ollama.apply(engine_ollama_version=version, **words)
        assert starts(ollama) == before + 1
        settings = rung(done, "settings")["evidence"]
        assert f"version: requested {version}, effective {version}" in settings
        assert f"slots: requested 3, effective 3 ({seen})" in settings
        assert not [path for path in hub.sent() if "/blobs/" in path]
        assert ollama.manifests() == models
        assert ollama.sh("cat /etc/provision/ollama.env") == environment
        assert "MY_OWN=1" in ollama.sh("tr '\\0' '\\n' </proc/$(systemctl show -P MainPID ollama)/environ")


def starts(ollama: Ollama) -> int:
    """Return how often systemd has started the service."""
    journal = "journalctl --unit ollama.service --output cat --no-pager"
    return int(ollama.sh(f"{journal} | grep -c '^Started ' || true"))


def test_a_wrong_hash_leaves_the_old_version_serving(ollama: Ollama) -> None:
    process = ollama.pid()
    assert process
    wrong: dict[str, Any] = {"engine_ollama_version": OLD, "engine_ollama_sha256": "0" * 64}
    done = ollama.apply(only=("serve",), code=1, **wrong)
    (failure,) = done.report["failures"]
    assert "0" * 64 in failure["message"]
    assert ollama.pid() == process
    assert ollama.ask("/api/version")["version"] == NEW


def made(system: str) -> dict[str, Any]:
    """Return the words of a service with three models, one of which has this system prompt."""
    return {
        "serve_model": GGUF,
        "serve_model_source": "huggingface",
        "engine_ollama_parameters": {"temperature": 0, "stop": ["<x>"]},
        "engine_ollama_models": [
            {"name": "smollm2:135m"},
            {"name": "terse", "from": "smollm2:135m", "system": system},
        ],
    }


def test_only_the_changed_model_is_made_again(ollama: Ollama) -> None:
    ollama.apply(only=WITH_FILES, **made("Be terse."))
    before, process = ollama.manifests(), ollama.pid()
    text = 'Say "yes".\n  And """ nothing else.'
    done = ollama.apply(only=WITH_FILES, **made(text))
    after = ollama.manifests()
    assert [name for name in after if after[name] != before.get(name)] == [
        "./registry.ollama.ai/library/terse/latest"
    ]
    assert ollama.pid() == process
    shown = ollama.ask("/api/show", {"model": "terse"})
    assert shown["system"] == text
    assert done.report["changed"] == 1
    assert ollama.apply(only=WITH_FILES, **made(text)).report["changed"] == 0


def test_a_damaged_model_is_named_and_mended(ollama: Ollama) -> None:
    ollama.apply(only=WITH_FILES, **made("Be terse."))
    blob, process = ollama.weights(), ollama.pid()
    expected = blob.rpartition("-")[2]
    ollama.sh(f"printf X | dd of={blob} bs=1 seek=5000000 conv=notrunc")
    actual = ollama.sh(f"sha256sum {blob}").split()[0]
    found = rung(ollama.verify("--deep", code=1, **made("Be terse.")), "files")
    assert found["status"] == "failed"
    assert f"{blob} has sha256 {actual}, expected {expected}" in found["evidence"]
    ollama.apply(only=WITH_FILES, **made("Be terse."))
    assert ollama.sh(f"sha256sum {blob}").split()[0] == expected
    assert ollama.pid() == process


def test_two_services_differ_and_one_can_go(ollama: Ollama) -> None:
    first = {"serve_name": "ollama", "engine_ollama_num_parallel": 3}
    second = {
        "serve_name": "chat",
        "serve_port": 11435,
        "engine_ollama_num_parallel": 2,
        "engine_ollama_models": [{"name": "only-here", "from": "smollm2:135m", "system": "Be terse."}],
    }
    done = ollama.apply(first, second)
    assert "slots: requested 3, effective 3" in rung(done, "settings")["evidence"]
    assert "slots: requested 2, effective 2" in rung(done, "settings", "chat")["evidence"]
    process = ollama.pid()
    refused = ollama.machines.provision(
        "apply", ollama.inventory(first), "--limit", HOST, "--json", code=None
    )
    assert refused.code != 0
    assert ollama.pid("ollama@chat.service") > 0
    ollama.apply(first)
    assert ollama.pid() == process
    assert ollama.pid("ollama@chat.service") == 0
    assert not [name for name in ollama.manifests() if "only-here" in name]
    assert [name for name in ollama.manifests() if "smollm2" in name]
