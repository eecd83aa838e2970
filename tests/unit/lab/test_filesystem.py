# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from provisioner.lab import filesystem
from provisioner.lab.process import Result


def test_file_systems_are_described_by_path(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []

    def answer(host: str, argv: list[str], *, lab: str) -> Result:
        asked.append(argv)
        walked = b"/etc\td 755 0:0 4096 \0/etc/odd\nname\tf 644 0:0 2 \0/bin\tl 777 0:0 7 usr/bin\0"
        sums = b"73cb  /etc/odd\nname\0"
        return Result(tuple(argv), 0, sums if "sha256sum" in argv else walked, f"{host} {lab}".encode())

    monkeypatch.setattr(filesystem, "exec_in", answer)
    assert filesystem.filesystem_digest("one", exclude=["/srv"]) == {
        "/etc": "d 755 0:0 ",
        "/etc/odd\nname": "f 644 0:0 2  sha256:73cb",
        "/bin": "l 777 0:0 7 usr/bin",
    }
    assert all("/srv" in argv for argv in asked)
    assert len(asked) == 2
    filesystem.filesystem_digest("one", content=False)
    assert len(asked) == 3
