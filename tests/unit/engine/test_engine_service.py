# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import socket
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.provision.engine import causes, gate, inputs, processes
from ansible.module_utils.provision.engine import files as engine_files
from ansible.module_utils.provision.host import managed, systemd
from ansible.module_utils.provision.host.entry import run_module
from ansible.module_utils.provision.host.fault import Fault
from ansible.module_utils.provision.host.systemd import UnitState

from provisioner.ansible.modules import engine_service

UNIT = "vllm.service"
ABSENT = UnitState("not-found", "inactive", "dead", False, "success", 0, 0, False, "", 0.0, "")
SERVING = UnitState(
    "loaded",
    "active",
    "running",
    True,
    "success",
    4242,
    0,
    False,
    "first",
    60.0,
    "/system.slice/vllm.service",
)
STARTING = replace(SERVING, active="activating", sub="start-post")
WAITING = replace(SERVING, active="activating", sub="auto-restart", result="exit-code")
FAILED = replace(SERVING, active="failed", sub="failed", result="exit-code")


class Done(Exception):
    """Carry what a module returned."""

    def __init__(self, failed: bool, result: Mapping[str, Any]) -> None:
        super().__init__(str(result.get("msg")))
        self.failed = failed
        self.result = result


class Module:
    """Stand in for AnsibleModule."""

    def __init__(self, check_mode: bool = False, **given: Any) -> None:
        self.check_mode = check_mode
        self.params = given

    def exit_json(self, **result: Any) -> None:
        raise Done(False, result)

    def fail_json(self, **result: Any) -> None:
        raise Done(True, result)


class Host:
    """Hold a host's service below a folder; systemd obeys and is remembered."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.status = ABSENT
        self.calls: list[str] = []
        self.user = False
        self.journal: list[str] = []
        self.owner = ""
        (root / "model").mkdir()
        (root / "model" / "weights.safetensors").write_bytes(b"1")
        self.given: dict[str, Any] = {
            "unit": UNIT,
            "user": "vllm",
            "groups": ["provision"],
            "unit_text": unit_text(root, _free_port()),
            "environment_text": 'A="1"\n',
            "api_key_file": None,
            "api_key_pending": False,
            "key_variable": "VLLM_API_KEY",
            "units": [UNIT],
            "replaced": False,
            "consent": False,
            "restarts": 0,
            "poll": 0,
            "causes": [],
        }

    def key_file(self, key: str) -> str:
        """Leave an API key where the controller leaves it, and return the file."""
        path = engine_files.setting(UNIT, ".secret")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(key)
        return str(path)

    def systemctl(self, *words: str, seconds: float = 0) -> str:
        del seconds
        self.calls.append(" ".join(words))
        if words[-2:] in (("start", UNIT), ("restart", UNIT)):
            self.start()
        if words[0] == "stop":
            self.status = replace(self.status, active="inactive", sub="dead")
        if words[0] == "enable":
            self.status = replace(self.status, enabled=True, load="loaded")
        return ""

    def start(self) -> None:
        """Do what the unit's start does: record the signature, and answer."""
        inputs.record(UNIT, str(self.root / "model"))
        self.status = SERVING

    def call(self, state: str = "present", check_mode: bool = False, **changes: Any) -> Done:
        """Run the module and return how it ended."""
        self.calls.clear()
        self.given |= changes
        states = {
            "present": engine_service.start,
            "verified": engine_service.wait,
            "inspected": engine_service.request_removal,
            "absent": engine_service.remove,
        }
        module = Module(check_mode, **self.given)
        with pytest.raises(Done) as end:
            run_module(module, lambda: states[state](module))
        return end.value

    def files(self) -> dict[str, str]:
        """Return every file of the service by name."""
        folders = [self.root / name for name in ("units", "settings", "library")]
        found = {path.name: path.read_bytes() for folder in folders for path in folder.glob("*")}
        return {name: content.decode(errors="replace") for name, content in found.items()}


