# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.provision.engine import files, gate, inputs, processes
from ansible.module_utils.provision.engine.client import Engine
from ansible.module_utils.provision.host import managed
from ansible.module_utils.provision.host.facts import parse_address
from ansible.module_utils.provision.host.fault import Fault
from ansible.module_utils.provision.jobs import program


@pytest.fixture
def listening() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def places(root: Path) -> Path:
    """Lay out a host: a unit with its environment, and a model."""
    (managed.UNITS / "vllm.service").write_text("[Service]\n")
    (files.SETTINGS / "vllm.env").write_text('A="1"\n')
    (root / "model").mkdir()
    (root / "model" / "model.safetensors").write_bytes(b"weights")
    return root


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0", "localhost"])
def test_names_the_owner_of_a_taken_port(listening: int, address: str) -> None:
    comm = Path("/proc/self/comm").read_text(encoding="utf-8").strip()
    assert processes.holder(address, listening) == processes.Holder(os.getpid(), comm)
    assert str(processes.holder(address, listening)) == f"{comm} (pid {os.getpid()})"


def test_finds_no_owner_on_another_address_or_port(listening: int) -> None:
    assert processes.holder("127.0.0.2", listening) is None
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound, so nobody else gets it, and not listening
        assert processes.holder("127.0.0.1", unused.getsockname()[1]) is None


@pytest.mark.parametrize(
    ("first", "second", "clash"),
    [
        ("0.0.0.0", "10.0.0.1", True),
        ("::", "10.0.0.1", True),
        ("::", "::1", True),
        ("0.0.0.0", "::1", False),
        ("127.0.0.1", "10.0.0.1", False),
        ("::1", "::1", True),
    ],
)
def test_knows_which_addresses_exclude_each_other(first: str, second: str, clash: bool) -> None:
    assert processes.overlap(first, second) is clash
    assert processes.overlap(second, first) is clash


def test_reads_addresses_of_both_families() -> None:
    assert parse_address("0100007F:1F90") == ("127.0.0.1", 8080)
    assert parse_address("00000000000000000000000001000000:0001") == ("::1", 1)
    assert parse_address("0000000000000000FFFF00000100007F:0001") == ("127.0.0.1", 1)


def test_preflight_records_what_the_engine_starts_with(places: Path) -> None:
    arguments = ["--unit", "vllm.service", "--port", "1", "--model-dir", str(places / "model")]
    assert gate.main(["preflight", *arguments]) == 0
    recorded = files.STARTED / "vllm.json"
    assert json.loads(recorded.read_text()) == inputs.digests("vllm.service", str(places / "model"))
    assert recorded.stat().st_mode & 0o777 == 0o600
    assert recorded.parent.stat().st_mode & 0o777 == 0o755


@pytest.mark.usefixtures("places")
def test_preflight_makes_its_directories_whatever_the_umask() -> None:
    before = os.umask(0o077)
    try:
        assert gate.main(["preflight", "--unit", "vllm.service", "--port", "1"]) == 0
    finally:
        os.umask(before)
    modes = [path.stat().st_mode & 0o777 for path in (files.STARTED.parent, files.STARTED)]
    assert modes == [0o755, 0o755]


def test_an_error_of_the_system_is_one_line_and_a_next_step(
    places: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (places / "run/provision").write_text("in the way")
    assert gate.main(["preflight", "--unit", "vllm.service", "--port", "1"]) == 1
    said = capsys.readouterr().err
    assert re.fullmatch(r"\S+/run/provision: File exists\nnext: \S.+\n", said)


def test_a_link_to_nowhere_is_recorded_as_missing(places: Path) -> None:
    link = places / "model" / "tokenizer.json"
    link.symlink_to(places / "nowhere")
    dangling = inputs.digests("vllm.service", str(places / "model"))["model files"]
    weights = (places / "model" / "model.safetensors").stat()
    seen = [["model.safetensors", weights.st_size, weights.st_mtime_ns], ["tokenizer.json", -1, 0]]
    assert dangling == hashlib.sha256(json.dumps(seen).encode()).hexdigest()
    (places / "nowhere").write_text("{}")
    assert inputs.digests("vllm.service", str(places / "model"))["model files"] != dangling


@pytest.mark.usefixtures("places")
def test_preflight_refuses_a_taken_port(listening: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert gate.main(["preflight", "--unit", "vllm.service", "--port", str(listening)]) == 1
    assert f"port {listening} is taken by" in capsys.readouterr().err
    assert not (files.STARTED / "vllm.json").exists()


def _change_unit(_places: Path) -> None:
    (managed.UNITS / "vllm.service").write_text("[Service]\nUser=other\n")


def _change_environment(_places: Path) -> None:
    (files.SETTINGS / "vllm.env").write_text('A="2"\n')


def _add_key(_places: Path) -> None:
    (files.SETTINGS / "vllm.key").write_text('K="secret"\n')


def _replace_weights(places: Path) -> None:
    os.utime(places / "model" / "model.safetensors", ns=(1, 1))


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (_change_unit, "unit file"),
        (_change_environment, "environment"),
        (_add_key, "API key"),
        (_replace_weights, "model files"),
    ],
)
def test_a_change_shows_in_its_own_part(places: Path, change: Any, part: str) -> None:
    before = inputs.digests("vllm.service", str(places / "model"))
    change(places)
    after = inputs.digests("vllm.service", str(places / "model"))
    assert [name for name in before if before[name] != after[name]] == [part]


