# SPDX-License-Identifier: Apache-2.0
"""Render what engine_vllm gives to systemd, with Ansible's own templating."""

from __future__ import annotations

import configparser
import shlex
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.provision.engine import inputs
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

from provisioner.fleet import variables as words
from tests.unit import engine_roles

PYTHON = "/opt/provision/envs/vllm-cpu-0123456789ab/bin/python"
H200 = {
    "index": 0,
    "uuid": "GPU-1",
    "name": "H200",
    "memory_bytes": 150 << 30,
    "compute_capability": "9.0",
    "pci": "0000:1b:00.0",
}


def service(**changes: Any) -> dict[str, Any]:
    resolved: dict[str, Any] = {
        **words.defaults("engine_vllm"),
        "serve_address": "127.0.0.1",
        "serve_port": 8000,
        "serve_gpus": [],
        "serve_env": {},
        "serve_task": "auto",
        "tasks": ["generate"],
        "serve_args": [],
        "unit": "vllm.service",
        "engine": "vllm",
        "title": "vLLM",
        "health_path": "/health",
        "model_dir": "/var/lib/provision/models/huggingface/org--model/main",
        "served_name": "org/model",
        "url": "http://127.0.0.1:8000",
    }
    return {**resolved, **changes}


class Role:
    """Hold one host's variables as the role sees them."""

    def __init__(
        self,
        checkout: Path,
        gpus: list[dict[str, Any]],
        systemd: int,
        asked: dict[str, Any],
        host: dict[str, Any],
    ) -> None:
        loader = DataLoader()
        role = checkout / "roles/engine_vllm"
        variables = engine_roles.load(role / "vars/main.yml")
        facts = {
            "host_probe": {
                "gpus": gpus,
                "systemd": systemd,
                "memory_bytes": 23 << 30,
                "python": {"executable": "/usr/bin/python3"},
                "os": {"family": "debian", "major": 13, "name": "Debian 13"},
                "nvidia_pci": [],
                "container": False,
                "driver": engine_roles.driver() if gpus else engine_roles.driver(version=None, cuda=None),
                **host,
            },
            "python_envs": {f"vllm-{kind}": PYTHON[: -len("/bin/python")] for kind in ("cpu", "cuda")},
        }
        variables["__engine_vllm_metadata"] = engine_roles.load(role / "engine.yml")
        variables["python_env_result"] = {"python": "3.12"}
        common = checkout / "roles/engine_common/defaults/main.yml"
        self.defaults = engine_roles.load(common)
        self.tasks = role / "tasks"
        known = {**variables, "ansible_facts": facts, "service": asked}
        self.chosen = engine_roles.choose("engine_vllm", Templar(loader, known))
        self.templar = Templar(loader, {**known, "engine_common_device_result": self.chosen})
        self.templates = checkout / "templates"

    def value(self, name: str) -> Any:
        return self.templar.template(trust_as_template("{{ " + name + " }}"))

    def passes(self, file: str, name: str) -> bool:
        """Tell whether a check of the role's tasks passes or is left out."""
        tasks = engine_roles.load(self.tasks / file)
        (task,) = [task for task in tasks if task["name"] == name]
        that = task["ansible.builtin.assert"]["that"]
        given = {**self.templar.available_variables, **task.get("vars", {})}
        with_given = self.templar.copy_with_new_env(available_variables=given)

        def holds(condition: str) -> bool:
            found = with_given.template(trust_as_template("{{ " + condition + " }}"))
            assert isinstance(found, bool)
            return found

        if not all(map(holds, task.get("when", []))):
            return True
        return all(map(holds, [that] if isinstance(that, str) else that))

    def file(self, name: str, **changes: Any) -> str:
        given = {
            **self.defaults,
            "engine_common_argv": self.value("__engine_vllm_argv"),
            "engine_common_environment": self.value("__engine_vllm_environment"),
            "engine_common_device": self.value("__engine_vllm_device"),
            "engine_common_user": "vllm",
            "engine_common_key_variable": "VLLM_API_KEY",
            **changes,
        }
        with_given = self.templar.copy_with_new_env(
            available_variables={**self.templar.available_variables, **given}
        )
        # As the lookup does it, which leaves the backslashes of Jinja's strings alone.
        template = trust_as_template((self.templates / name).read_text())
        return str(with_given.template(template, escape_backslashes=False))