def unit_text(root: Path, port: int) -> str:
    """Return a unit file that runs the gate, as the template writes it."""
    words = ["preflight", "--unit", UNIT, "--address", "127.0.0.1", "--port", str(port)]
    words = [
        "/usr/bin/python3",
        "/usr/local/lib/provision/serve-gate",
        *words,
        "--model-dir",
        f"{root}/model",
    ]
    quoted = " ".join(f'"{word}"' for word in words)
    return f"# Managed by provision; x\n[Service]\nUser=vllm\nExecStartPre=+{quoted}\n"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    made = Host(tmp_path)
    monkeypatch.setattr(managed, "UNITS", tmp_path / "units")
    for name in ("SETTINGS", "LIBRARY", "STATES"):
        monkeypatch.setattr(engine_files, name, tmp_path / name.lower())
    monkeypatch.setattr(engine_files, "STARTED", tmp_path / "run" / "started")
    monkeypatch.setattr(engine_files, "GATE", tmp_path / "library" / "serve-gate")
    monkeypatch.setattr(engine_files, "user_is_right", lambda *_: made.user)
    monkeypatch.setattr(engine_files, "make_user", lambda *_: setattr(made, "user", True))
    monkeypatch.setattr(engine_files, "remove_user", lambda *_: setattr(made, "user", False))
    # Only root can give files away, and the tests need not be root.
    monkeypatch.setattr("os.fchown", lambda *_: None)
    monkeypatch.setattr("grp.getgrnam", lambda _: type("Group", (), {"gr_gid": 0}))
    monkeypatch.setattr(
        engine_files.ManagedFile,
        "is_right",
        lambda file: file.path.exists() and file.current() == file.content,
    )
    monkeypatch.setattr(engine_service, "gpu_containers", list)
    monkeypatch.setattr(systemd, "state", lambda _: made.status)
    monkeypatch.setattr(systemd, "systemctl", made.systemctl)
    monkeypatch.setattr(systemd, "forgive", lambda _: made.calls.append("forgive"))
    monkeypatch.setattr(causes, "journal", lambda *_: made.journal)
    return made


def test_the_first_run_writes_enables_and_starts(host: Host) -> None:
    end = host.call()
    assert (end.failed, end.result["changed"], end.result["serving"]) == (False, True, False)
    assert set(host.files()) == {UNIT, "vllm.env", "serve-gate"}
    assert host.calls == ["daemon-reload", f"enable {UNIT}", "forgive", f"--no-block start {UNIT}"]
    assert host.user