def test_hidden_files_are_no_part_of_the_model(places: Path) -> None:
    before = inputs.digests("vllm.service", str(places / "model"))
    (places / "model" / ".manifest.json").write_text("{}")
    (places / "model" / ".cache").mkdir()
    (places / "model" / ".cache" / "file").write_text("")
    assert inputs.digests("vllm.service", str(places / "model")) == before


def test_an_engine_that_keeps_its_models_itself_has_no_model_files(
    places: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(places)
    before = inputs.digests("vllm.service", "")
    (places / "new").write_text("in the working directory")
    assert inputs.digests("vllm.service", "") == before
    assert before["model files"] == "none"


def _ready(url: str, *more: str, timeout: float = 0.2) -> int:
    words = ["ready", "--url", url, "--model", "org/model", "--timeout", str(timeout), *more]
    status: int = gate.main(words)
    return status


def test_ready_when_a_token_was_generated(engine: Any) -> None:
    assert _ready(engine.url) == 0
    assert engine.requests[0][1]["max_tokens"] == 1


def test_ready_sends_the_key_of_its_environment(engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    engine.key = "sk-test"
    monkeypatch.setenv("THE_KEY", "sk-test")
    assert _ready(engine.url, "--key-variable", "THE_KEY") == 0


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ({"health": 503}, "/health answered 503"),
        ({"generation_status": 500}, "/v1/completions answered 500"),
        ({"words": ()}, "without a token"),
        ({"generation_status": 404}, "/v1/completions answered 404"),
        ({"key": "sk-other"}, "/v1/completions answered 401"),
    ],
)
def test_a_healthy_page_is_not_ready(
    engine: Any, broken: dict[str, Any], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    vars(engine).update(broken)
    assert _ready(engine.url) == 1
    assert said in capsys.readouterr().err


def test_a_model_may_take_the_whole_time_of_the_start_to_load(
    engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, float] = {}
    request = Engine._request

    def noted(self: Engine, path: str, body: Any, seconds: float, **more: Any) -> Any:
        given[path] = seconds
        return request(self, path, body, seconds, **more)

    monkeypatch.setattr(Engine, "_request", noted)
    assert _ready(engine.url, timeout=600) == 0
    assert given["/health"] == gate.HEALTH_SECONDS
    assert 500 < given["/v1/completions"] <= 600


def test_models_to_preload_are_asked_after_the_first_answer(
    engine: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _ready(engine.url, "--preload", "second:latest", "--preload", "third") == 0
    assert [body["model"] for _, body in engine.requests] == ["org/model", "second:latest", "third"]
    said = capsys.readouterr().out.splitlines()
    assert [line.split(" answered")[0] for line in said] == ["the model", "second:latest", "third"]


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the gate try again at once."""
    monkeypatch.setattr(gate, "PAUSE_SECONDS", 0)


@pytest.mark.usefixtures("impatient")
def test_an_engine_that_cannot_load_the_model_is_not_asked_for_ever(
    engine: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    engine.generation_status = 500
    assert _ready(engine.url, timeout=600) == 1
    assert len(engine.requests) == gate.FAILED_ANSWERS
    assert f"org/model: {gate.FAILED_ANSWERS} times in a row /v1/completions" in capsys.readouterr().err


@pytest.mark.usefixtures("impatient")
def test_an_engine_that_still_loads_is_asked_on(engine: Any) -> None:
    engine.busy = gate.FAILED_ANSWERS + 1
    assert _ready(engine.url, timeout=600) == 0
    assert len(engine.requests) == gate.FAILED_ANSWERS + 2


def test_gives_up_at_once_when_the_engine_has_ended(
    engine: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MAINPID", str(2**22 + 1))  # above what Linux gives out
    assert _ready(engine.url, timeout=600) == 1
    assert "the engine ended" in capsys.readouterr().err
    assert not engine.requests


def test_the_file_of_a_start_is_that_of_every_earlier_release(places: Path) -> None:
    (places / "model" / "sub").mkdir()
    (places / "model" / "sub" / "config.json").write_bytes(b"{}")
    os.utime(places / "model" / "model.safetensors", ns=(5, 5))
    os.utime(places / "model" / "sub" / "config.json", ns=(7, 7))
    tree = '[["model.safetensors", 7, 5], ["sub/config.json", 2, 7]]'
    assert inputs.digests("vllm.service", str(places / "model")) == {
        "unit file": hashlib.sha256(b"[Service]\n").hexdigest(),
        "environment": hashlib.sha256(b'A="1"\n').hexdigest(),
        "API key": "absent",
        "model files": hashlib.sha256(tree.encode()).hexdigest(),
    }
    assert inputs.started_file("vllm.service") == files.STARTED / "vllm.json"


def test_what_changed_is_what_the_engine_was_not_started_with(places: Path) -> None:
    assert inputs.read("vllm.service", "").started == {}
    inputs.record("vllm.service", "")
    found = inputs.read("vllm.service", "")
    assert found.changed(found.now) == []
    _change_environment(places)
    found = inputs.read("vllm.service", "")
    assert found.changed(found.now) == ["environment"]


def test_a_file_system_that_does_not_answer_is_reported_with_a_next_step(
    places: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inputs, "READ_SECONDS", 0.01)
    monkeypatch.setattr(inputs, "digests", lambda *_: time.sleep(0.5))
    with pytest.raises(Fault, match=r"took longer than 0\.01 s") as refusal:
        inputs.read("vllm.service", str(places / "model"))
    assert str(places / "model") in refusal.value.next_step
    time.sleep(0.6)


def test_a_directory_that_cannot_be_read_is_an_error_of_the_system(
    places: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied", str(places))

    monkeypatch.setattr(inputs, "digests", refuse)
    with pytest.raises(PermissionError):
        inputs.read("vllm.service", "")


@pytest.mark.parametrize("address", ["127.0.0.1", "::"])
@pytest.mark.parametrize("folder", ["/models/a b", '/models/100%/$x"y\\z', ""])
def test_the_unit_file_says_what_the_gate_checks(address: str, folder: str) -> None:
    words = ["preflight", "--unit", "v.service", "--address", address, "--port", "8000"]
    words = ["/usr/bin/python3", "/usr/local/lib/provision/serve-gate", *words, "--model-dir", folder]
    escapes = {"\\": "\\\\", '"': '\\"', "%": "%%", "$": "$$"}
    quoted = " ".join('"' + "".join(escapes.get(sign, sign) for sign in word) + '"' for word in words)
    given = gate.given_by(f"[Service]\nExecStartPre=+{quoted}\nExecStart=x\n")
    assert (given.unit, given.address, given.port, given.model_dir) == ("v.service", address, 8000, folder)


def test_a_unit_file_without_the_gate_is_refused() -> None:
    with pytest.raises(Fault, match="does not run the start gate"):
        gate.given_by("[Service]\nExecStart=x\n")


@pytest.mark.parametrize("broken", [False, True])
def test_the_packed_gate_runs_alone(engine: Any, tmp_path: Path, broken: bool) -> None:
    path = tmp_path / "serve-gate"
    path.write_bytes(program.pack(gate.__name__))
    engine.generation_status = 400 if broken else 200
    words = ["ready", "--url", engine.url, "--model", "org/model", "--timeout", "30"]
    # Isolated, so that nothing of this checkout is found.
    done = subprocess.run(
        [sys.executable, "-I", str(path), *words], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == int(broken), done.stderr
    said = done.stderr if broken else done.stdout
    assert said.startswith(
        "/v1/completions answered 400: EngineCore is dead" if broken else "the model answered"
    )


STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, {}); print(1, flush=True); time.sleep(60)"


@pytest.mark.parametrize(
    ("handler", "ended_by", "says"),
    [
        ("lambda *_: exit(0)", 0, ""),
        ("signal.SIG_DFL", -signal.SIGTERM, ""),
        ("signal.SIG_IGN", -signal.SIGKILL, "requests were still running after 0 s, and were cut"),
    ],
)
def test_a_stop_gives_the_engine_time_and_then_ends_it(
    handler: str,
    ended_by: int,
    says: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with subprocess.Popen([sys.executable, "-c", STUBBORN.format(handler)], stdout=subprocess.PIPE) as engine:
        assert engine.stdout
        engine.stdout.readline()
        # As systemd does: what has ended is gone at once.
        reaper = threading.Thread(target=engine.wait)
        reaper.start()
        monkeypatch.setenv("MAINPID", str(engine.pid))
        seconds = "0.3" if ended_by == -signal.SIGKILL else "30"
        assert gate.main(["stop", "--seconds", seconds]) == 0
        reaper.join(10)
    assert engine.returncode == ended_by
    assert capsys.readouterr().out.strip() == says


@pytest.mark.parametrize("process", ["", "0", "4194304"])
def test_a_stop_of_an_engine_that_has_ended_is_no_failure(
    process: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAINPID", process)
    assert gate.main(["stop", "--seconds", "30"]) == 0
