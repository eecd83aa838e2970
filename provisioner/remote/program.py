# SPDX-License-Identifier: Apache-2.0
"""Run one of our programs as root on a host in one round trip: sent over stdin, answered as JSON."""

from __future__ import annotations

import base64
import functools
import json
import modulefinder
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from provisioner import bindings, content
from provisioner.errors import HostError
from provisioner.plain import one_line
from provisioner.remote import python
from provisioner.remote.ssh import Command, Remote, Result
from provisioner.runs import failures

PACKAGE = "ansible.module_utils"

# The host imports the sent texts under the names that Ansible's packer gives them, and compiles only what it
# imports: NVIDIA's bindings are ten times as large as a program, and most hosts never read them.
_START = """\
import base64, importlib.abc, importlib.util, json, sys, zlib

texts = json.loads(zlib.decompress(base64.b85decode(packed)))

class Sent(importlib.abc.MetaPathFinder, importlib.abc.InspectLoader):
    def find_spec(self, name, path=None, target=None):
        if name in texts or self.is_package(name):
            return importlib.util.spec_from_loader(name, self)

    def is_package(self, name):
        return any(other.startswith(name + ".") for other in texts)

    def get_source(self, name):
        return texts.get(name, "")

sys.meta_path.insert(0, Sent())
"""


def call(remote: Remote, name: str, data: Mapping[str, Any], seconds: float = 30.0) -> dict[str, Any]:
    """Return what the program `name` reports about the host; raises HostError."""
    variables = remote.way.variables
    command = Command(python.command(variables), as_root=True, data=source(name, data))
    result = remote.run(command, seconds)
    if result.code:
        raise _failure(result)
    try:
        document: dict[str, Any] = json.loads(result.out)
    except ValueError as error:
        answer = one_line(result.out or result.err)
        raise HostError(
            f"unreadable answer: {answer}", "check what its login prints: `ssh HOST true`"
        ) from error
    if document.get(python.NO_PYTHON):
        raise python.explain(document, variables)
    return document


def source(name: str, data: Mapping[str, Any]) -> bytes:
    """Return the text of a program, the modules it imports and its data, for Python to read from stdin."""
    start = f"from {PACKAGE}.provision.day_two.{name} import main\nprint(main({json.dumps(data)!r}))\n"
    return f"packed = {_packed(name)!r}\n{_START}{start}".encode()


def _failure(result: Result) -> HostError:
    output = result.err or result.out
    last = next((line for line in reversed(output.splitlines()) if line.strip()), "no reason given")
    return HostError(
        f"the check failed with exit code {result.code}: {one_line(last)}", failures.hint(output)
    )


def _packed(name: str) -> str:
    """Return a program and what it imports, as text without a quote in it."""
    return base64.b85encode(zlib.compress(json.dumps(texts(name)).encode(), 9)).decode()


@functools.cache
def texts(name: str) -> Mapping[str, str]:
    """Return the text of a program and of every module that it imports, by full name."""
    folder = content.plugins("module_utils")
    finder = modulefinder.ModuleFinder([str(folder)])
    finder.import_hook(f"provision.day_two.{name}")
    files = {name: getattr(module, "__file__", None) for name, module in finder.modules.items()}
    found = {f"{PACKAGE}.{name}": Path(file).read_text("utf-8") for name, file in files.items() if file}
    installed = bindings.file()
    if installed:
        found[f"{PACKAGE}.{bindings.MODULE}"] = installed.read_text("utf-8")
    return found
