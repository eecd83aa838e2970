# SPDX-License-Identifier: Apache-2.0
"""The rungs of the verification ladder that one service climbs; each shows its evidence."""

from __future__ import annotations

import functools
import re
import time
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Mapping

from ..host import systemd
from ..host.paths import text_of
from ..host.payload import FAILED, NOT_APPLICABLE, PASSED, Answer, Rung, plural
from ..host.systemd import UnitState
from . import files, guard, inputs, settings, tasks
from . import memory as engine_memory
from .causes import Cause
from .client import Engine, NoAnswerError
from .processes import nvidia_users
from .settings import Expected, Running

FLAPPING_RESTARTS = 3
FLAPPING_SECONDS = 600
APPLY = "run `provision apply` again"


@dataclass(frozen=True)
class Service:
    """Hold what the controller expects of one service."""

    service: str
    unit: str
    url: str
    health_path: str
    model: str
    model_dir: str
    prompt: str
    answer_seconds: int
    expect: str
    task: str
    device: str
    settings: list[Expected]
    setting_causes: list[Cause]
    memory: dict[str, Any]

    @classmethod
    def of(cls, params: Mapping[str, Any]) -> Service:
        """Return the service that a module's parameters describe."""
        given = {field.name: params[field.name] for field in fields(cls)}
        given["settings"] = [Expected(**one) for one in params["settings"]]
        given["setting_causes"] = [Cause(**one) for one in params["setting_causes"]]
        return cls(**given)


class Ladder:
    """Climb the rungs of one service."""

    def __init__(self, wanted: Service) -> None:
        self.wanted = wanted
        self.rungs: list[Rung] = []
        self.answer: Answer | None = None
        self.open: list[str] = []
        self.status = systemd.state(wanted.unit)
        key = files.read_key(wanted.unit)
        self.engine = Engine(wanted.url, key, wanted.answer_seconds)
        self.running = Running(self.engine, wanted.model, self.status, wanted.unit, wanted.task)
        self._log = f"`journalctl --unit {wanted.unit}` on the host"

    def climb(self) -> list[Rung]:
        """Return every rung; one that depends on a failed one says so."""
        for check in (self._unit, self._api, self._token, self._device, self._settings, self._throughput):
            self.rungs.append(check())
        return self.rungs

    def _rung(self, rung: str, problem: str, evidence: str = "", step: str = APPLY) -> Rung:
        service = self.wanted.service
        failed = Rung(rung, FAILED, problem, service, step)
        return failed if problem else Rung(rung, PASSED, evidence, service)

    def _failed(self, rung: str) -> bool:
        return any(found.rung == rung and found.status == FAILED for found in self.rungs)

    def _passed(self, rung: str) -> bool:
        return any(found.rung == rung and found.status == PASSED for found in self.rungs)

    def _unit(self) -> Rung:
        status = self.status
        active = f"active for {_duration(status.active_seconds)}"
        evidence = [active, plural(status.restarts, "restart"), "enabled", *sandbox(status.main_pid)]
        return self._rung("unit", unit_problem(self.wanted.unit, status), ", ".join(evidence))

    def _api(self) -> Rung:
        name = self.wanted.model
        problem, evidence = "", f"{self.wanted.url}/v1/models offers {name}"
        try:
            health = self.engine.status(self.wanted.health_path)
            served = self.engine.models()
            if health != 200:
                problem = f"{self.wanted.health_path} answered {health}"
            elif name not in served:
                problem = f"serves {', '.join(served) or 'no model'} instead of {name}"
            elif self.engine.key and Engine(self.engine.url).status("/v1/models") not in (401, 403):
                problem = "answers without the API key"
            elif self.engine.key:
                self.open = guard.unguarded(self.engine)
                evidence += self._guarded()
        except NoAnswerError as error:
            problem = str(error)
        return self._rung("api", problem, evidence, f"see {self._log}, then {APPLY}")

    def _guarded(self) -> str:
        """Return what a request without the API key gets."""
        places = f", but answers without it at {', '.join(self.open)}" if self.open else ""
        return f", and wants its key{places}" if places else ", and refuses requests without its key"

    def _token(self) -> Rung:
        if self._failed("api"):
            return self._rung("token", "not requested, because the API does not answer")
        problem, evidence, expected = "", "", self.wanted.expect
        try:
            if self.task != tasks.GENERATE:
                return self._proof()
            text, speed = self.engine.answer(self.wanted.model, self.wanted.prompt, expected)
            thoughts = ", all of them thoughts" if speed.thinking else ""
            text = f"(thinking) {speed.said.strip()}" if speed.thinking else text
            ttft, rate = round(speed.ttft_s, 3), round(speed.tokens_per_s, 1)
            self.answer = Answer(self.wanted.service, self.wanted.prompt, text, ttft, speed.tokens, rate)
            evidence = f"{plural(speed.tokens, 'token')}{thoughts}, the first after {ttft:.2f} s"
            if expected.lower() not in speed.said.lower():
                problem = f"the answer does not contain {expected!r}: {text[:200]!r}"
        except NoAnswerError as error:
            problem = str(error)
        return self._rung("token", problem, evidence, f"see {self._log}; restarting the unit may help")

    @functools.cached_property
    def task(self) -> str:
        """Return what the model is served for: what the inventory says, or what the server declares."""
        wanted = self.wanted
        return tasks.declared(self.engine, wanted.model) if wanted.task == tasks.AUTO else wanted.task

    def _proof(self) -> Rung:
        """Return the rung of a model that generates no text."""
        wanted, began = self.wanted, time.monotonic()
        evidence = tasks.prove(self.engine, self.task, wanted.model, wanted.prompt, wanted.answer_seconds)
        if wanted.expect:
            problem = f"serve_verify_expect is set, but {wanted.model} answers with {evidence}, not a text"
            return self._rung("token", problem, "", "remove serve_verify_expect from this service")
        return self._rung("token", "", f"{evidence}, after {time.monotonic() - began:.2f} s")

    def _device(self) -> Rung:
        service, known = self.wanted.service, self.wanted.memory
        if self.wanted.device == "cpu":
            return Rung("device", NOT_APPLICABLE, "the service runs on the CPU, as configured", service)
        memory = engine_memory.read(known, self.running) if known else None
        if known and memory is None and not self._failed("token"):
            unknown = "the engine does not report where the model is; it may have unloaded it"
            return Rung("device", NOT_APPLICABLE, unknown, service)
        users = nvidia_users(self.status.control_group)
        problem = "" if users else "no process of the service has an NVIDIA GPU open"
        evidence = f"{plural(len(users), 'process', 'processes')} of the service with an NVIDIA GPU open"
        held = engine_memory.held(users) if users else ""
        evidence += f", with {held}" if held else ""
        if memory is not None:
            share = f"{memory.describe()} in GPU memory"
            problem = problem if memory.is_whole else f"only {share}, the rest runs on the CPU"
            evidence = f"{share}, {evidence}"
        step = f"look for CUDA in {self._log}"
        reason = engine_memory.reason(memory) if problem else None
        if reason:
            problem, step = f"{problem}; {reason[0]}", reason[1]
        return self._rung("device", problem, evidence, step)

    def _settings(self) -> Rung:
        stale = stale_inputs(self.wanted.unit, self.wanted.model_dir)
        wanted, causes = self.wanted.settings, self.wanted.setting_causes
        found = [settings.settle(setting, causes, self.running) for setting in wanted]
        wrong = [setting for setting in found if not setting.is_right]
        problems = [f"changed since the engine was started: {', '.join(stale)}"] if stale else []
        problems += [setting.describe() for setting in wrong]
        evidence = "; ".join(["started from the files on disk", *(setting.describe() for setting in found)])
        steps = [APPLY] if stale else []
        steps += [setting.next_step for setting in wrong if setting.next_step]
        steps.append(f"look for these settings in {self._log}")
        return self._rung("settings", "; ".join(problems), evidence, steps[0])

    def _throughput(self) -> Rung:
        if self.answer is None and self._passed("token"):
            said = f"the task of the model is {self.task}, which generates no tokens"
            return Rung("throughput", NOT_APPLICABLE, said, self.wanted.service)
        if self.answer is None:
            return self._rung("throughput", "not measured, because no token was generated")
        evidence = f"{self.answer.tokens_per_s:.1f} tokens/s, one request of {self.answer.tokens} tokens"
        return self._rung("throughput", "", evidence)


