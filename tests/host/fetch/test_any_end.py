# SPDX-License-Identifier: Apache-2.0
"""However the job of an archive ends, a directory is whole or not there."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.provision.fetch import archive
from ansible.module_utils.provision.fetch.place import Wanted, doubt
from ansible.module_utils.provision.jobs import patience

from tests.host.jobs.breaking import Case, break_everywhere, each_error
from tests.unit.fetch.served import Site, packed


@each_error
def test_an_archive_is_whole_or_not_there(
    site: Site, orders: Callable[..., dict[str, Any]], tmp_path: Path, error: BaseException | None
) -> None:
    site.content = packed(("bin/tool", b"#!/bin/sh\n"))

    def prepare(folder: Path, patch: pytest.MonkeyPatch) -> Case:
        patch.setenv(archive.URL_VARIABLE, f"{site.url}/tool.tar.gz")
        patch.setattr(patience.time, "sleep", lambda _: None)
        spec = orders(root=str(folder / "archives"), cache=str(folder / "cache"))
        wanted = Wanted.of(spec)
        directory = wanted.below(folder / "archives")

        def failed() -> None:
            assert not directory.exists() or not doubt(directory, wanted)

        def done() -> None:
            assert not doubt(directory, wanted)
            assert os.access(directory / "bin/tool", os.X_OK)

        return Case(archive.PROGRAM, "fetch", {**spec, "directory": str(directory)}, failed, done)

    assert break_everywhere(prepare, tmp_path, error) > 50