@pytest.fixture
def role(checkout: Path) -> Any:
    def make(
        gpus: list[dict[str, Any]] | None = None,
        systemd: int = 257,
        host: dict[str, Any] | None = None,
        **changes: Any,
    ) -> Role:
        return Role(checkout, gpus or [], systemd, service(**changes), host or {})

    return make


def unit(text: str) -> configparser.RawConfigParser:
    parser = configparser.RawConfigParser(strict=False, comment_prefixes=("#",), delimiters=("=",))
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(text)
    return parser


def test_the_cpu_gets_what_runs_everywhere(role: Any) -> None:
    argv = role().value("__engine_vllm_argv")
    assert argv == [
        *(PYTHON, "-m", "vllm.entrypoints.openai.api_server"),
        *("--host", "127.0.0.1", "--port", "8000"),
        *("--model", "/var/lib/provision/models/huggingface/org--model/main"),
        *("--served-model-name", "org/model", "--dtype", "float32", "--enforce-eager"),
    ]


def test_typed_words_become_arguments_and_serve_args_come_last(role: Any) -> None:
    argv = role(
        [H200, {**H200, "index": 1, "uuid": "GPU-2"}],
        serve_gpus=["0", "1"],
        engine_vllm_max_model_len=4096,
        engine_vllm_performance_mode="throughput",
        engine_vllm_gpu_memory_utilization=0.8,
        engine_vllm_trust_remote_code=True,
        serve_args=["--seed", 7],
    ).value("__engine_vllm_argv")
    text = " ".join(argv)
    assert "--dtype auto --max-model-len 4096 --performance-mode throughput --gpu-memory" in text
    assert "--gpu-memory-utilization 0.8 --tensor-parallel-size 2" in text
    assert text.endswith("--trust-remote-code --seed 7")
    assert "--enforce-eager" not in argv


def test_the_environment_of_an_inventory_wins_but_not_over_the_sandbox(role: Any) -> None:
    environment = role(serve_env={"VLLM_NO_USAGE_STATS": "0", "HOME": "/root", "NEW": 1}).value(
        "__engine_vllm_environment"
    )
    assert environment["VLLM_NO_USAGE_STATS"] == "0"
    assert environment["NEW"] == 1
    assert environment["HOME"] == "/var/lib/provision/services/vllm"
    assert environment["HF_HUB_OFFLINE"] == "1"
    assert environment["VLLM_CPU_KVCACHE_SPACE"] == 2  # an eighth of 23 GiB


def test_gpus_are_limited_to_the_asked_ones_by_what_outlives_another_ones_loss(role: Any) -> None:
    gpus = [H200, {**H200, "index": 1, "uuid": "GPU-2", "pci": "0000:1c:00.0"}]
    for names in (["1"], [1], ["GPU-2"], ["gpu-2"], ["1c:00.0"]):
        asked = role(gpus, serve_gpus=names).value("__engine_vllm_environment")
        assert asked["CUDA_VISIBLE_DEVICES"] == "GPU-2"
    every = role([H200]).value("__engine_vllm_environment")
    assert "CUDA_VISIBLE_DEVICES" not in every
    assert "VLLM_CPU_KVCACHE_SPACE" not in every


