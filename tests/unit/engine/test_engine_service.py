# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import functools
import json
import socket
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.module_utils.provision.engine import files as engine_files
from ansible.module_utils.provision.engine import gate, inputs, processes
from ansible.module_utils.provision.host import managed
from ansible.module_utils.provision.host.entry import end as end_module
from ansible.module_utils.provision.host.fault import Fault
from ansible.module_utils.provision.host.systemd import UnitState

from provisioner.ansible.modules import engine_service
from tests.unit.engine.conftest import SERVING as RUNNING
from tests.unit.fakes import Programs, Said, Systemd

UNIT = "vllm.service"
ABSENT = UnitState()
SERVING = replace(RUNNING, main_pid=4242, active_seconds=60.0)
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


class Host(Systemd):
    """Hold a host's service below a folder, and its users and groups."""

    def __init__(self, root: Path, programs: Programs) -> None:
        super().__init__(programs)
        self.root = root
        self.users: dict[str, str] = {}
        self.groups: dict[str, list[str]] = {"root": []}
        self.containers: list[dict[str, Any]] = []
        for name in ("useradd", "userdel", "groupadd", "groupdel", "usermod"):
            programs.add(name, functools.partial(self.account, name))
        for name in ("stat", "setpriv"):
            programs.add(name)
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
            "task": "auto",
            "tasks": ["generate"],
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
        path.write_text(key)
        return str(path)

    def control(self, argv: Sequence[str]) -> Said:
        if list(argv[-2:]) in (["start", UNIT], ["restart", UNIT]):
            self.start()
        return super().control(argv)

    def account(self, program: str, argv: Sequence[str]) -> Said:
        """Obey a program that changes users and groups."""
        name = argv[-1]
        if program == "useradd":
            self.users[name] = argv[argv.index("--comment") + 1]
        elif program == "groupadd":
            self.groups[name] = []
        elif program == "usermod":
            for group in argv[argv.index("--groups") + 1].split(","):
                self.groups[group].append(name)
        else:
            (self.users if program == "userdel" else self.groups).pop(name)
        return Said()

    def named_user(self, name: str) -> Any:
        return SimpleNamespace(pw_gecos=self.users[name], pw_uid=1, pw_gid=0)

    def named_group(self, name: str) -> Any:
        return SimpleNamespace(gr_gid=0, gr_mem=self.groups[name])

    def start(self) -> None:
        """Do what the unit's start does: record the signature, and answer."""
        inputs.record(UNIT, str(self.root / "model"))
        self.state = SERVING

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
            end_module(module, states[state])
        return end.value

    def files(self) -> dict[str, str]:
        """Return every file of the service by name."""
        folders = (managed.UNITS, engine_files.SETTINGS, engine_files.LIBRARY)
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
def host(root: Path, programs: Programs, monkeypatch: pytest.MonkeyPatch) -> Host:
    made = Host(root, programs)
    monkeypatch.setattr("pwd.getpwnam", made.named_user)
    monkeypatch.setattr("grp.getgrnam", made.named_group)
    # Only root can give files away, and the tests need not be root.
    monkeypatch.setattr("os.fchown", lambda *_: None)
    monkeypatch.setattr(
        engine_files.ManagedFile,
        "is_right",
        lambda file: file.path.exists() and file.current() == file.content,
    )
    monkeypatch.setattr(engine_service, "gpu_containers", lambda: made.containers)
    return made


def test_the_first_run_writes_enables_and_starts(host: Host) -> None:
    end = host.call()
    assert (end.failed, end.result["changed"], end.result["serving"]) == (False, True, False)
    assert set(host.files()) == {UNIT, "vllm.env", "serve-gate"}
    assert host.calls == [
        "daemon-reload",
        f"enable {UNIT}",
        f"reset-failed {UNIT}",
        f"--no-block start {UNIT}",
    ]
    assert "vllm" in host.users


def test_containers_that_may_lose_their_gpus_are_named_before_a_reload(host: Host) -> None:
    one = {"engine": "docker", "id": "ab" * 32, "pid": 7, "process": "train", "devices": ["/dev/nvidia0"]}
    host.containers = [{**one, "holds": True}]
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
    assert host.calls == [f"reset-failed {UNIT}", f"--no-block restart {UNIT}"]


def test_a_dry_run_shows_the_change_and_the_consent_it_needs(host: Host) -> None:
    host.call()
    before = host.files()
    end = host.call(check_mode=True, environment_text='A="2"\n')
    assert (end.failed, end.result["changed"]) == (False, True)
    assert (end.result["diff"][0]["before"], end.result["diff"][0]["after"]) == ('A="1"\n', 'A="2"\n')
    assert end.result["provision"]["consent"]
    assert (host.files(), host.calls) == (before, [])


