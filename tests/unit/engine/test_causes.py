# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from ansible.module_utils.provision.engine import causes


@pytest.mark.parametrize(
    ("line", "result", "meaning"),
    [
        (
            "port 8000 is taken by nginx (pid 12)",
            "exit-code",
            "the port is taken (port 8000 is taken by nginx",
        ),
        ("OSError: [Errno 28] No space left on device", "exit-code", "the disk is full"),
        ("Main process exited, code=dumped, status=4/ILL", "core-dump", "the processor lacks"),
        ("", "oom-kill", "ran out of memory"),
        ("PermissionError: [Errno 13] Permission denied: '/data/x'", "exit-code", "cannot read or write"),
    ],
)
def test_recognises_what_any_engine_can_meet(line: str, result: str, meaning: str) -> None:
    found, step = causes.explain([line], result, [], "vllm.service")
    assert meaning in found
    assert step


def test_the_engines_own_causes_come_first() -> None:
    own = [{"pattern": "status=4/ILL", "meaning": "bfloat16", "next": "set engine_vllm_dtype: float32"}]
    found = causes.explain(["code=dumped, status=4/ILL"], "core-dump", own, "vllm.service")
    assert found == ("bfloat16 (status=4/ILL)", "set engine_vllm_dtype: float32")


def test_says_where_to_look_when_nothing_is_recognised() -> None:
    meaning, step = causes.explain(["all is well"], "exit-code", [], "vllm.service")
    assert meaning == ""
    assert "journalctl --unit vllm.service" in step


def test_the_excerpt_keeps_the_error_that_a_traceback_buries() -> None:
    buried = [
        "(Worker) ERROR RuntimeError: the cause",
        *(f'  File "x.py", line {n}' for n in range(50)),
        "Failed.",
    ]
    excerpt = causes.excerpt(buried)
    assert excerpt[0] == "RuntimeError: the cause"
    assert excerpt[-1] == "Failed."
    assert len(excerpt) < 15


def test_the_excerpt_says_a_repeated_error_once() -> None:
    assert causes.excerpt(["a ValueError: bad", "b ValueError: bad"]) == ["ValueError: bad"]