def test_the_unit_of_a_cpu_host(role: Any) -> None:
    found = unit(role().file("engine.service.j2"))["Service"]
    assert found["Type"] == "exec"
    assert found["User"] == "vllm"
    assert found["KillMode"] == "control-group"
    assert found["Restart"] == "always"
    assert found["PrivateDevices"] == "yes"
    assert "DeviceAllow" not in found
    assert "MemoryDenyWriteExecute" not in found
    assert found["ExecStartPre"].startswith(
        '+"/usr/bin/python3" "/usr/local/lib/provision/serve-gate" "preflight"'
    )
    assert shlex.split(found["ExecStart"])[0] == PYTHON
    assert '"--key-variable" "VLLM_API_KEY"' in found["ExecStartPost"]


def test_the_engine_owns_no_directory_that_the_gate_writes(role: Any) -> None:
    assert "RuntimeDirectory" not in role().file("engine.service.j2")


def test_the_unit_of_a_gpu_host_can_open_the_gpu(role: Any) -> None:
    text = role([H200]).file("engine.service.j2")
    assert "PrivateDevices=" not in text
    assert "ProtectClock=" not in text  # it would close every device
    for device in ("char-nvidia", "char-nvidiactl", "char-nvidia-uvm", "char-nvidia-frontend"):
        assert f"DeviceAllow={device} rw\n" in text


def test_an_engine_that_cuts_requests_by_itself_is_stopped_by_systemd(role: Any) -> None:
    found = unit(role().file("engine.service.j2"))["Service"]
    assert "ExecStop" not in found
    assert "SuccessExitStatus" not in found
    assert found["TimeoutStopSec"] == "60"


@pytest.mark.parametrize(("seconds", "limit"), [(30, "60"), (315, "345")])
def test_an_engine_that_waits_for_requests_is_given_a_time(role: Any, seconds: int, limit: str) -> None:
    text = role().file("engine.service.j2", engine_common_stop_seconds=seconds)
    found = unit(text)["Service"]
    words = shlex.split(found["ExecStop"].removeprefix("-"))
    assert words == [
        "/usr/bin/python3",
        "/usr/local/lib/provision/serve-gate",
        "stop",
        "--seconds",
        str(seconds),
    ]
    # systemd itself ends nothing before the command has, and what that kills has not failed.
    assert found["TimeoutStopSec"] == limit
    assert found["SuccessExitStatus"] == "SIGKILL"
    assert inputs.unit_digest(text.encode()) == inputs.unit_digest(role().file("engine.service.j2").encode())


@pytest.mark.parametrize(
    ("arguments", "seconds"),
    [
        ([], 20),
        (["--seed", 7], 20),
        (["--shutdown-timeout", 0], 20),
        (["--shutdown-timeout", 300], 320),
        (["--shutdown-timeout=300"], 320),
        (["--shutdown-t", 300], 320),
        (["--shutdown=300"], 320),
        (["--shutdown_timeout", "300", "--seed", 7], 320),
        (["--shutdown-timeout=300", "--shutdown-timeout", "20"], 40),
        (["--seed=7", "--shutdown-timeout=300"], 320),
    ],
)
def test_a_time_to_drain_that_the_user_gives_bounds_the_stop(
    role: Any, arguments: list[Any], seconds: int
) -> None:
    assert int(role(serve_args=arguments).value("__engine_vllm_stop_seconds")) == seconds


def test_an_old_systemd_gets_what_it_knows(role: Any) -> None:
    text = role(systemd=239).file("engine.service.j2")
    assert "Type=simple\n" in text
    assert "RestartSteps" not in text
    assert "RestartSteps" in role(systemd=254).file("engine.service.j2")


def test_no_character_of_an_argument_is_taken_for_systemds(role: Any) -> None:
    awkward = ['{"a": "b c"}', "100%", "$HOME", "back\\slash"]
    text = role(serve_args=awkward).file("engine.service.j2")
    line = unit(text)["Service"]["ExecStart"]
    assert line.endswith('"{\\"a\\": \\"b c\\"}" "100%%" "$$HOME" "back\\\\slash"')


def test_a_model_in_a_home_directory_can_be_read(role: Any) -> None:
    text = role(model_dir="/home/me/model").file("engine.service.j2")
    assert "ProtectHome=read-only\n" in text
    assert "ProtectHome=yes\n" in role().file("engine.service.j2")


