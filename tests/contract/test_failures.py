# SPDX-License-Identifier: Apache-2.0
"""Whatever fails is reported as one cause in one line and a next step; the long text is in the log."""

from __future__ import annotations

import ast
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.provision.host.fault import Fault
from ansible.module_utils.provision.host.packages import Apt, Dnf
from ansible.module_utils.provision.jobs.progress import failed
from rich.console import Console

from provisioner.ansible.module_utils.provision.host.payload import Payload
from provisioner.cli.screen.report import show_report
from provisioner.runs import events
from provisioner.runs.failures import LOOK, failure_of, remedy
from provisioner.runs.fold import fold
from tests.contract import tree

HOST_CODE = sorted(
    path
    for folder in ("provisioner/ansible", "roles/engine_ollama/library", "roles/engine_ollama/module_utils")
    for path in (tree.ROOT / folder).rglob("*.py")
)
# What makes a failure of a message and a next step, or of a message and a program's output.
MAKERS = re.compile(r"(\w*Fault|failure)$")
TASKS = sorted([*(tree.ROOT / "roles").glob("*/tasks/*.yml"), *(tree.ROOT / "playbooks").glob("*.yml")])


def made(path: Path) -> Iterator[ast.Call]:
    """Yield the calls in a file that make a failure."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "id", getattr(node.func, "attr", ""))
            if MAKERS.match(name) and len(node.args) > 1:
                yield node


def written(node: ast.AST) -> str:
    """Return the text of an expression as it is written, each value in it as a question mark."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(written(part) for part in node.values)
    return "?"


def test_failures_are_found_where_they_are_made() -> None:
    assert sum(1 for path in HOST_CODE for _ in made(path)) > 150


@pytest.mark.parametrize("path", HOST_CODE, ids=tree.relative)
def test_a_failure_on_a_host_has_one_line_and_a_next_step(path: Path) -> None:
    for call in made(path):
        message, step = written(call.args[0]), written(call.args[1])
        where = f"{tree.relative(path)}:{call.lineno}"
        assert step.strip(), f"{where}: no next step"
        # Output begins on a line of its own after a colon: `Fault` takes the line that counts out of it.
        assert re.fullmatch(r"[^\n]*(:\n\?[^\n]*(\n[^\n]*)*)?", message), f"{where}: {message!r}"


OUTPUTS = {
    "apt-404": (
        (
            "Get:1 http://m.example trixie/main amd64 libssl3 3.5\n"
            "Err:1 http://m.example trixie/main amd64 libssl3 3.5\n  404  Not Found [IP: 192.0.2.1 80]\n"
            "E: Failed to fetch http://m.example/libssl3.deb  404  Not Found\n"
            "E: Unable to fetch some archives, maybe run apt-get update or try with --fix-missing?\n"
        ),
        "E: Failed to fetch http://m.example/libssl3.deb  404  Not Found",
    ),
    "apt-unknown": (
        "Reading package lists...\nE: Unable to locate package llama.cpp-tools\n",
        "E: Unable to locate package llama.cpp-tools",
    ),
    "dpkg": (
        (
            "Setting up a (1) ...\ndpkg: error processing package a (--configure):\n installed a package "
            "post-installation script subprocess returned error exit status 1\nErrors were encountered\n a\n"
            "E: Sub-process /usr/bin/dpkg returned an error code (1)\n"
        ),
        "dpkg: error processing package a (--configure):",
    ),
    "dnf-unknown": (
        (
            "Last metadata expiration check: 0:01 ago\nNo match for argument: nope\n"
            "Error: Unable to find a match: nope\n"
        ),
        "No match for argument: nope",
    ),
    "dnf-network": (
        (
            "Errors during downloading metadata for repository 'baseos':\n"
            "  - Curl error (6): Couldn't resolve host name for https://m.example/repomd.xml\n"
            "Error: Failed to download metadata for repo 'baseos': Cannot prepare internal mirrorlist\n"
        ),
        "- Curl error (6): Couldn't resolve host name for https://m.example/repomd.xml",
    ),
    "dnf-conflict": (
        (
            "Error: \n Problem: package a-1 requires b = 1, but none of the providers can be installed\n"
            "  - conflicting requests\n(try to add '--skip-broken')\n"
        ),
        "Problem: package a-1 requires b = 1, but none of the providers can be installed",
    ),
    "pip": (
        (
            "Collecting nope==1\n  ERROR: Could not find a version that satisfies the requirement nope==1\n"
            "ERROR: No matching distribution found for nope==1\n"
        ),
        "ERROR: Could not find a version that satisfies the requirement nope==1",
    ),
    "uv": (
        "Resolved 3 packages\nerror: Failed to fetch: `https://i.example/nope/`\n  Caused by: dns error\n",
        "error: Failed to fetch: `https://i.example/nope/`",
    ),
    "compiler": (
        (
            "make[1]: Entering directory '/usr/src/linux'\n  CC nv.o\n"
            "/usr/src/nv.c:12:3: error: implicit declaration of function 'f'\nmake: *** [all] Error 2\n"
        ),
        "/usr/src/nv.c:12:3: error: implicit declaration of function 'f'",
    ),
    "python": (
        (
            'Traceback (most recent call last):\n  File "x.py", line 1, in <module>\n'
            "ModuleNotFoundError: No module named 'vllm'\n"
        ),
        "ModuleNotFoundError: No module named 'vllm'",
    ),
    "no-sign": ("unpacking\nthe disk is on fire\n", "the disk is on fire"),
    "nothing": ("", ""),
}


