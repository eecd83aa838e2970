# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Any

import pytest
from ansible.module_utils.engine_ollama.modelfile import parameters, parse, render
from ansible.module_utils.provision.host.fault import Fault


@pytest.mark.parametrize(
    "text",
    [
        "plain",
        "two\nlines",
        'says "yes"',
        '"begins and ends"',
        " blanks around ",
        "# no comment",
        "back\\slash and $HOME and {{ .Prompt }}",
        "naïve 日本語",
        'three """ in the midst',
    ],
)
def test_any_text_survives_rendering_and_reading(text: str) -> None:
    assert parse(render("base", {"system": text}))["system"] == text


def test_renders_everything_that_a_model_is_made_with() -> None:
    changes: dict[str, Any] = {
        "system": "Be brief.",
        "template": "{{ .System }}\n{{ .Prompt }}",
        "parameters": {"temperature": 0.5, "stop": ["<a>", "<b>"], "use_mmap": True},
        "messages": [{"role": "user", "content": "hi"}],
        "license": ["MIT"],
    }
    text = render("smollm2:135m", changes)
    assert text.splitlines() == [
        "FROM smollm2:135m",
        "SYSTEM Be brief.",
        'TEMPLATE """{{ .System }}',
        '{{ .Prompt }}"""',
        "PARAMETER stop <a>",
        "PARAMETER stop <b>",
        "PARAMETER temperature 0.5",
        "PARAMETER use_mmap true",
        "MESSAGE user hi",
        "LICENSE MIT",
    ]
    assert parse(text) == changes


def test_reads_a_modelfile_as_people_write_it() -> None:
    text = '# mine\nfrom ./model.gguf\n\nPARAMETER num_ctx 4096\nsystem """\nYou are\nterse.\n"""\n'
    text += "PARAMETER stop x\n"
    found = parse(text)
    assert found == {"system": "\nYou are\nterse.\n", "parameters": {"num_ctx": 4096, "stop": ["x"]}}


@pytest.mark.parametrize(
    ("text", "reason", "hint"),
    [
        ("SYSTM hello\n", "line 1 of the Modelfile: SYSTM is not an instruction", "did you mean SYSTEM?"),
        ("FROM a\n\nPARAMETER num_ctxt 1\n", "num_ctxt is not a parameter", "did you mean num_ctx?"),
        ("PARAMETER num_ctx many\n", "parameter num_ctx is 'many', which is not a whole number", "set"),
        ('SYSTEM """never closed\n', "line 1 of the Modelfile opens a quote", 'close it with """'),
        ("MESSAGE robot hi\n", "'robot' is not a role of a MESSAGE", "system, user, assistant"),
        ("DRAFT x.gguf\n", "DRAFT is not an instruction", ""),
    ],
)
def test_says_what_is_wrong_with_a_modelfile(text: str, reason: str, hint: str) -> None:
    with pytest.raises(Fault) as caught:
        parse(text)
    assert reason in str(caught.value)
    assert hint in caught.value.next_step


def test_parameters_become_what_ollama_wants() -> None:
    given = {"num_ctx": "4096", "temperature": 0, "stop": "end", "use_mmap": "no", "seed": 7}
    found = parameters(given)
    assert found == {"num_ctx": 4096, "temperature": 0.0, "stop": ["end"], "use_mmap": False, "seed": 7}
    assert isinstance(found["temperature"], float)


@pytest.mark.parametrize(
    "given", [{"num_ctx": 1.5}, {"num_ctx": True}, {"top_p": True}, {"use_mmap": "maybe"}]
)
def test_refuses_parameters_of_another_type(given: dict[str, Any]) -> None:
    with pytest.raises(Fault, match="which is not"):
        parameters(given)