def test_the_unit_says_whose_it_is(role: Any) -> None:
    text = role(unit="vllm@chat.service").file("engine.service.j2")
    assert unit(text)["X-Provision"]["Engine"] == "vllm"
    assert unit(text)["Service"]["StateDirectory"] == "provision/services/vllm@chat"


def test_the_gate_asks_for_the_name_that_the_api_lists_and_for_what_is_preloaded(role: Any) -> None:
    text = role().file(
        "engine.service.j2", engine_common_model="smollm2:135m", engine_common_preload=["chat:latest", "a b"]
    )
    words = shlex.split(unit(text)["Service"]["ExecStartPost"])
    assert words[words.index("--model") + 1] == "smollm2:135m"
    assert words[-4:] == ["--preload", "chat:latest", "--preload", "a b"]
    assert "--preload" not in role().file("engine.service.j2")


def test_an_engine_that_keeps_its_models_itself_depends_on_no_directory(role: Any) -> None:
    text = role().file("engine.service.j2", engine_common_model_dir="")
    assert unit(text)["Unit"]["RequiresMountsFor"] == f'"{PYTHON}"'
    assert shlex.split(unit(text)["Service"]["ExecStartPre"])[-2:] == ["--model-dir", ""]


def test_what_an_engine_may_write_is_opened_and_waited_for(role: Any) -> None:
    places = ["/srv/100% models", "/home/me/models"]
    found = unit(role().file("engine.service.j2", engine_common_writable=places))
    assert found["Service"]["ReadWritePaths"] == '"/srv/100%% models" "/home/me/models"'
    assert found["Service"]["ProtectHome"] == "read-only"
    waited = shlex.split(found["Unit"]["RequiresMountsFor"])
    assert waited == [service()["model_dir"], "/srv/100%% models", "/home/me/models", PYTHON]
    assert "ReadWritePaths" not in role().file("engine.service.j2")


def test_environment_values_are_quoted_for_systemd(role: Any) -> None:
    text = role(serve_env={"ODD": 'a "b" \\ $c'}).file("engine.env.j2")
    assert 'ODD="a \\"b\\" \\\\ $c"\n' in text
    names = [line.split("=")[0] for line in text.splitlines() if not line.startswith("#")]
    assert names == sorted(names)


def test_two_services_of_a_host_share_no_directory(role: Any) -> None:
    first, second = role().file("engine.service.j2"), role(unit="vllm@b.service").file("engine.service.j2")
    for name in ("StateDirectory", "WorkingDirectory"):
        assert unit(first)["Service"][name] != unit(second)["Service"][name]


