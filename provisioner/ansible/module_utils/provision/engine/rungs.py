# SPDX-License-Identifier: Apache-2.0
"""The rungs of the verification ladder that one service climbs; each names its evidence."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from ..host.payload import FAILED, NOT_APPLICABLE, PASSED, Rung, plural
from . import files, settings
from . import memory as engine_memory
from . import unit as engine_unit
from .client import Answer, Engine, NoAnswerError
from .processes import nvidia_users
from .settings import Running
from .unit import UnitStatus

FLAPPING_RESTARTS = 3
FLAPPING_SECONDS = 600
APPLY = "run `provision apply` again"


class Ladder:
    """Climb the rungs of one service."""

    def __init__(self, given: dict[str, Any]) -> None:
        self.given = given
        self.rungs: list[Rung] = []
        self.answer: Answer | None = None
        self.status = engine_unit.status(given["unit"])
        key = files.read_key(given["unit"])
        self.engine = Engine(given["url"], key, given["answer_seconds"])
        self.running = Running(self.engine, given["model"], self.status)

    def climb(self) -> list[Rung]:
        """Return every rung; one that stands on a failed one says so."""
        for check in (self._unit, self._api, self._token, self._device, self._settings, self._throughput):
            check()
        return self.rungs

    def _add(self, rung: str, problem: str, evidence: str, step: str = APPLY) -> None:
        status, said = (FAILED, problem) if problem else (PASSED, evidence)
        name = self.given["service"]
        self.rungs.append(Rung(rung, status, said, name, step if problem else None))

    def _skip(self, rung: str, evidence: str) -> None:
        self.rungs.append(Rung(rung, NOT_APPLICABLE, evidence, self.given["service"]))

    def _log(self) -> str:
        return f"`journalctl --unit {self.given['unit']}` on the host"

    def _failed(self, rung: str) -> bool:
        return any(found.rung == rung and found.status == FAILED for found in self.rungs)

    def _unit(self) -> None:
        unit, status = self.given["unit"], self.status
        evidence = f"active for {_duration(status.active_seconds)}, {plural(status.restarts, 'restart')}"
        evidence += ", enabled"
        self._add("unit", unit_problem(unit, status), ", ".join([evidence, *sandbox(status.main_pid)]))

    def _api(self) -> None:
        name = self.given["model"]
        problem = ""
        try:
            health = self.engine.status(self.given["health_path"])
            served = [str(model.get("id")) for model in self.engine.models()]
            if health != 200:
                problem = f"{self.given['health_path']} answered {health}"
            elif name not in served:
                problem = f"serves {', '.join(served) or 'no model'} instead of {name}"
            elif self.engine.key and self.engine.status("/v1/models", with_key=False) not in (401, 403):
                problem = "answers without the API key"
        except NoAnswerError as error:
            problem = str(error)
        step = f"see {self._log()}, then {APPLY}"
        key = ", and refuses requests without its key" if self.engine.key else ""
        self._add("api", problem, f"{self.given['url']}/v1/models offers {name}{key}", step)

    def _token(self) -> None:
        if self._failed("api"):
            self._add("token", "not asked, because the API does not answer", "")
            return
        problem = evidence = ""
        expected = self.given["expect"]
        try:
            self.answer = self.engine.ask(self.given["model"], self.given["prompt"])
            evidence = f"{plural(self.answer.tokens, 'token')}, the first after {self.answer.ttft_s:.2f} s"
            if expected and expected.lower() not in self.answer.text.lower():
                problem = f"the answer does not mention {expected!r}: {self.answer.text[:200]!r}"
        except NoAnswerError as error:
            problem = str(error)
        step = f"see {self._log()}; restarting the unit may help"
        self._add("token", problem, evidence, step)

    def _device(self) -> None:
        if self.given["device"] == "cpu":
            self._skip("device", "the service runs on the CPU, as asked")
            return
        asked = self.given["memory"]
        memory = engine_memory.look(asked, self.running) if asked else None
        if asked and memory is None and not self._failed("token"):
            self._skip("device", "the engine does not say where the model is; it may have unloaded it")
            return
        users = nvidia_users(self.status.control_group)
        problem = "" if users else "no process of the service has an NVIDIA GPU open"
        evidence = f"{plural(len(users), 'process', 'processes')} of the service with an NVIDIA GPU open"
        held = engine_memory.held(users) if users else ""
        evidence += f", with {held}" if held else ""
        if memory is not None:
            share = f"{memory.describe()} in GPU memory"
            problem = problem if memory.is_whole else f"only {share}, the rest runs on the CPU"
            evidence = f"{share}, {evidence}"
        reason = engine_memory.reason(memory) if problem else None
        if reason is None:
            self._add("device", problem, evidence, f"see what {self._log()} says of CUDA")
        else:
            self._add("device", f"{problem}; {reason.meaning}", evidence, reason.next_step)

    def _settings(self) -> None:
        stale = stale_inputs(self.given)
        found = settings.settle(self.given["settings"], self.given["setting_causes"], self.running)
        wrong = [setting for setting in found if not setting.is_right]
        problems = [f"the running engine was started with another {', '.join(stale)}"] if stale else []
        problems += [setting.describe() for setting in wrong]
        evidence = "; ".join(["started from what is on disk", *(setting.describe() for setting in found)])
        steps = [APPLY] * bool(stale) + [setting.next_step for setting in wrong if setting.next_step]
        self._add(
            "settings", "; ".join(problems), evidence, (steps or [f"see what {self._log()} says of it"])[0]
        )

    def _throughput(self) -> None:
        if self.answer is None:
            self._add("throughput", "not measured, because no token was generated", "")
            return
        evidence = f"{self.answer.tokens_per_s:.1f} tokens/s, one request of {self.answer.tokens} tokens"
        self._add("throughput", "", evidence)


def unit_problem(unit: str, status: UnitStatus) -> str:
    """Return what is wrong with the unit, empty when nothing is."""
    if not status.loaded:
        return f"there is no {unit} on the host"
    if not status.serving:
        return f"{unit} is {status.active} ({status.sub}, result {status.result})"
    if not status.enabled:
        return f"{unit} is not enabled, so it would not come back after a reboot"
    if status.restarts >= FLAPPING_RESTARTS and status.active_seconds < FLAPPING_SECONDS:
        return f"{unit} is flapping: {status.restarts} restarts, up for {_duration(status.active_seconds)}"
    return ""


def sandbox(pid: int) -> list[str]:
    """Return what the kernel says of the main process's confinement."""
    try:
        text = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except OSError:  # not running
        return []
    found = dict(re.findall(r"^(Uid|NoNewPrivs|Seccomp|CapEff):\s+(\w+)", text, re.MULTILINE))
    said = [f"user {found.get('Uid')}"]
    said += ["no new privileges"] if found.get("NoNewPrivs") == "1" else []
    said += ["system calls filtered"] if found.get("Seccomp") == "2" else []
    said += ["no capabilities"] if int(found.get("CapEff", "1"), 16) == 0 else []
    return said


def stale_inputs(given: dict[str, Any]) -> list[str]:
    """Return which inputs changed on disk after the engine was started."""
    words = ["show", "--unit", given["unit"], "--model-dir", given["model_dir"]]
    words += ["--address", given["address"], "--port", str(given["port"])]
    done = engine_unit.call(sys.executable, str(files.GATE), *words)
    if done.returncode != 0:
        return ["start gate"]
    shown = json.loads(done.stdout)
    return [name for name, digest in shown["now"].items() if shown["started"].get(name) != digest]


def _duration(seconds: float) -> str:
    for size, name in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {name}"
    return f"{seconds:.0f} s"
