# SPDX-License-Identifier: Apache-2.0
"""The rungs of the verification ladder that one service or one host can climb; each names its evidence."""

from __future__ import annotations

import contextlib
import json
import re
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ansible.module_utils import engine_files, engine_unit
from ansible.module_utils.engine_client import Answer, Engine, NoAnswerError
from ansible.module_utils.engine_unit import UnitStatus
from ansible.module_utils.host_facts import listening_sockets, nvidia_devices

PASSED, FAILED, NOT_APPLICABLE = "passed", "failed", "not applicable"
FLAPPING_RESTARTS = 3
FLAPPING_SECONDS = 600
DRIVER_STEP = "install or repair the NVIDIA driver until `nvidia-smi` answers, or set engine_vllm_device: cpu"
APPLY = "run `provision apply` again"


@dataclass(frozen=True)
class Rung:
    """Say how one check ended, on what evidence, and what to do when it failed."""

    rung: str
    status: str
    evidence: str
    service: str | None = None
    next: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the rung as the run's events carry it."""
        return asdict(self)


class Ladder:
    """Climb the rungs of one service."""

    def __init__(self, given: dict[str, Any]) -> None:
        self.given = given
        self.rungs: list[Rung] = []
        self.models: list[dict[str, Any]] = []
        self.answer: Answer | None = None
        self.status = engine_unit.status(given["unit"])
        key = engine_files.read_key(given["unit"])
        self.engine = Engine(given["url"], key, given["answer_seconds"])

    def climb(self) -> list[Rung]:
        """Return every rung; one that stands on a failed one says so."""
        for check in (self._unit, self._api, self._token, self._device, self._settings, self._throughput):
            check()
        return self.rungs

    def _add(self, rung: str, problem: str, evidence: str, step: str = APPLY) -> None:
        status, said = (FAILED, problem) if problem else (PASSED, evidence)
        name = self.given["service"]
        self.rungs.append(Rung(rung, status, said, name, step if problem else None))

    def _failed(self, rung: str) -> bool:
        return any(found.rung == rung and found.status == FAILED for found in self.rungs)

    def _unit(self) -> None:
        unit, status = self.given["unit"], self.status
        evidence = f"active for {_duration(status.active_seconds)}, {_plural(status.restarts, 'restart')}"
        evidence += ", enabled"
        self._add("unit", unit_problem(unit, status), ", ".join([evidence, *sandbox(status.main_pid)]))

    def _api(self) -> None:
        name = self.given["model"]
        problem = ""
        try:
            health = self.engine.status(self.given["health_path"])
            self.models = self.engine.models()
            served = [str(model.get("id")) for model in self.models]
            if health != 200:
                problem = f"{self.given['health_path']} answered {health}"
            elif name not in served:
                problem = f"serves {', '.join(served) or 'no model'} instead of {name}"
            elif self.engine.key and self.engine.status("/v1/models", with_key=False) not in (401, 403):
                problem = "answers without the API key"
        except NoAnswerError as error:
            problem = str(error)
        step = f"see `journalctl --unit {self.given['unit']}` on the host, then {APPLY}"
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
            evidence = f"{_plural(self.answer.tokens, 'token')}, the first after {self.answer.ttft_s:.2f} s"
            if expected and expected.lower() not in self.answer.text.lower():
                problem = f"the answer does not mention {expected!r}: {self.answer.text[:200]!r}"
        except NoAnswerError as error:
            problem = str(error)
        step = f"see `journalctl --unit {self.given['unit']}` on the host; restarting the unit may help"
        self._add("token", problem, evidence, step)

    def _device(self) -> None:
        if self.given["device"] == "cpu":
            evidence = "the service runs on the CPU, as asked"
            self.rungs.append(Rung("device", NOT_APPLICABLE, evidence, self.given["service"]))
            return
        found = nvidia_users(self.status.control_group)
        problem = "" if found else "no process of the service has an NVIDIA GPU open"
        evidence = f"{_plural(len(found), 'process', 'processes')} of the service with an NVIDIA GPU open"
        self._add("device", problem, evidence, "see what the engine's log says of CUDA")

    def _settings(self) -> None:
        stale = stale_inputs(self.given)
        problems = [f"the running engine was started with another {', '.join(stale)}"] if stale else []
        model = next((model for model in self.models if model.get("id") == self.given["model"]), {})
        effective = []
        for name, asked in sorted(self.given["settings"].items()):
            actual = model.get(name)
            if asked is not None and actual != asked:
                problems.append(f"{name} is {actual}, and {asked} was asked for")
            effective.append(f"{name} is {actual}")
        evidence = "; ".join(["started from what is on disk", *effective])
        self._add("settings", "; ".join(problems), evidence)

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
    done = engine_unit.call(sys.executable, str(engine_files.GATE), *words)
    if done.returncode != 0:
        return ["start gate"]
    shown = json.loads(done.stdout)
    return [name for name, digest in shown["now"].items() if shown["started"].get(name) != digest]


