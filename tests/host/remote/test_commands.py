# SPDX-License-Identifier: Apache-2.0
"""The commands as a user calls them, against SSH servers of this machine."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from provisioner.cli import main as entry
from provisioner.fleet.services import Service
from provisioner.remote import reach
from provisioner.remote.reach import Way
from provisioner.runs.run import Request
from tests.host.remote.engine import MODEL, Engine
from tests.host.remote.sshd import Sshd
from tests.host.remote.test_program import SERVES

Call = Callable[..., int]


def call(*arguments: object) -> int:
    with pytest.raises(SystemExit) as caught:
        entry.main([str(argument) for argument in arguments])
    return int(caught.value.code or 0)


@pytest.fixture
def fleet(tmp_path: Path, sshd: Sshd, service: Service, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give an inventory of a good host and one that nothing can be done with."""
    path = tmp_path / "fleet.ini"
    path.write_text(
        f"good serve_engine=vllm serve_model={MODEL}\nbad serve_engine=vllm serve_model={MODEL}\n"
    )
    ways = {"good": sshd.way("good", (service,)), "bad": sshd.way("bad", (service,), user="stranger")}

    def load(_request: Request, hosts: Sequence[str]) -> tuple[Way, ...]:
        return tuple(ways[host] for host in hosts)

    monkeypatch.setattr(reach, "load", load)
    sshd.tool("systemctl", SERVES)
    return path


