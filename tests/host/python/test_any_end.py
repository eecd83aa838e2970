# SPDX-License-Identifier: Apache-2.0
"""However the job of conda ends, what is not finished is gone or noted as unfinished."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.provision.host.follow import Done
from ansible.module_utils.provision.python import conda_install
from ansible.module_utils.provision.python.conda_place import MARKER, UNFINISHED, Wanted, doubt

from tests.host.jobs.breaking import Case, break_everywhere, each_error


def simulated(argv: Sequence[str], _environment: Mapping[str, str], _folder: Path | None = None) -> Done:
    """Do what the installer and conda do, without starting them."""
    if argv[0] == "bash":
        (Path(argv[-1]) / "bin").mkdir()
        for name in ("conda", "python"):
            (Path(argv[-1]) / "bin" / name).touch(0o755)
    elif "create" in argv:
        program = Path(argv[argv.index("--prefix") + 1], "bin/python3.12")
        program.parent.mkdir(parents=True)
        program.touch(0o755)
    return Done(0, "3.12.11")


@each_error
def test_a_python_is_whole_or_not_there(
    orders: Callable[..., dict[str, Any]], tmp_path: Path, error: BaseException | None
) -> None:
    def prepare(folder: Path, patch: pytest.MonkeyPatch) -> Case:
        patch.setattr(conda_install, "run", simulated)
        spec = orders(root=str(folder / "conda"), cache=str(folder / "cache"))
        wanted = Wanted.of(spec)

        def failed() -> None:
            prefix = wanted.prefix
            known = (prefix / MARKER).exists() or (prefix / UNFINISHED).exists()
            assert known or not prefix.exists(), "a prefix that nobody knows stays"
            assert not (wanted.python_directory / MARKER).exists() or wanted.interpreter.exists()

        return Case(conda_install.PROGRAM, "install", spec, failed, lambda: _assert_whole(wanted))

    assert break_everywhere(prepare, tmp_path, error) > 40


def _assert_whole(wanted: Wanted) -> None:
    assert not doubt(wanted)