def test_containers_that_may_lose_their_gpus_are_named_before_a_reload(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = {"engine": "docker", "id": "ab" * 32, "pid": 7, "process": "train", "devices": ["/dev/nvidia0"]}
    monkeypatch.setattr(engine_service, "gpu_containers", lambda: [{**one, "holds": True}])
    (warning,) = host.call().result["provision"]["warning"]
    assert "docker container abababababab (train, process 7) holds /dev/nvidia0" in warning


def test_the_second_run_changes_nothing(host: Host) -> None:
    host.call()
    end = host.call()
    assert (end.result["changed"], end.result["serving"], host.calls) == (False, True, [])


def test_a_change_needs_consent_and_touches_nothing_without(host: Host) -> None:
    host.call()
    before = host.files()
    end = host.call(environment_text='A="2"\n')
    assert end.failed
    assert end.result["provision"]["consent"] == [f"restart {UNIT}: environment changed"]
    assert (host.files(), host.calls) == (before, [])


def test_a_change_with_consent_restarts_without_a_reload(host: Host) -> None:
    host.call()
    end = host.call(environment_text='A="2"\n', consent=True)
    assert end.result["action"] == "restart"
    assert host.calls == ["forgive", f"--no-block restart {UNIT}"]


def test_a_dry_run_shows_the_change_and_the_consent_it_needs(host: Host) -> None:
    host.call()
    before = host.files()
    end = host.call(check_mode=True, environment_text='A="2"\n')
    assert (end.failed, end.result["changed"]) == (False, True)
    assert end.result["diff"][0]["after"] == 'A="2"\n'
    assert end.result["provision"]["consent"]
    assert (host.files(), host.calls) == (before, [])


def test_replaced_weights_restart_the_engine(host: Host) -> None:
    host.call()
    (host.root / "model" / "weights.safetensors").write_bytes(b"22")
    end = host.call()
    assert end.result["provision"]["consent"] == [f"restart {UNIT}: model files changed"]


def test_a_run_that_was_killed_before_the_restart_is_completed(host: Host) -> None:
    host.call()
    (host.root / "settings" / "vllm.env").write_text('A="2"\n')
    end = host.call(environment_text='A="2"\n', consent=True)
    assert (end.result["action"], end.result["diff"]) == ("restart", [])


def test_a_start_in_progress_is_joined(host: Host) -> None:
    host.call()
    host.status = STARTING
    end = host.call()
    assert (end.result["changed"], end.result["serving"], host.calls) == (False, False, [])


def test_a_failed_unit_is_started_again_without_consent(host: Host) -> None:
    host.call()
    host.status = FAILED
    assert host.call().result["action"] == "start"


def test_a_foreign_owner_of_the_port_is_named_before_anything(host: Host) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        end = host.call(unit_text=unit_text(host.root, port))
    assert end.failed
    assert f"port {port} is taken by" in end.result["msg"]
    assert (host.files(), host.calls) == ({}, [])


def test_the_services_own_process_may_hold_the_port() -> None:
    group = Path("/proc/self/cgroup").read_text().strip().rsplit(":", 1)[-1] or "/"
    own = replace(SERVING, control_group=group)
    pid = Path("/proc/self").resolve().name
    assert processes.Holder(int(pid), "python").is_of(own.control_group)
    assert not processes.Holder(int(pid), "python").is_of(ABSENT.control_group)
    assert not processes.Holder(0, "").is_of(own.control_group)
    assert processes.Holder(2**22 + 1, "python").is_of(own.control_group)  # ended meanwhile


def _taken_by_unit(
    host: Host, monkeypatch: pytest.MonkeyPatch, units: list[str], check_mode: bool = False
) -> Done:
    left = host.root / "units" / "vllm-old.service"
    left.parent.mkdir(exist_ok=True)
    left.write_text(host.given["unit_text"])
    group = "0::/system.slice/vllm-old.service\n"
    monkeypatch.setattr(processes, "control_groups", lambda _: group)
    with socket.create_server(("127.0.0.1", 0)) as server:
        text = unit_text(host.root, server.getsockname()[1])
        return host.call(check_mode=check_mode, unit_text=text, units=units)


def test_a_dry_run_knows_that_a_service_that_left_the_inventory_goes_first(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not _taken_by_unit(host, monkeypatch, [UNIT], check_mode=True).failed
    assert "is taken by" in _taken_by_unit(host, monkeypatch, [UNIT]).result["msg"]


def test_a_service_of_the_inventory_keeps_its_port(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    end = _taken_by_unit(host, monkeypatch, [UNIT, "vllm-old.service"], check_mode=True)
    assert end.failed
    assert "(pid " in end.result["msg"]


@pytest.mark.parametrize(
    ("groups", "unit"),
    [
        ("0::/system.slice/vllm.service\n", UNIT),
        ("1:name=systemd:/system.slice/vllm.service/worker\n0::/\n", UNIT),
        ("0::/system.slice/other.service\n", ""),
        ("0::/user.slice/user-1000.slice\n", ""),
    ],
)
def test_finds_the_unit_of_a_process(
    host: Host, monkeypatch: pytest.MonkeyPatch, groups: str, unit: str
) -> None:
    host.call()
    (host.root / "units" / "other.service").write_text(UNIT_OF_OTHERS)
    monkeypatch.setattr(processes, "control_groups", lambda _: groups)
    assert processes.Holder(1, "python").unit() == unit


def test_the_gate_is_packed_and_replaced_without_a_restart(host: Host) -> None:
    host.call()
    path = host.root / "library" / "serve-gate"
    assert f"{gate.__name__.replace('.', '/')}.py" in zipfile.ZipFile(path).namelist()
    path.write_text("# the gate of an earlier release\n")
    end = host.call()
    assert (end.result["changed"], end.result["action"], host.calls) == (True, "", [])
    assert end.result["diff"][0]["before"] == "(a program)\n"
    assert host.call().result["changed"] is False


def test_the_key_is_written_and_never_shown(host: Host) -> None:
    end = host.call(api_key_file=host.key_file('sk-"canary\n'))
    assert host.files()["vllm.key"] == 'VLLM_API_KEY="sk-\\"canary"\n'
    assert "canary" not in json.dumps(end.result)
    assert engine_files.read_key(UNIT) == 'sk-"canary'


def test_a_check_tells_of_a_key_that_it_does_not_copy(host: Host) -> None:
    host.call()
    end = host.call(check_mode=True, consent=True, api_key_file="/nowhere", api_key_pending=True)
    assert end.result["changed"]
    assert "vllm.key" not in host.files()


def test_a_key_that_is_no_longer_asked_for_is_removed(host: Host) -> None:
    host.call(api_key_file=host.key_file("sk-1"))
    end = host.call(api_key_file=None, consent=True)
    assert end.result["changed"]
    assert {"vllm.key", "vllm.secret"} & set(host.files()) == set()
    assert engine_files.read_key(UNIT) == ""


@pytest.mark.parametrize("key", ["", "two words", "two\nlines", "schlüssel"])
def test_a_key_that_cannot_be_sent_is_refused(key: str) -> None:
    with pytest.raises(Fault, match="API key") as refusal:
        engine_files.key_line("KEY", key)
    assert "serve_api_key_file" in refusal.value.next_step


@pytest.mark.parametrize(
    ("status", "baseline", "failed"),
    [
        (STARTING, 0, False),
        (WAITING, 0, True),
        (FAILED, 0, True),
        (ABSENT, 0, True),
        (replace(STARTING, restarts=1), 0, True),
        (replace(WAITING, restarts=1), 2, False),
        (replace(STARTING, restarts=2), 2, False),
        (replace(WAITING, restarts=2), 2, True),
        (replace(STARTING, active="deactivating"), 0, False),
    ],
)
def test_tells_a_failed_start_from_a_recovery(status: UnitState, baseline: int, failed: bool) -> None:
    assert engine_service.has_failed(status, baseline) is failed


def test_waiting_reports_progress_and_then_the_end(host: Host) -> None:
    host.status, host.journal = STARTING, ["Loading weights 50%"]
    end = host.call("verified")
    assert end.result["finished"] is False
    assert "Loading weights 50%" in end.result["provision"]["progress"]["label"]
    host.status = SERVING
    assert host.call("verified").result["finished"] is True


def test_a_failed_start_is_explained_and_its_loop_stopped(host: Host) -> None:
    host.status, host.journal = WAITING, ["OSError: [Errno 28] No space left on device"]
    end = host.call("verified")
    assert end.failed
    assert "the disk is full" in end.result["msg"]
    assert "No space left on device" in end.result["msg"]
    assert end.result["provision"]["next"]
    assert host.calls == [f"stop {UNIT}"]


def test_removing_needs_consent_while_it_serves(host: Host) -> None:
    host.call()
    before = host.files()
    end = host.call("absent")
    assert end.failed
    assert end.result["provision"]["consent"] == [f"stop and remove {UNIT}"]
    assert (host.files(), host.calls) == (before, [])


def test_removing_leaves_nothing_and_a_second_time_changes_nothing(host: Host) -> None:
    host.call(api_key_file=host.key_file("sk-1"))
    (host.root / "states" / "vllm").mkdir(parents=True)
    end = host.call("absent", consent=True)
    assert end.result["changed"]
    assert host.files() == {}
    assert not (host.root / "states").exists()
    assert not engine_files.STARTED.exists()
    assert not host.user
    assert f"disable {UNIT}" in host.calls
    host.status = ABSENT
    assert host.call("absent").result["changed"] is False


def test_what_the_inventory_no_longer_names_goes_with_consent_alone(host: Host) -> None:
    host.call()
    before = host.files()
    host.status = FAILED  # serving or not
    what = f"remove {UNIT}, which is no longer in the inventory, and what only it uses"
    end = host.call("inspected")
    assert (end.failed, end.result["provision"]["consent"]) == (True, [what])
    end = host.call("inspected", check_mode=True)
    assert (end.failed, end.result["provision"]["warning"]) == (False, [f"would {what}"])
    end = host.call("inspected", consent=True)
    assert (end.failed, end.result) == (False, {"changed": False, "provision": {}})
    assert (host.files(), host.calls) == (before, [])


def test_a_service_that_another_one_replaces_leaves_the_user(host: Host) -> None:
    host.call()
    host.call("absent", consent=True, replaced=True)
    assert host.files() == {}
    assert host.user


UNIT_OF_OTHERS = "[Service]\nExecStart=/opt/other\n"


def _foreign_unit(host: Host) -> Path:
    path: Path = host.root / "units" / UNIT
    path.parent.mkdir(exist_ok=True)
    path.write_text(UNIT_OF_OTHERS)
    return path


def _existing_user(monkeypatch: pytest.MonkeyPatch, comment: str) -> None:
    monkeypatch.setattr("pwd.getpwnam", lambda _: type("User", (), {"pw_gecos": comment}))


def test_a_unit_of_somebody_else_is_neither_overwritten_nor_removed(host: Host) -> None:
    path = _foreign_unit(host)
    end = host.call()
    assert end.failed
    assert "was not created by provision" in end.result["msg"]
    assert "serve_name" in end.result["provision"]["next"]
    host.status = SERVING
    assert host.call("absent", consent=True).result["changed"] is False
    assert (path.read_text(), host.calls, host.files()) == (UNIT_OF_OTHERS, [], {UNIT: UNIT_OF_OTHERS})


def test_a_masked_unit_is_somebody_elses(host: Host) -> None:
    (host.root / "units").mkdir()
    (host.root / "units" / UNIT).symlink_to("/dev/null")
    assert host.call().failed
    assert (host.root / "units" / UNIT).is_symlink()


def test_a_user_of_somebody_else_is_not_taken_over(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    _existing_user(monkeypatch, "Vera Lloyd,,,")
    end = host.call()
    assert end.failed
    assert "user vllm exists and was not created by provision" in end.result["msg"]
    assert "--comment provision-engine vllm" in end.result["provision"]["next"]
    assert (host.files(), host.user) == ({}, False)


def test_a_user_of_ours_is_kept(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    _existing_user(monkeypatch, "provision-engine")
    assert not host.call().failed


def test_a_user_without_comment_is_ours_while_a_unit_of_ours_runs_as_it(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.call()
    _existing_user(monkeypatch, "")
    assert host.call().result["changed"] is False
    host.call("absent", consent=True)
    assert not host.user


def test_removing_leaves_a_user_of_somebody_else(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    _existing_user(monkeypatch, "Vera Lloyd")
    host.user = True
    assert host.call("absent", consent=True).result["changed"] is False
    assert host.user


def test_the_made_user_says_what_it_is_for(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, ...]] = []
    monkeypatch.setattr(engine_files, "_known", lambda *_: False)
    monkeypatch.setattr(engine_files, "_account", lambda *argv: asked.append(argv))
    engine_files.make_user("vllm", [])
    (made,) = [argv for argv in asked if argv[0] == "useradd"]
    assert made[made.index("--comment") + 1] == "provision-engine"
    assert made[-1] == "vllm"


def test_removing_one_of_two_keeps_what_they_share(host: Host) -> None:
    host.call()
    other = host.root / "units" / "vllm@second.service"
    other.write_text(host.given["unit_text"])
    host.call("absent", consent=True)
    assert set(host.files()) == {"vllm@second.service", "serve-gate"}
    assert host.user