def unit_problem(unit: str, status: UnitState) -> str:
    """Return what is wrong with the unit, empty if nothing is."""
    if not status.loaded:
        return f"{unit} is masked" if status.load == "masked" else f"there is no {unit} on the host"
    if not status.serving:
        return f"{unit} is {status.active} ({status.sub}, result {status.result})"
    if not status.enabled:
        return f"{unit} is not enabled, so it would not start after a reboot"
    if status.restarts >= FLAPPING_RESTARTS and status.active_seconds < FLAPPING_SECONDS:
        return f"{unit} is flapping: {status.restarts} restarts, up for {_duration(status.active_seconds)}"
    return ""


def sandbox(pid: int) -> list[str]:
    """Return what the kernel reports about the confinement of the main process."""
    text = text_of(Path(f"/proc/{pid}/status"))
    found = dict(re.findall(r"^(Uid|NoNewPrivs|Seccomp|CapEff):\s+(\w+)", text, re.MULTILINE))
    confined = {
        f"user {found.get('Uid')}": bool(text),  # without a text, it does not run
        "no new privileges": found.get("NoNewPrivs") == "1",
        "system calls filtered": found.get("Seccomp") == "2",
        "no capabilities": int(found.get("CapEff", "1"), 16) == 0,
    }
    return [fact for fact, is_so in confined.items() if is_so]


def stale_inputs(unit: str, model_dir: str) -> list[str]:
    """Return which inputs changed on disk after the engine was started."""
    found = inputs.read(unit, model_dir)
    return found.changed(found.now) + ([] if files.GATE.exists() else ["start gate"])


def _duration(seconds: float) -> str:
    for size, name in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {name}"
    return f"{seconds:.0f} s"