def test_status_is_one_document_and_one_bad_host_harms_no_other(
    fleet: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("status", fleet, "--json") == 1
    good, bad = json.loads(capsys.readouterr().out)["hosts"]
    assert (good["name"], good["well"], good["services"][0]["state"]) == ("good", True, "serving")
    assert (bad["name"], bad["trouble"]) == ("bad", "the SSH login was refused")


def test_status_says_a_bad_host_in_one_line(fleet: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("status", fleet) == 1
    said = capsys.readouterr().out
    assert "serving" in said
    (line,) = [line for line in said.splitlines() if line.startswith("! bad:")]
    assert "the SSH login was refused — next: check ansible_user" in line
    assert "1 of 2 hosts healthy" in said


def test_status_says_what_is_wrong_with_a_driver_in_one_line(
    fleet: Path, sshd: Sshd, nvml: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    Path(nvml["SIMULATED_NVML"]).write_text("init=18\n")
    sets = " ".join(f"{name}={value}" for name, value in nvml.items())
    sshd.tool("sudo", f'shift; exec env {sets} "$@"')
    assert call("status", fleet) == 1
    said = capsys.readouterr().out
    (line,) = [line for line in said.splitlines() if line.startswith("! good:")]
    assert "its library 580.95.05: " in line
    assert " — next: reboot the host" in line
    assert "not usable" in said


def test_exec_shows_output_by_host_and_fails_when_one_does(
    fleet: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("exec", fleet, "--", "echo", "a  b", "\x1b[2J;") == 1
    said = capsys.readouterr()
    assert "\n  a  b \\x1b" in said.out or "  a  b " in said.out
    assert "\x1b[2J" not in said.out
    assert "bad: the SSH login was refused" in said.err
    assert "failed on 1 of 2: bad" in said.err


def test_exec_takes_one_word_as_shell_text_and_becomes_root(
    fleet: Path, sshd: Sshd, capsys: pytest.CaptureFixture[str]
) -> None:
    sshd.tool("sudo", 'shift; ROOT=yes exec "$@"')
    assert call("exec", fleet, "--json", "-b", "--", 'echo "$ROOT" | tr y Y; exit 3') == 1
    document = json.loads(capsys.readouterr().out)["hosts"]
    assert (document["good"]["code"], document["good"]["stdout"]) == (3, "Yes\n")
    assert document["bad"]["error"] == "the SSH login was refused"


def test_exec_refuses_a_host_for_a_command(fleet: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("exec", fleet, "good", "--", "uptime") == 2
    said = capsys.readouterr()
    assert "good is a host" in said.err
    assert "`--limit good -- COMMAND` runs one on this host alone" in said.err
    assert said.out == ""


def test_logs_asks_the_journal_of_the_service(
    fleet: Path, sshd: Sshd, capsys: pytest.CaptureFixture[str]
) -> None:
    sshd.tool("journalctl", 'for word in "$@"; do echo "$word"; done; printf "\\033[2Jhostile\\n"')
    assert call("logs", fleet, "good/vllm", "--since", "10m") == 0
    said = capsys.readouterr().out.splitlines()
    assert "--unit=vllm.service" in said
    assert "--since=-10m" in said
    assert said[-1] == "\\x1b[2Jhostile"


def test_logs_without_root_rights_are_one_line(
    fleet: Path, sshd: Sshd, capsys: pytest.CaptureFixture[str]
) -> None:
    sshd.tool("sudo", "echo 'sudo: a password is required' >&2; exit 1")
    assert call("logs", fleet, "good") == 1
    said = capsys.readouterr()
    assert "good: ops cannot become root" in said.err
    assert said.out == ""


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("logs", "goood"), "did you mean good?"),
        (("logs", "good/vlm"), "did you mean vllm?"),
        (("chat", "nobody", "hi"), "there is no host called nobody"),
    ],
)
def test_a_wrong_name_is_wrong_usage_with_a_hint(
    fleet: Path, arguments: tuple[str, ...], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command, *rest = arguments
    assert call(command, fleet, *rest) == 2
    assert says in capsys.readouterr().err


@pytest.mark.parametrize("keeps_open", [True, False])
def test_chat_answers_one_question_through_a_tunnel(
    fleet: Path, sshd: Sshd, engine: Engine, keeps_open: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    engine.keeps_open = keeps_open
    assert call("chat", fleet, "good", "hello", "--system", "be brief", "--temperature", "0") == 0
    assert capsys.readouterr().out == "message 2\n"
    assert sshd.tunnels == [("127.0.0.1", engine.server_address[1])]
    assert engine.asked[0]["messages"][0] == {"role": "system", "content": "be brief"}
    assert (engine.asked[0]["model"], engine.asked[0]["temperature"]) == (MODEL, 0)


def test_a_conversation_remembers(
    fleet: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("one\n\ntwo\n"))
    assert call("chat", fleet, "good") == 0
    assert capsys.readouterr().out == "message 1\nmessage 3\n"
    assert [message["role"] for message in engine.asked[1]["messages"]] == ["user", "assistant", "user"]


@pytest.mark.parametrize("thinks_in", ["reasoning_content", "reasoning"])
def test_chat_shows_that_the_model_thinks_and_forgets_its_thoughts(
    fleet: Path,
    engine: Engine,
    thinks_in: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    engine.thoughts, engine.thinks_in = ("Let me", " count."), thinks_in
    monkeypatch.setattr(sys, "stdin", io.StringIO("one\ntwo\n"))
    assert call("chat", fleet, "good") == 0
    said = capsys.readouterr()
    assert said.out == "message 1\nmessage 3\n"
    assert said.err == 2 * "(thinking)\n\n(answer)\n"
    assert engine.asked[1]["messages"][1] == {"role": "assistant", "content": "message 1\x1b[31m"}


def test_chat_says_that_a_model_had_no_tokens_left_for_its_answer(
    fleet: Path, engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    engine.thoughts, engine.only_thinks = ("Let me", " count."), True
    assert call("chat", fleet, "good", "hello") == 0
    said = capsys.readouterr()
    assert said.out == "\n"
    assert "before an answer; a larger --max-tokens lets it finish" in said.err


@pytest.mark.parametrize("pause", [0.05, 5.0])
def test_chat_gives_up_on_an_answer_that_does_not_end(
    fleet: Path, engine: Engine, pause: float, capsys: pytest.CaptureFixture[str]
) -> None:
    engine.repeats_after = pause
    assert call("chat", fleet, "good", "hello", "--timeout", "1") == 1
    said = capsys.readouterr()
    assert said.out.startswith("message 1")
    assert said.out.endswith("\n")
    assert "good: vllm.service: the answer was not complete after 1 s" in said.err
    assert "--timeout" in said.err
    engine.repeats_after = 0.0


@pytest.mark.parametrize(
    ("given", "reached"), [(("--max-tokens", "2"), "--max-tokens"), ((), "the engine's limit")]
)
def test_chat_says_where_an_answer_was_cut(
    fleet: Path, engine: Engine, given: tuple[str, ...], reached: str, capsys: pytest.CaptureFixture[str]
) -> None:
    engine.cut = True
    assert call("chat", fleet, "good", "hello", *given) == 0
    assert f"(the answer ends here: it has reached {reached}" in capsys.readouterr().err


@pytest.mark.parametrize("goodbye", ["/exit", "/bye", " /quit "])
def test_a_conversation_ends_with_a_goodbye_that_no_model_is_asked(
    fleet: Path, engine: Engine, goodbye: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"one\n{goodbye}\ntwo\n"))
    assert call("chat", fleet, "good") == 0
    assert len(engine.asked) == 1


def test_a_key_is_read_on_the_host_and_only_sent_through_the_tunnel(  # noqa: PLR0917 - fixtures
    fleet: Path,
    sshd: Sshd,
    service: Service,
    engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    engine.key = 'canary"\\key'
    keyed = replace(service, settings={**service.settings, "serve_api_key_file": "key"})
    monkeypatch.setattr(reach, "load", lambda *_: (sshd.way("good", (keyed,)),))
    sshd.tool(
        "cat", r"""[ "$1" = /etc/provision/vllm.key ] && printf '%s\n' 'VLLM_API_KEY="canary\"\\key"'"""
    )
    assert call("chat", fleet, "good", "hello") == 0
    assert capsys.readouterr().out == "message 1\n"
    assert "canary" not in "".join(sshd.commands)
    engine.key = "changed"
    assert call("chat", fleet, "good", "hello") == 1
    said = capsys.readouterr().err
    assert "vllm.service: /v1/chat/completions answered 401: wrong key" in said
    assert "canary" not in said


def test_an_answer_that_breaks_off_is_told(
    fleet: Path, engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    engine.breaks_off = True
    assert call("chat", fleet, "good", "hello") == 1
    said = capsys.readouterr().err
    assert "good: vllm.service: the engine reported: the worker died" in said
    assert "provision logs INVENTORY good/vllm" in said


@pytest.mark.parametrize(
    ("refusal", "explained"),
    [
        ((404, "Not Found"), True),
        ((400, '"nomic-embed-text" does not support chat'), True),
        ((501, "This server does not support completions"), True),
        ((400, "the prompt is too long"), False),
    ],
)
def test_a_model_that_does_not_chat_is_explained(
    fleet: Path,
    engine: Engine,
    capsys: pytest.CaptureFixture[str],
    refusal: tuple[int, str],
    explained: bool,
) -> None:
    engine.refusal = refusal
    assert call("chat", fleet, "good", "hello") == 1
    said = capsys.readouterr().err
    assert refusal[1] in said
    assert ("a model for embeddings, scores or classes does not chat" in said) is explained


def test_an_engine_that_does_not_listen_points_to_its_log(
    fleet: Path,
    sshd: Sshd,
    service: Service,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(
        reach,
        "load",
        lambda *_: (sshd.way("good", (replace(service, settings={**service.settings, "serve_port": 1}),)),),
    )
    assert call("chat", fleet, "good", "hello") == 1
    assert "nothing listens on 127.0.0.1:1" in capsys.readouterr().err


def test_doctor_has_a_line_for_each_finding_and_fails_for_a_wrong_one(
    fleet: Path, sshd: Sshd, capsys: pytest.CaptureFixture[str]
) -> None:
    sshd.tool("getent", "exit 2")
    assert call("doctor", fleet) == 1
    said = capsys.readouterr().out
    assert "ok     this machine: software: Python" in said
    assert "wrong  bad: reachable: the SSH login was refused — fix: check ansible_user" in said
    assert "wrong  good: dns: the host cannot resolve huggingface.co (hub) — fix: fix" in said
    assert "2 hosts examined" in said
    assert call("doctor", fleet, "--json") == 1
    assert json.loads(capsys.readouterr().out)["wrong"] >= 2
