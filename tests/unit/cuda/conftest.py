# SPDX-License-Identifier: Apache-2.0
"""A host whose package manager is a stand-in, and whose unit runs the job at once."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.module_utils.provision.cuda import install
from ansible.module_utils.provision.host.fault import Fault
from ansible.module_utils.provision.host.packages import apt, common, dnf
from ansible.module_utils.provision.jobs import job
from ansible.module_utils.provision.jobs.unit import UnitState

from provisioner import content, documents
from provisioner.ansible.modules import cuda_toolkit
from tests.unit.cuda import standin
from tests.unit.fakes import Programs, Said, script

GONE = UnitState(active="inactive", result="success", exit_status=0, invocation="")
BUSY = UnitState(active="active", result="success", exit_status=0, invocation="1")
FAILED = UnitState(active="failed", result="exit-code", exit_status=1, invocation="1")
TABLE = documents.read(content.roles() / "cuda_toolkit/files/compatibility.yml")


def offer(*releases: str) -> dict[str, Any]:
    """Return a repository with toolkits of some releases, each of two versions, that share a package."""
    found: dict[str, Any] = {"cuda-toolkit-config-common": {"versions": ["13.0.96-1"], "depends": []}}
    for release in releases:
        end = release.replace(".", "-")
        common = f"cuda-toolkit-{end}-config-common"
        both = [f"{release}.1-1", f"{release}.2-1"]
        found[common] = {"versions": ["1-1"], "depends": ["cuda-toolkit-config-common"]}
        found[f"cuda-nvcc-{end}"] = {"versions": [f"{release}.88-1"], "depends": [common]}
        found[f"cuda-toolkit-{end}"] = {"versions": both, "depends": [f"cuda-nvcc-{end}"]}
    found["nvidia-driver"] = {"versions": ["580.159.04-1"], "depends": []}
    found["theirs"] = {"versions": ["1"], "depends": ["cuda-nvcc-13-0"]}
    return found


class Host:
    """A host of the tests."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root, self.patch = root, monkeypatch
        self.now = self.after = GONE
        self.started: list[tuple[list[str], dict[str, object], str | None]] = []
        self.warnings: list[str] = []
        self.works = True
        self.local, self.state = root / "local", root / "state.json"
        self.local.mkdir()
        start = {"root": str(self.local), "installed": {}, "held": [], "log": []}
        self.keep({**start, "repository": offer("13.0", "12.9")})
        self.programs()
        for module, name, value in (
            (job, "state", lambda _: self.now),
            (job, "wait", lambda *_: self.after),
            (job, "start_or_attach", self.start),
            (job, "journal_tail", lambda *_: "last words"),
            (cuda_toolkit, "devices", list),
            (cuda_toolkit, "loaded_driver", lambda: (None, None)),
            (cuda_toolkit, "c_library", lambda: "2.39"),
            (apt, "STAMP", root / "stamp"),
            (apt, "STAMPS", (root / "stamp",)),
            (dnf, "VERSIONLOCK", root / "lib/versionlock.list"),
            (common, "lock_holder", lambda _: 0),
        ):
            monkeypatch.setattr(module, name, value)

    def programs(self) -> None:
        """Install the stand-ins: for shells by PATH, and for what is started without one."""
        folder = self.root / "bin"
        folder.mkdir()
        found = Programs(self.patch)
        for name in standin.PROGRAMS:
            (folder / name).symlink_to(standin.__file__)
            found.add(name, self.standin(name))
        self.patch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
        self.patch.setenv("STANDIN_STATE", str(self.state))

    def standin(self, name: str) -> Callable[[Sequence[str]], Said]:
        return lambda words: script(lambda: standin.be(name, self.state, list(words)))

    def keep(self, state: dict[str, Any]) -> None:
        self.state.write_text(json.dumps(state))

    def change(self, **more: Any) -> None:
        self.keep({**self.known, **more})

    @property
    def known(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.state.read_text())
        return found

    def start(
        self, name: str, argv: list[str], properties: dict[str, object], environment_file: str | None
    ) -> bool:
        self.started.append(([name, *argv], properties, environment_file))
        self.after = GONE
        if self.works:
            try:
                install.change(json.loads(Path(argv[-1]).read_text()))
            except Fault:
                self.after = FAILED
        return True

    def call(self, *versions: str, check: bool = False, **params: Any) -> dict[str, Any]:
        """Call the module as the role does."""
        given = {key: option.get("default") for key, option in cuda_toolkit.ARGUMENTS.items()}
        wanted = {key: option.get("default") for key, option in cuda_toolkit.WANTED.items()}
        wanted.update(versions=list(versions), arch="x86_64", needed_bytes=1000, runfile_packages=["libxml2"])
        wanted.update({key: params.pop(key) for key in list(params) if key in wanted})
        folders = {key: str(self.root / key) for key in ("runtime", "programs", "cache")}
        etc = {key: self.root / f"etc/{key}" for key in ("profile", "libraries", "alternatives")}
        etc["ledger"] = self.root / "lib/ledger.json"
        layout = {key: str(value) for key, value in {"root": self.local, **etc}.items()}
        asked = {**given, **folders, "wanted": wanted, "table": TABLE, "layout": layout, "reserve_bytes": 0}
        module = SimpleNamespace(params={**asked, **params}, check_mode=check, warn=self.warnings.append)
        result: dict[str, Any] = cuda_toolkit.outcome(module)
        return result

    @property
    def ledger(self) -> dict[str, Any]:
        path = self.root / "lib/ledger.json"
        found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
        return found


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    return Host(tmp_path, monkeypatch)
