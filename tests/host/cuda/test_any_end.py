# SPDX-License-Identifier: Apache-2.0
"""However the job of toolkits ends, what is there is in the ledger, and what was held is held."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.provision.cuda import install, runfile
from ansible.module_utils.provision.host.files import read_json
from ansible.module_utils.provision.host.follow import Done

from tests.host.jobs.breaking import Case, break_everywhere, each_error
from tests.unit.cuda.conftest import Host


def installer(words: list[str], *_: object) -> Done:
    """Do what NVIDIA's installer does."""
    path = Path(next(word for word in words if word.startswith("--toolkitpath=")).partition("=")[2])
    (path / "bin").mkdir(parents=True)
    (path / "bin/nvcc").touch(0o755)
    return Done(0, "")


class Toolkits:
    """A host with one toolkit of packages, on which another release is about to be installed."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.host = Host(folder, patch)
        held = ["cuda-toolkit-12-9"]
        there = {"cuda-toolkit-12-9": "12.9.2-1"}
        self.host.change(installed=there, held=held)
        self.path = folder / "lib/ledger.json"
        self.path.parent.mkdir()
        old = {"source": "packages", "version": "12.9.2", "packages": list(there), "held": held}
        self.path.write_text(json.dumps({"12.9": old}))
        patch.setattr(runfile, "run", installer)
        patch.setattr(runfile.Runfiles, "fetch", lambda *_: None)

    def spec(self, folder: Path, **orders: Any) -> dict[str, Any]:
        """Return the orders of a job."""
        layout = {name: str(folder / "etc" / name) for name in ("profile", "libraries", "alternatives")}
        layout.update(root=str(self.host.local), ledger=str(self.path))
        limits = {"needed_bytes": 0, "reserve_bytes": 0, "attempts": 1, "stall_seconds": 1, "lock_timeout": 1}
        cache = {"cache": str(folder / "cache"), "tmpdir": "", "override": False}
        return {**limits, **cache, "title": "CUDA", "order": "1", "layout": layout, **orders}

    def check(self) -> None:
        """See that ledger, folders and packages agree."""
        entries, machine = read_json(self.path, {}), self.host.known
        for folder in self.host.local.iterdir():
            assert folder.name.partition("-")[2] in entries, f"nobody knows whose {folder} is"
        for name in machine["installed"]:
            if name.startswith("cuda-toolkit-1"):
                assert ".".join(name.split("-")[2:4]) in entries, f"nobody knows whose {name} is"
        for release, entry in entries.items():
            there = [name for name in entry.get("held", []) if name in machine["installed"]]
            assert set(there) <= set(machine["held"]), f"{release} is not held any more"


NEW = {"release": "13.0", "exact": "13.0.2"}
WORK: dict[str, dict[str, Any]] = {
    "installer": {"remove": [], "install": [{**NEW, "source": "runfile", "file": "x", "sha256": "f" * 64}]},
    "packages": {"remove": [], "install": [{**NEW, "source": "packages"}]},
    "removal": {"remove": ["12.9"], "install": []},
}


@each_error
@pytest.mark.parametrize("work", WORK)
def test_toolkits_are_never_half_done(tmp_path: Path, work: str, error: BaseException | None) -> None:
    def prepare(folder: Path, patch: pytest.MonkeyPatch) -> Case:
        host = Toolkits(folder, patch)
        return Case(install.PROGRAM, "bring", host.spec(folder, **WORK[work]), host.check, host.check)

    assert break_everywhere(prepare, tmp_path, error) > 20