def shown(fault: Fault) -> list[str]:
    """Return the lines that a user sees of a failure, from the module's result to the end of the run."""
    reported = events.payload(fault.provision)
    line = events.Result(
        1.0, "gpu1", "Host", "Install", "failed", msg=str(fault), provision=events.load(Payload, reported)
    )
    file = io.StringIO()
    show_report(fold([line]), Console(file=file, width=200, color_system=None))
    text = file.getvalue()
    return text[text.index("failed gpu1") :].splitlines()[1:]


@pytest.mark.parametrize(
    ("case", "kind"),
    [
        (case, kind)
        for case in OUTPUTS
        for kind in (Apt, Dnf, None)
        # Only a package manager's own failures know its phrases.
        if (kind is None) != case.startswith(("apt", "dnf", "dpkg"))
    ],
)
def test_a_programs_output_becomes_the_line_that_counts(case: str, kind: Any) -> None:
    output, line = OUTPUTS[case]
    padded = "some line\n" * 30 + output if output else ""
    if kind:
        fault = kind().failure(f"installing x failed (exit 1):\n{padded}", padded)
    else:
        fault = Fault(f"installing x failed (exit 1):\n{padded}", "fix x")
    assert str(fault) == (
        f"installing x failed (exit 1): {line}"
        if line
        else "installing x failed (exit 1), and it printed nothing"
    )
    # A job hands it on in a file, and the next call of the module reports it.
    state = failed(fault)
    again = Fault(state["message"], state["next"], state.get("detail", ""))
    cause, *rest = shown(again)
    assert cause.strip() == str(fault)
    assert [text for text in rest if text.strip().startswith("next: ")] == [f"  next: {fault.next_step}"]
    assert "some line" not in "".join(rest)
    assert (again.detail.count("some line") == 30) is bool(output)


def messages(node: Any) -> Iterator[str]:
    """Yield every message with which a task of a role gives up."""
    if isinstance(node, list):
        for one in node:
            yield from messages(one)
    elif isinstance(node, dict):
        for key, value in node.items():
            if key == "fail_msg":
                yield value
            elif key == "ansible.builtin.fail":
                yield value["msg"]
            yield from messages(value)


def plain(message: str) -> str:
    """Return a message with the texts of its templates as they would be read one after the other."""
    return " ".join(re.sub(r"[{}'\"~]", " ", message).split())


def test_messages_of_roles_are_found() -> None:
    assert sum(1 for path in TASKS for _ in messages(tree.load(path))) > 40


@pytest.mark.parametrize("path", TASKS, ids=tree.relative)
def test_a_message_of_a_role_ends_with_what_to_do(path: Path) -> None:
    for message in messages(tree.load(path)):
        assert remedy(plain(message)), f"{tree.relative(path)}: no sentence of {message!r} says what to do"


@pytest.mark.parametrize(
    ("message", "step"),
    [
        (
            "PID 1 is not systemd; services need it. Use a machine that boots it.",
            "Use a machine that boots it.",
        ),
        ("x (a). Set it to 1.2.3 or newer. Check y.", "Set it to 1.2.3 or newer. Check y."),
        ("/dev/x: Read-only file system", LOOK),
        ("Could not find or access '/etc/x'", LOOK),
        ("", LOOK),
    ],
)
def test_every_failure_has_a_next_step_and_shows_it_once(message: str, step: str) -> None:
    line = events.Result(1.0, "gpu1", "Host", "Check", "failed", msg=message)
    assert failure_of(line).next == step
    lines = shown(Fault(message, "")) if message else []
    assert "".join(lines).count(step) == bool(message)


def test_the_check_of_messages_can_fail() -> None:
    assert remedy("It failed. Nothing was changed.") is None
    assert remedy("Installing Python failed: E: Unable to fetch Use. ") is None