def test_gpus_are_numbered_as_the_driver_numbers_them_and_stay_on_the_host(role: Any) -> None:
    environment = role([H200], serve_env={"NCCL_SOCKET_IFNAME": "ib0"}).value("__engine_vllm_environment")
    assert environment["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    assert environment["NCCL_SOCKET_IFNAME"] == "ib0"
    assert not {"CUDA_DEVICE_ORDER", "NCCL_SOCKET_IFNAME"} & set(role().value("__engine_vllm_environment"))


def test_compilers_of_the_environment_come_first(role: Any) -> None:
    for made in (role(), role([H200])):
        path = made.value("__engine_vllm_environment")["PATH"]
        assert path.split(":")[0] == PYTHON[: -len("/python")]
        assert path.endswith(":/usr/sbin:/usr/bin")


def test_only_the_unit_of_a_gpu_host_waits_for_nvidias_services(role: Any) -> None:
    assert unit(role().file("engine.service.j2"))["Unit"]["After"] == "network-online.target"
    after = unit(role([H200]).file("engine.service.j2"))["Unit"]["After"].split()
    assert after[1:] == ["nvidia-persistenced.service", "nvidia-fabricmanager.service"]


def test_a_gpu_always_brings_a_compiler(role: Any) -> None:
    assert role([H200], engine_vllm_enforce_eager=True).value("__engine_vllm_wanted_packages") == ["g++"]
    assert role().value("__engine_vllm_wanted_packages") == ["libnuma1"]
    compiled = role(engine_vllm_enforce_eager=False).value("__engine_vllm_wanted_packages")
    assert compiled == ["libnuma1", "g++"]


@pytest.mark.parametrize(
    ("family", "major", "package"),
    [
        ("debian", 24, "python3.12-dev"),
        ("redhat", 9, "python3.12-devel"),
        ("redhat", 10, "python3-devel"),
    ],
)
def test_the_headers_are_those_of_the_environments_python(
    role: Any, family: str, major: int, package: str
) -> None:
    made = role([H200], host={"os": {"family": family, "major": major}})
    assert made.value("__engine_vllm_headers") == package


BROKEN = engine_roles.driver(version=None, problem="the NVIDIA driver hangs", next="reboot the host")


@pytest.mark.parametrize(("device", "passes"), [("auto", False), ("cuda", False), ("cpu", True)])
def test_a_gpu_host_with_a_broken_driver_is_no_cpu_host(role: Any, device: str, passes: bool) -> None:
    made = role(host={"driver": BROKEN, "nvidia_pci": [{"slot": "0000:1b:00.0"}]}, engine_vllm_device=device)
    assert made.chosen.get("failed", False) is not passes
    assert not role([H200], engine_vllm_device=device).chosen.get("failed")


@pytest.mark.parametrize(
    ("family", "major", "requirements", "passes"),
    [
        ("redhat", 8, None, False),
        ("redhat", 8, "own.txt", True),
        ("redhat", 9, None, True),
        ("debian", 8, None, True),
    ],
)
def test_an_old_c_library_is_refused(
    role: Any, family: str, major: int, requirements: str | None, passes: bool
) -> None:
    made = role(host={"os": {"family": family, "major": major}}, engine_vllm_requirements=requirements)
    assert made.passes("preflight.yml", "Check the C library of the distribution") is passes


OLD = {**H200, "index": 1, "uuid": "GPU-2", "name": "V100", "compute_capability": "7.0"}


@pytest.mark.parametrize(
    ("driver", "gpus", "asked", "says"),
    [
        ({}, [H200], {}, ""),
        ({"version": "1000.1"}, [{**H200, "compute_capability": "10.3"}], {}, ""),
        ({"version": "570.133.20"}, [H200], {}, "NVIDIA driver 580"),
        ({"cuda": "12.8"}, [H200], {}, "a driver for CUDA 13"),
        ({"version": "[N/A]", "cuda": None}, [{**H200, "compute_capability": "[N/A]"}], {}, ""),
        ({"version": None, "cuda": None}, [H200], {}, ""),
        ({}, [OLD], {}, "compute capability 7.5"),
        ({}, [H200, OLD], {}, ""),
        ({}, [H200, OLD], {"engine_vllm_tensor_parallel_size": 2}, "V100 (7.0)"),
        ({}, [H200, OLD], {"serve_gpus": ["0"]}, ""),
        ({}, [H200, OLD], {"serve_gpus": [1]}, "V100 (7.0)"),
        ({}, [H200, OLD], {"serve_gpus": ["GPU-2"]}, "V100 (7.0)"),
        ({"version": "570.133.20"}, [OLD], {"engine_vllm_device": "cpu"}, ""),
        ({"version": "570.133.20"}, [H200], {"engine_vllm_requirements": "own.txt"}, ""),
    ],
)
def test_an_old_driver_or_gpu_is_refused(
    role: Any, driver: dict[str, Any], gpus: list[dict[str, Any]], asked: dict[str, Any], says: str
) -> None:
    made = role(gpus, host={"driver": engine_roles.driver(**driver)}, **asked)
    assert made.chosen.get("failed", False) is bool(says)
    assert says in made.chosen.get("msg", "")