def test_replaced_weights_restart_the_engine(host: Host) -> None:
    host.call()
    (host.root / "model" / "weights.safetensors").write_bytes(b"22")
    end = host.call()
    assert end.result["provision"]["consent"] == [f"restart {UNIT}: model files changed"]


def test_a_model_that_the_engine_cannot_read_is_refused_before_the_start(
    host: Host, programs: Programs
) -> None:
    programs.add("setpriv", str(host.root / "model"))
    end = host.call()
    assert end.failed
    assert end.result["msg"].startswith(f"vllm cannot read {host.root}/model (mode ")
    assert "set model_store_root (or serve_model" in end.result["provision"]["next"]
    assert (host.calls, managed.managed()) == ([], {})


def test_a_group_that_is_the_main_one_of_someone_stays(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.call()
    monkeypatch.setattr("pwd.getpwall", lambda: [SimpleNamespace(pw_gid=0)])
    end = host.call("absent", consent=True)
    assert not end.failed
    assert ("vllm" in host.users, "vllm" in host.groups) == (False, True)


def test_a_run_that_was_killed_before_the_restart_is_completed(host: Host) -> None:
    host.call()
    (engine_files.setting(UNIT, ".env")).write_text('A="2"\n')
    end = host.call(environment_text='A="2"\n', consent=True)
    assert (end.result["action"], end.result["diff"]) == ("restart", [])


def test_a_start_in_progress_is_joined(host: Host) -> None:
    host.call()
    host.state = STARTING
    end = host.call()
    assert (end.result["changed"], end.result["serving"], host.calls) == (False, False, [])


def test_a_failed_unit_is_started_again_without_consent(host: Host) -> None:
    host.call()
    host.state = FAILED
    assert host.call().result["action"] == "start"


def test_a_foreign_owner_of_the_port_is_named_before_anything(host: Host) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        end = host.call(unit_text=unit_text(host.root, port))
    assert end.failed
    assert f"port {port} is taken by" in end.result["msg"]
    assert (host.files(), host.calls) == ({}, [])


def test_an_owner_in_the_other_family_is_named_where_the_engine_listens_on_both(host: Host) -> None:
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as server:
        port = server.getsockname()[1]
        text = unit_text(host.root, port).replace("127.0.0.1", "0.0.0.0")
        alone = host.call(unit_text=text, addresses=["0.0.0.0"], check_mode=True)
        both = host.call(unit_text=text, addresses=["0.0.0.0", "::"])
    assert not alone.failed
    assert both.failed
    assert f"port {port} is taken by" in both.result["msg"]


def test_the_services_own_process_may_hold_the_port() -> None:
    group = Path("/proc/self/cgroup").read_text().strip().rsplit(":", 1)[-1] or "/"
    own = replace(SERVING, control_group=group)
    pid = Path("/proc/self").resolve().name
    assert processes.Holder(int(pid), "python").is_of(own.control_group)
    assert not processes.Holder(int(pid), "python").is_of(ABSENT.control_group)
    assert not processes.Holder(0, "").is_of(own.control_group)
    assert processes.Holder(2**22 + 1, "python").is_of(own.control_group)  # ended meanwhile


def _let_processes_be_in(monkeypatch: pytest.MonkeyPatch, groups: str) -> None:
    monkeypatch.setattr(processes, "control_groups", lambda _: groups)


def _taken_by_unit(
    host: Host, monkeypatch: pytest.MonkeyPatch, units: list[str], check_mode: bool = False
) -> Done:
    left = managed.UNITS / "vllm-old.service"
    left.write_text(host.given["unit_text"])
    _let_processes_be_in(monkeypatch, "0::/system.slice/vllm-old.service\n")
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
    (managed.UNITS / "other.service").write_text(UNIT_OF_OTHERS)
    _let_processes_be_in(monkeypatch, groups)
    assert processes.Holder(1, "python").unit() == unit


def test_the_gate_is_packed_and_replaced_without_a_restart(host: Host) -> None:
    host.call()
    path = engine_files.GATE
    assert f"{gate.__name__.replace('.', '/')}.py" in zipfile.ZipFile(path).namelist()
    path.write_text("# the gate of an earlier release\n")
    end = host.call()
    assert (end.result["changed"], end.result["action"], host.calls) == (True, "", [])
    assert end.result["diff"][0]["before"] == "(a program)\n"
    assert host.call().result["changed"] is False


def test_a_diff_shows_mode_and_owner(host: Host) -> None:
    path = host.root / "etc/x"
    file = engine_files.ManagedFile(path, b"A=1\n", 0o640, "daemon")
    assert file.diff()["before_header"] == f"{path} (absent)"
    assert file.diff()["after_header"] == f"{path} (mode 0640, owner root:daemon)"
    path.write_text("A=1\n")
    path.chmod(0o604)
    shown = file.diff()
    assert shown["before"].startswith("mode 0604, owner ")
    assert shown["after"] == "mode 0640, owner root:daemon\n"
    path.write_text("A=2\n")
    assert (file.diff()["before"], file.diff()["after"]) == ("A=2\n", "A=1\n")
    assert "mode 0604" in file.diff()["before_header"]


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
    host.state, host.journal = STARTING, ["Loading weights 50%"]
    end = host.call("verified")
    assert end.result["finished"] is False
    assert "Loading weights 50%" in end.result["provision"]["progress"]["label"]
    host.state = SERVING
    assert host.call("verified").result["finished"] is True


def test_a_failed_start_is_explained_and_its_loop_stopped(host: Host) -> None:
    host.state, host.journal = WAITING, ["OSError: [Errno 28] No space left on device"]
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
    (engine_files.STATES / "vllm").mkdir(parents=True)
    end = host.call("absent", consent=True)
    assert end.result["changed"]
    assert host.files() == {}
    assert not engine_files.STATES.exists()
    assert not engine_files.STARTED.exists()
    assert not host.users
    assert f"disable {UNIT}" in host.calls
    host.state = ABSENT
    assert host.call("absent").result["changed"] is False


def test_what_the_inventory_no_longer_names_goes_with_consent_alone(host: Host) -> None:
    host.call()
    before = host.files()
    host.state = FAILED  # serving or not
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
    assert "vllm" in host.users


UNIT_OF_OTHERS = "[Service]\nExecStart=/opt/other\n"


def _foreign_unit() -> Path:
    path: Path = managed.UNITS / UNIT
    path.write_text(UNIT_OF_OTHERS)
    return path


def test_a_unit_of_somebody_else_is_neither_overwritten_nor_removed(host: Host) -> None:
    path = _foreign_unit()
    end = host.call()
    assert end.failed
    assert "was not created by provision" in end.result["msg"]
    assert "serve_name" in end.result["provision"]["next"]
    host.state = SERVING
    assert host.call("absent", consent=True).result["changed"] is False
    assert (path.read_text(), host.calls, host.files()) == (UNIT_OF_OTHERS, [], {UNIT: UNIT_OF_OTHERS})


def test_a_masked_unit_is_somebody_elses(host: Host) -> None:
    (managed.UNITS / UNIT).symlink_to("/dev/null")
    end = host.call()
    assert (end.failed, end.result["msg"]) == (True, f"{UNIT} is masked")
    assert end.result["provision"]["next"].startswith(f"run `systemctl unmask {UNIT}` on the host")
    assert (managed.UNITS / UNIT).is_symlink()


def test_an_alias_of_another_unit_is_not_called_masked(host: Host) -> None:
    (managed.UNITS / UNIT).symlink_to("other.service")
    assert "was not created by provision" in host.call().result["msg"]


def test_a_user_of_somebody_else_is_not_taken_over(host: Host) -> None:
    host.users["vllm"] = "Vera Lloyd,,,"
    end = host.call()
    assert end.failed
    assert "user vllm exists and was not created by provision" in end.result["msg"]
    assert "--comment provision-engine vllm" in end.result["provision"]["next"]
    assert (host.files(), list(host.users)) == ({}, ["vllm"])


def test_a_user_of_ours_is_kept(host: Host) -> None:
    host.users["vllm"] = "provision-engine"
    assert not host.call().failed


def test_a_user_without_comment_is_ours_while_a_unit_of_ours_runs_as_it(host: Host) -> None:
    host.call()
    host.users["vllm"] = ""
    assert host.call().result["changed"] is False
    host.call("absent", consent=True)
    assert not host.users


def test_removing_leaves_a_user_of_somebody_else(host: Host) -> None:
    host.users["vllm"] = "Vera Lloyd"
    assert host.call("absent", consent=True).result["changed"] is False
    assert "vllm" in host.users


def test_the_made_user_says_what_it_is_for_and_reads_models(host: Host) -> None:
    host.call()
    assert host.users == {"vllm": "provision-engine"}
    assert host.groups == {"root": [], "provision": ["vllm"], "vllm": []}


def test_removing_one_of_two_keeps_what_they_share(host: Host) -> None:
    host.call()
    other = managed.UNITS / "vllm@second.service"
    other.write_text(host.given["unit_text"])
    host.call("absent", consent=True)
    assert set(host.files()) == {"vllm@second.service", "serve-gate"}
    assert "vllm" in host.users
