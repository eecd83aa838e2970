# SPDX-License-Identifier: Apache-2.0
"""Turn a model's variables or Modelfile into Ollama's request, and back into text."""

from __future__ import annotations

import difflib
import re
from typing import Any, Iterable

from ansible.module_utils.provision.host.fault import Fault

INTEGERS = (
    "num_ctx",
    "num_batch",
    "num_gpu",
    "main_gpu",
    "num_thread",
    "num_keep",
    "num_predict",
    "draft_num_predict",
    "seed",
    "top_k",
    "repeat_last_n",
)
NUMBERS = (
    "temperature",
    "top_p",
    "min_p",
    "typical_p",
    "repeat_penalty",
    "presence_penalty",
    "frequency_penalty",
)
SWITCHES = ("use_mmap",)
LISTS = ("stop",)
PARAMETERS = (*INTEGERS, *NUMBERS, *SWITCHES, *LISTS)
TEXTS = ("system", "template", "renderer", "parser", "requires")
COMMANDS = ("FROM", "PARAMETER", "MESSAGE", "LICENSE", "ADAPTER", *map(str.upper, TEXTS))
ROLES = ("system", "user", "assistant")
_LINE = re.compile(r"[ \t]*([A-Za-z]+)[ \t]+", re.ASCII)
_SKIPPED = re.compile(r"[^\S\n]*(#[^\n]*)?(\n|\Z)")
# As Ollama reads it, a closing quote is one at the end of a line.
QUOTE = '"""'
_VALUE = re.compile(
    r'''("""(?P<text>.*?)"""|"(?!"")(?P<line>.*?)"|(?!")(?P<bare>[^\n]*))[ \t]*(\n|\Z)''', re.DOTALL
)
_WORD = re.compile(r"[^ \t\n]+[ \t]*")
TRUE, FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")


def hint(given: str, known: Iterable[str], otherwise: str) -> str:
    """Return which of the known names was probably meant, or what to do instead."""
    near = difflib.get_close_matches(given, known, n=1)
    return f"did you mean {near[0]}?" if near else otherwise


def parameters(given: dict[str, Any]) -> dict[str, Any]:
    """Return parameters with the types that Ollama requires; refuse what it would ignore."""
    found = {}
    for name, value in sorted(given.items()):
        if name not in PARAMETERS:
            supported = "Ollama supports " + ", ".join(PARAMETERS)
            raise Fault(f"{name} is not a parameter of a model", hint(str(name), PARAMETERS, supported))
        found[name] = _typed(name, value)
    return found


def _typed(name: str, value: Any) -> Any:
    text = str(value).strip()
    if name in LISTS:
        return [str(item) for item in value] if isinstance(value, (list, tuple)) else [str(value)]
    if name in SWITCHES and text.lower() in (*TRUE, *FALSE):
        return text.lower() in TRUE
    try:
        if name in INTEGERS and not isinstance(value, (bool, float)):
            return int(text)
        if name in NUMBERS and not isinstance(value, bool):
            return float(text)
    except ValueError:
        pass
    kind = "a whole number" if name in INTEGERS else "true or false" if name in SWITCHES else "a number"
    raise Fault(f"parameter {name} is {value!r}, which is not {kind}", f"set {name} to {kind}")


def parse(text: str) -> dict[str, Any]:
    """Return what a Modelfile sets, by the names of the variables."""
    made: dict[str, Any] = {}
    given: dict[str, Any] = {}
    text, at = text.replace("\r\n", "\n"), 0
    while at < len(text):
        skipped = _SKIPPED.match(text, at)
        if skipped:
            at = skipped.end()
            continue
        number = text.count("\n", 0, at) + 1
        command, value, at = _instruction(text, at, number)
        _take(made, given, command, value, number)
    if given:
        made["parameters"] = parameters(given)
    return made


def _instruction(text: str, at: int, number: int) -> tuple[str, str, int]:
    """Return the instruction at a place, its value, and where the next one may be."""
    match = _LINE.match(text, at)
    command = (match.group(1) if match else text[at:].split(None, 1)[0]).upper()
    if match is None or command not in COMMANDS:
        step = hint(command, COMMANDS, "see Ollama's Modelfile reference")
        raise Fault(f"line {number} of the Modelfile: {command} is not an instruction", step)
    start, head = match.end(), ""
    first = _WORD.match(text, start) if command in ("PARAMETER", "MESSAGE") else None
    if first:
        start, head = first.end(), first.group(0).strip() + " "
    found = _VALUE.match(text, start)
    if found is None:
        raise Fault(
            f"line {number} of the Modelfile opens a quote that nothing closes",
            f"close it with {QUOTE if text.startswith(QUOTE, start) else QUOTE[0]} at the end of a line",
        )
    bare = found["bare"]
    value = found["text"] or found["line"] or "" if bare is None else bare.strip()
    return command.lower(), head + value, found.end()


def _take(made: dict[str, Any], given: dict[str, Any], command: str, value: str, number: int) -> None:
    head, _, tail = value.partition(" ")
    if command == "from":
        return  # the service's own variables set what the model is created from
    if command == "parameter" and head in LISTS:
        given.setdefault(head, []).append(tail)
    elif command == "parameter":
        given[head] = tail
    elif command == "message":
        if head not in ROLES:
            raise Fault(
                f"line {number} of the Modelfile: {head!r} is not a role of a MESSAGE",
                "it must be one of " + ", ".join(ROLES),
            )
        made.setdefault("messages", []).append({"role": head, "content": tail})
    elif command == "license":
        made.setdefault("license", []).append(value)
    else:
        made[command] = value


def render(origin: str, changes: dict[str, Any]) -> str:
    """Return the equivalent Modelfile, for a person to read."""
    lines = [f"FROM {origin}"]
    given = [command for command in ("adapter", *TEXTS) if changes.get(command)]
    lines += [f"{command.upper()} {quoted(changes[command])}" for command in given]
    for name, value in sorted((changes.get("parameters") or {}).items()):
        for one in value if isinstance(value, list) else [value]:
            text = str(one).lower() if isinstance(one, bool) else str(one)
            lines.append(f"PARAMETER {name} {quoted(text)}")
    lines += [f"MESSAGE {one['role']} {quoted(one['content'])}" for one in changes.get("messages") or ()]
    lines += [f"LICENSE {quoted(text)}" for text in changes.get("license") or ()]
    return "\n".join(lines) + "\n"


def quoted(text: str) -> str:
    """Return a value as a Modelfile writes it, on one line where that is possible."""
    bare = text and text == text.strip() and "\n" not in text and not text.startswith('"')
    return text if bare else f'"""{text}"""'
