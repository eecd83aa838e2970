# SPDX-License-Identifier: Apache-2.0
"""Run a program of ours as root on a host in one round trip: sent over stdin, answered as JSON."""

from __future__ import annotations

import ast
import base64
import functools
import json
import shlex
import zlib
from collections.abc import Mapping
from typing import Any

from provisioner import bindings, content, unreachable
from provisioner.errors import HostError
from provisioner.plain import one_line
from provisioner.remote import Remote, Result

PACKAGE = "ansible.module_utils"
NO_PYTHON = "no_python"
_SUDO = "sudo:"

# Without Python the shell says so itself, and what little it can say of the host.
_FIND_PYTHON = """\
[ "$(id -u)" = 0 ] || sudo -n true || exit 1
for python in python3 /usr/libexec/platform-python; do
  if command -v "$python" >/dev/null 2>&1; then
    [ "$(id -u)" = 0 ] && exec "$python" -I -
    exec sudo -n "$python" -I -
  fi
done
. /etc/os-release
read -r up _ </proc/uptime
printf '{"no_python": true, "os": "%s", "uptime_s": %s}' "$PRETTY_NAME" "${up%%.*}"
"""

# NVIDIA's bindings are ten times as large as a program, so only a host with the driver's library reads them.
_START = """\
import base64, json, sys, types, zlib

texts = json.loads(zlib.decompress(base64.b85decode(packed)))

class Late(types.ModuleType):
    def __getattr__(self, word):
        if word.startswith("__") or self.__name__ not in texts:
            raise AttributeError(word)
        exec(compile(texts.pop(self.__name__), self.__name__, "exec"), self.__dict__)
        return getattr(self, word)

for name in ("ansible", "ansible.module_utils"):
    package = sys.modules[name] = types.ModuleType(name)
for name, text in list(texts.items()):
    module = sys.modules[name] = Late(name) if name == late else types.ModuleType(name)
    setattr(package, name.rpartition(".")[2], module)
    if name != late:
        exec(compile(text, name, "exec"), module.__dict__)
"""


class NoPython(HostError):
    """Say that a host has no Python yet: for all else it may be in order."""


def call(remote: Remote, name: str, data: Mapping[str, Any], seconds: float = 30.0) -> dict[str, Any]:
    """Return what the program `name` says of the host; raises HostError."""
    result = remote.run(f"sh -c {shlex.quote(_FIND_PYTHON)}", source(name, data), seconds)
    if result.code:
        raise _failure(result, remote)
    try:
        document: dict[str, Any] = json.loads(result.out)
    except ValueError as error:
        said = one_line(result.out or result.err)
        raise HostError(
            f"an unreadable answer: {said}", "see what its login prints: `ssh HOST true`"
        ) from error
    if document.get(NO_PYTHON):
        reason = f"{one_line(document['os'])} has no Python, so nothing more can be said"
        raise NoPython(reason, "provision apply installs it; or install python3 by hand")
    return document


def source(name: str, data: Mapping[str, Any]) -> bytes:
    """Return the text of a program, the modules it imports and its data, for Python to read from stdin."""
    late = f"{PACKAGE}.{bindings.MODULE}"
    head = f"packed, late = {_packed(name)!r}, {late!r}\n"
    return f"{head}{_START}print(module.main({json.dumps(data)!r}))\n".encode()


def as_root(words: list[str]) -> str:
    """Return a shell command that runs `words` as root, without ever asking for a password."""
    command = shlex.join(words)
    return f'sh -c {shlex.quote(f"""[ "$(id -u)" = 0 ] && exec {command}; exec sudo -n {command}""")}'


def explain_root(said: str, user: str) -> HostError | None:
    """Return the error that a refused sudo means, or None when the text is about something else."""
    refused = next(
        (line for line in said.splitlines() if line.startswith(_SUDO) or "sudo: not found" in line), ""
    )
    if not refused:
        return None
    if "not found" in refused:
        return HostError(
            f"{user} is not root and there is no sudo", "install sudo on the host, or log in as root"
        )
    step = f"let {user} use sudo without a password (NOPASSWD), or log in as root; this command asks for none"
    return HostError(f"{user} cannot become root: {one_line(refused)}", step)


def _failure(result: Result, remote: Remote) -> HostError:
    said = result.err or result.out
    user = remote.way.hops[-1].user
    last = next((line for line in reversed(said.splitlines()) if line.strip()), "it gives no reason")
    return explain_root(said, user) or HostError(
        f"the check ended with {result.code}: {one_line(last)}", unreachable.hint(said)
    )


@functools.cache
def _packed(name: str) -> str:
    """Return a program and what it imports, the deepest first, as text without a quote in it."""
    texts = {f"{PACKAGE}.{part}": _text(part) for part in (*_imports(name), name)}
    return base64.b85encode(zlib.compress(json.dumps(texts).encode(), 9)).decode()


@functools.cache
def _text(name: str) -> str:
    if name == bindings.MODULE:
        file = bindings.file()
        # An empty module has nothing to import, which is what a host without the bindings is to see.
        return file.read_text(encoding="utf-8") if file else ""
    return (content.plugins("module_utils") / f"{name}.py").read_text(encoding="utf-8")


@functools.cache
def _imports(name: str) -> tuple[str, ...]:
    """Return the modules that a program imports, the deepest first."""
    if name == bindings.MODULE:
        return ()
    found: list[str] = []
    for node in ast.walk(ast.parse(_text(name))):
        for part in _named_by(node):
            found += [one for one in (*_imports(part), part) if one not in found]
    return tuple(found)


def _named_by(node: ast.AST) -> tuple[str, ...]:
    """Return our modules that one statement imports, as a whole or something of them."""
    if not isinstance(node, ast.ImportFrom):
        return ()
    if node.module == PACKAGE:
        return tuple(alias.name for alias in node.names)
    package, _, part = (node.module or "").rpartition(".")
    return (part,) if package == PACKAGE else ()
