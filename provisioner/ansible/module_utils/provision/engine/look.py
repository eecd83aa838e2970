# SPDX-License-Identifier: Apache-2.0
"""Compare an engine's service on the host with what is asked, and change nothing."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..host import managed
from ..host.fault import Fault
from . import files as engine_files
from . import unit as engine_unit
from .files import ManagedFile
from .unit import UnitStatus

GATE_SECONDS = 60


def desired_files(given: dict[str, Any]) -> list[ManagedFile]:
    """Return the files that the service needs, in the order in which they are safe to write."""
    unit, stem = given["unit"], managed.stem(given["unit"])
    files = [
        ManagedFile(engine_files.GATE, given["gate_text"], 0o755),
        ManagedFile(engine_files.SETTINGS / f"{stem}.env", given["environment_text"], 0o640, given["user"]),
        ManagedFile(managed.UNITS / unit, given["unit_text"], 0o644),
    ]
    if given["api_key_file"]:
        # In a check, a new key is on its way only: that it differs is all there is to know.
        key = (
            "pending" if given["api_key_pending"] else Path(given["api_key_file"]).read_text(encoding="utf-8")
        )
        text = engine_files.key_line(given["key_variable"], key.strip())
        files.append(ManagedFile(engine_files.key_path(unit), text, 0o640, given["user"], secret=True))
    return files


def desired_signature(files: list[ManagedFile], model: str) -> dict[str, str]:
    """Return what the gate will record when the service starts from `files`."""
    texts = {file.path.suffix: hashlib.sha256(file.text.encode()).hexdigest() for file in files}
    return {
        "unit file": texts[".service"],
        "environment": texts[".env"],
        "API key": texts.get(".key", "absent"),
        "model files": model,
    }


def _ask_gate(given: dict[str, Any]) -> dict[str, Any]:
    """Run the gate that the controller sent, whatever the host has: it knows ports and signatures."""
    words = ["show", "--unit", given["unit"], "--model-dir", given["model_dir"]]
    words += ["--address", given["address"], "--port", str(given["port"])]
    try:
        done = subprocess.run(
            [sys.executable, "-", *words],
            input=given["gate_text"],
            capture_output=True,
            text=True,
            timeout=GATE_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        place = given["model_dir"] or str(engine_files.SETTINGS)
        raise Fault(
            f"looking at {place} and at the port did not end within {GATE_SECONDS} s",
            f"see whether the file system of {place} answers, then run again",
        ) from error
    if done.returncode != 0:
        raise Fault(f"the gate failed: {done.stderr.strip()[-400:]}", "see the message above")
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def foreign_owner(owner: str, status: UnitStatus) -> str:
    """Return the owner of the port unless it is the service itself."""
    groups = _control_groups(owner)
    if groups is None:
        return owner
    # Empty when it ended meanwhile.
    own = not groups or (status.control_group and status.control_group in groups)
    return "" if own else owner


def owning_unit(owner: str) -> str:
    """Return the unit of ours that the owner of the port belongs to, empty when it is none of ours."""
    ours = managed.others("")
    names = re.findall(r"/([^/\n]+\.service)(?=/|$)", _control_groups(owner) or "", re.MULTILINE)
    return next((name for name in names if name in ours), "")


def _control_groups(owner: str) -> str | None:
    """Return the control groups of a process as the kernel lists them, None when its number is not known."""
    pid = owner.rsplit("(pid ", 1)[-1].rstrip(")")
    if not pid.isdigit():
        return None
    try:
        return Path(f"/proc/{pid}/cgroup").read_text(encoding="utf-8")
    except OSError:
        return ""


@dataclass(frozen=True)
class Look:
    """Hold what one look at the host has shown."""

    status: UnitStatus
    owner: str
    wrong: list[ManagedFile]
    surplus: list[Path]
    stale: list[str]
    user_right: bool

    @property
    def action(self) -> str:
        """Return what systemd has to do."""
        if not (self.status.serving or self.status.starting):
            return "start"
        return "restart" if self.stale else ""

    @property
    def reloads(self) -> bool:
        """Tell whether systemd has to read its units again."""
        return self.status.needs_reload or any(file.path.suffix == ".service" for file in self.wrong)

    @property
    def changed(self) -> bool:
        """Tell whether anything differs from what is asked."""
        return bool(self.wrong or self.surplus or self.action) or not (
            self.user_right and self.status.enabled
        )


def look(given: dict[str, Any]) -> Look:
    """Compare the host with what is asked."""
    files = desired_files(given)
    status = engine_unit.status(given["unit"])
    gate = _ask_gate(given)
    keys = (engine_files.key_path(given["unit"]), engine_files.secret_path(given["unit"]))
    wanted = desired_signature(files, gate["now"]["model files"])
    return Look(
        status=status,
        owner=foreign_owner(gate["port_owner"], status),
        wrong=[file for file in files if not file.is_right()],
        surplus=[] if given["api_key_file"] else [file for file in keys if file.exists()],
        stale=[name for name in wanted if gate["started"].get(name) != wanted[name]],
        user_right=engine_files.user_is_right(given["user"], given["groups"]),
    )