def exposed(control_group: str, asked: str) -> list[str]:
    """Return where a service listens beyond the host itself without having been asked to."""
    if asked in ("0.0.0.0", "::"):  # noqa: S104 - a choice of the inventory
        return []
    ports: dict[str, list[int]] = {}
    for socket in listening_sockets(Path("/proc")):
        address = socket["address"]
        inside = address.startswith("127.") or address in ("::1", asked)
        if not inside and _in_group(Path(f"/proc/{socket['pid']}"), control_group):
            ports.setdefault(f"{address} ({socket['process']})", []).append(socket["port"])
    return [f"{place} {_plural(len(numbers), 'port')}" for place, numbers in sorted(ports.items())]


def _in_group(process: Path, control_group: str) -> bool:
    try:
        return bool(control_group) and control_group in (process / "cgroup").read_text(encoding="utf-8")
    except OSError:  # processes end while they are read
        return False


def nvidia_users(control_group: str) -> list[int]:
    """Return the processes of a control group that have an NVIDIA GPU open."""
    processes = [path for path in Path("/proc").glob("[0-9]*") if _in_group(path, control_group)]
    return [int(process.name) for process in processes if _opens_gpu(process)]


def _opens_gpu(process: Path) -> bool:
    with contextlib.suppress(OSError):
        return any(
            re.fullmatch(r"/dev/nvidia\d+", str(link.resolve())) for link in (process / "fd").iterdir()
        )
    return False


def host_rungs(
    gpus: list[dict[str, Any]], driver: str, systemd: int, *, gpus_expected: bool = False
) -> list[Rung]:
    """Return the rungs of a host: that it answers, and what it has of NVIDIA."""
    reachable = Rung("reachable", PASSED, f"answered over SSH as root, systemd {systemd}")
    on_bus = nvidia_devices(Path("/sys/bus/pci/devices"))
    if not gpus:
        evidence = "no NVIDIA device on the PCI bus"
        if on_bus:
            evidence = f"{_plural(on_bus, 'NVIDIA device')} on the PCI bus, but no driver offers it here"
        if on_bus and gpus_expected:
            broken = Rung("driver", FAILED, evidence, next=DRIVER_STEP)
            return [reachable, broken, Rung("gpus", NOT_APPLICABLE, evidence)]
        return [reachable, *(Rung(name, NOT_APPLICABLE, evidence) for name in ("driver", "gpus"))]
    names = ", ".join(f"{gpu['index']}: {gpu['name']}" for gpu in gpus)
    lost = on_bus > len(gpus)
    evidence = f"{len(gpus)} of {on_bus} on the PCI bus: {names}" if lost else names
    step = "see `dmesg | grep -i xid` on the host" if lost else None
    return [
        reachable,
        Rung("driver", PASSED, f"version {driver} answers"),
        Rung("gpus", FAILED if lost else PASSED, evidence, next=step),
    ]


def _duration(seconds: float) -> str:
    for size, name in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {name}"
    return f"{seconds:.0f} s"


def _plural(count: int, one: str, many: str = "") -> str:
    return f"{count} {one if count == 1 else many or one + 's'}"
