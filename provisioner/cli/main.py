# SPDX-License-Identifier: Apache-2.0
"""Start the command line, and turn every way of failing into a message and an exit code."""

from __future__ import annotations

import os
import platform
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

import click

import provisioner
from provisioner import settings
from provisioner.cli import apply, chat, doctor, engines, exec, init, lab, logs, plan, runs, status  # noqa: A004 - the command is called exec
from provisioner.cli.problems import show_error
from provisioner.errors import ProvisionError

BUG = 3
INTERRUPTED = 130


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(provisioner.__version__, prog_name="provision")
def cli() -> None:
    """Provision GPU inference hosts over SSH: from a bare machine to an answered question.

    Exit codes: 0 done, 1 a host failed or is unhealthy, 2 wrong usage or inventory (or consent is missing),
    3 a bug of this tool, 130 interrupted.
    """


for command in (
    init.init,
    plan.plan,
    apply.apply,
    apply.verify,
    apply.remove,
    status.status,
    logs.logs,
    chat.chat,
    exec.execute,
    doctor.doctor,
    engines.engines,
    lab.lab,
    runs.runs,
):
    cli.add_command(command)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with the code that its outcome means."""
    sys.exit(_run(arguments))


def _run(arguments: Sequence[str] | None) -> int:
    try:
        code = cli.main(args=arguments, prog_name="provision", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except ProvisionError as error:
        show_error(error)
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted", err=True)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has gone: nothing is left to say, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception:  # noqa: BLE001 - what nobody expected is a bug, and says so with its traceback
        log = _write_bug_log(traceback.format_exc())
        click.echo(
            f"this is a bug of provision, not of your inventory or hosts; the details are in {log}", err=True
        )
        return BUG
    return code if isinstance(code, int) else 0


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
