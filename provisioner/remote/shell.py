# SPDX-License-Identifier: Apache-2.0
"""Write the commands that hosts get, so that any login shell can read them and greetings can be skipped."""

from __future__ import annotations

import re
import secrets
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field

from provisioner.errors import HostError
from provisioner.plain import one_line
from provisioner.runs import failures

# Reads the script from standard input, because login shells differ in what quotes can hold: csh wants no line
# breaks there, fish reads backslashes. A shell's `read` takes no more than the line.
_READ = 'IFS= read -r line; eval "$(printf %b "$line")"'
_REFUSED = re.compile(
    r"^(?:\S*/)?sudo[\w.-]*: .*$|^.*exec: .*not found$|^.*sudo\S*: not found$", re.MULTILINE
)
_MISSING = re.compile(r"password is required|authentication (?:is )?required", re.IGNORECASE)
_WRONG = re.compile(r"incorrect (?:password|authentication) attempt", re.IGNORECASE)
_TEXT = "[provision {}] password: "


@dataclass(frozen=True)
class Marks:
    """Lines that no host prints by itself: the login is over, root is reached, sudo asks for a password."""

    login: str = field(default_factory=lambda: f"provision-{secrets.token_hex(12)}")
    root: str = field(default_factory=lambda: f"provision-{secrets.token_hex(12)}")
    prompt: str = field(default_factory=lambda: secrets.token_hex(12))

    def last(self, *, as_root: bool) -> bytes:
        """Return the line behind which a command's own output begins."""
        return f"{self.root if as_root else self.login}\n".encode()


def marked(command: str, mark: str) -> str:
    """Return a command for the login shell which prints the mark first, on both outputs."""
    return f"sh -c '{_print(mark)}'; {command}"


def words(arguments: Sequence[str]) -> str:
    """Return arguments as text that any login shell splits into them; csh has no line breaks in one."""
    return " ".join(map(_word, arguments))


def _word(argument: str) -> str:
    # Outside of quotes, all shells agree about a backslash before these.
    escaped = {mark: f"\\{mark}" for mark in "\\!'"}
    parts = (part for part in re.split(r"([\\\\!'])", argument) if part)
    return "".join(escaped.get(part) or shlex.quote(part) for part in parts) or "''"


def scripted() -> str:
    """Return the command that runs the script which is the first line of its standard input."""
    return f"exec sh -c '{_READ}'"


def line(script: str) -> bytes:
    """Return a script as that line."""
    return script.replace("\\", r"\\").replace("\n", r"\n").encode() + b"\n"


def become_root(program: str, marks: Marks, *, with_password: bool) -> str:
    """Return the script that becomes root and then runs a second script, which is the next line."""
    options = ["-S", "-p", _TEXT.format(marks.prompt)] if with_password else ["-n"]
    become = shlex.join([*shlex.split(program), *options])
    inner = shlex.quote(f"{_print(marks.root)}; {_READ}")
    login = _print(marks.login)
    return f'{login}; if [ "$(id -u)" = 0 ]; then exec sh -c {inner}; fi; exec {become} sh -c {inner}'


def explain_root(output: str, user: str) -> HostError:
    """Return the error for root rights that were refused."""
    last = next((text for text in reversed(output.splitlines()) if text.strip()), "no reason given")
    found = _REFUSED.findall(output)
    refused = one_line(found[-1] if found else last)
    if "not found" in refused:
        step = "install sudo on the host, or log in as root"
        return HostError(f"{user} is not root and sudo is not installed", step)
    if _WRONG.search(output):
        return wrong_password(user)
    rights = f"allow {user} to use sudo without a password (NOPASSWD), or log in as root"
    if _MISSING.search(output):
        rights = f"give the password with --ask-become-pass, {rights}"
    return HostError(f"{user} cannot become root: {refused}", rights)


def wrong_password(user: str) -> HostError:
    """Return the error for a password that sudo did not accept."""
    return HostError(
        f"{user} cannot become root: sudo did not accept the password",
        failures.WRONG_SUDO,
    )


def _print(mark: str) -> str:
    return f"echo {mark}; echo {mark} >&2"
