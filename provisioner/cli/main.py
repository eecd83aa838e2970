# SPDX-License-Identifier: Apache-2.0
"""Start the command line, and turn every failure into a message and an exit code."""

from __future__ import annotations

import errno
import os
import platform
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import click

import provisioner
from provisioner import settings
from provisioner.cli.problems import show_error
from provisioner.errors import ProvisionError

BUG = 3
INTERRUPTED = 130
_ROOM = "free disk space for the output and for XDG_STATE_HOME (by default ~/.local/state)"
_RIGHTS = "check its permissions, or set XDG_STATE_HOME to a folder that you can write to"
_DENIED = {errno.EACCES, errno.EPERM, errno.EROFS}
# Errors of this machine that no code can prevent, and what helps.
_OF_THIS_MACHINE = {
    errno.ENOSPC: _ROOM,
    errno.EDQUOT: _ROOM,
    **dict.fromkeys(_DENIED, _RIGHTS),
    errno.EMFILE: "raise the limit of open files (`ulimit -n`)",
    errno.ENFILE: "end programs that have many files open",
    errno.ENOMEM: "free memory on this machine",
    errno.EIO: "check its disk and its terminal",
}


# Where each command is, in the order of the help.
COMMANDS = {
    "init": ("init", "init"),
    "plan": ("plan", "plan"),
    "apply": ("apply", "apply"),
    "verify": ("apply", "verify"),
    "remove": ("apply", "remove"),
    "status": ("status", "status"),
    "logs": ("logs", "logs"),
    "chat": ("chat", "chat"),
    "exec": ("exec", "execute"),
    "doctor": ("doctor", "doctor"),
    "engines": ("engines", "engines"),
    "lab": ("lab", "lab"),
    "runs": ("runs", "runs"),
}


class Commands(click.Group):
    """Import a command when it is called: the libraries of all of them take as long as the work of some."""

    def list_commands(self, _: click.Context) -> list[str]:
        """Return the names of all commands."""
        return list(COMMANDS)

    def get_command(self, _: click.Context, cmd_name: str) -> click.Command | None:
        """Return one command, or None if there is no such command."""
        if cmd_name not in COMMANDS:
            return None
        module, attribute = COMMANDS[cmd_name]
        command: click.Command = getattr(import_module(f"provisioner.cli.{module}"), attribute)
        return command


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(provisioner.__version__, prog_name="provision")
def cli() -> None:
    """Provision GPU inference hosts over SSH: from a bare machine to an answered question.

    Exit codes: 0 done, 1 a host failed or is unhealthy, 2 wrong usage or inventory (or consent is missing),
    3 a bug in this tool, 130 interrupted.
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with the code that its outcome means."""
    sys.exit(_run(arguments))


def _run(arguments: Sequence[str] | None) -> int:
    try:
        code = cli.main(args=arguments, prog_name="provision", standalone_mode=False)
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - an unexpected error is a bug, and is reported as one
        return _failed(error)
    return code if isinstance(code, int) else 0


def _failed(error: BaseException) -> int:
    """Report what ended the command, and return its exit code."""
    match error:
        case click.ClickException():
            error.show()
            return error.exit_code
        case ProvisionError():
            show_error(error)
            return error.exit_code
        case KeyboardInterrupt() | click.Abort():
            click.echo("interrupted", err=True)
            return INTERRUPTED
        case BrokenPipeError():
            # The reader of our output is gone, so nothing can be reported, not even at exit.
            _drop_output()
            return ProvisionError.exit_code
        case OSError() if error.errno in _OF_THIS_MACHINE and (error.filename or error.errno not in _DENIED):
            show_error(_of_this_machine(error))
            _drop_output()
            return ProvisionError.exit_code
    log = _write_bug_log("".join(traceback.format_exception(error)))
    click.echo(
        f"this is a bug in provision, not in your inventory or hosts; the details are in {log}", err=True
    )
    return BUG


def _drop_output() -> None:
    """Keep Python from writing at exit what could not be written before."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _of_this_machine(error: OSError) -> ProvisionError:
    where = f"{error.filename}: " if error.filename else ""
    return ProvisionError(
        f"the command failed on this machine: {where}{error.strerror}",
        _OF_THIS_MACHINE[error.errno or 0] + "; then run the same command again",
    )


def _write_bug_log(trace: str) -> Path:
    folder = settings.state_home()
    text = f"provision {provisioner.__version__}\nPython {sys.version}\n{platform.platform()}\n\n{trace}"
    name = f"bug-{time.strftime('%Y%m%dT%H%M%S')}-{os.getpid()}.log"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    except OSError:
        folder = Path(tempfile.gettempdir())
        (folder / name).write_text(text)
    return folder / name
