# SPDX-License-Identifier: Apache-2.0
"""Choose device, packages and GPUs of every engine on hosts of every kind, as the roles themselves do."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

from provisioner.ansible.action import engine_device
from provisioner.fleet import variables
from tests.contract import tree
from tests.unit import engine_roles

ENGINES = ("vllm", "ollama", "llamacpp")
EVERY_ENGINE = pytest.mark.parametrize("engine", ENGINES)
WORKS = engine_roles.driver()
HANGS = engine_roles.driver(version=None, problem="the NVIDIA driver hangs", next="boot the host")
ON_BUS = [{"slot": "0000:1b:00.0"}]


def gpu(index: int = 0, name: str = "NVIDIA H100", capability: str = "9.0", **more: Any) -> dict[str, Any]:
    return {
        "index": index,
        "uuid": f"GPU-{index}a2b3c4d-0000-0000-0000-00000000000{index}",
        "name": name,
        "compute_capability": capability,
        "pci": f"0000:{0x1B + index:02x}:00.0",
        "mig": False,
        "mig_devices": None,
        **more,
    }


H100, T4, V100 = gpu(), gpu(name="Tesla T4", capability="7.5"), gpu(name="Tesla V100", capability="7.0")
PAIR = [gpu(0), gpu(1)]


class Host:
    """Hold the variables of one engine's role for a service on a host."""

    def __init__(
        self, engine: str, gpus: list[dict[str, Any]], driver: dict[str, Any] = WORKS, **changes: Any
    ) -> None:
        role, loader = tree.ROOT / f"roles/engine_{engine}", DataLoader()
        service = {
            **variables.defaults(f"engine_{engine}"),
            "engine_ollama_models_dir": "/models",
            "engine": engine,
            "title": engine,
            "unit": f"{engine}.service",
            "serve_address": "127.0.0.1",
            "serve_port": 8000,
            "serve_gpus": [],
            "serve_env": {},
            "serve_task": "auto",
            "tasks": ["generate"],
            "serve_args": [],
            "serve_api_key_file": None,
            "served_name": "org/model",
            "model_dir": "/models/org",
            **changes,
        }
        probe = {
            "gpus": gpus,
            "driver": driver,
            "nvidia_pci": ON_BUS,
            "memory_bytes": 64 << 30,
            "os": {"arch": "x86_64", "family": "debian", "major": 13},
        }
        known = {
            **engine_roles.load(role / "vars/main.yml"),
            f"__engine_{engine}_metadata": engine_roles.load(role / "engine.yml"),
            "engine_common_gguf_result": {"file": "/models/org/model.gguf", "task": "generate"},
            "ansible_facts": {
                "host_probe": probe,
                "python_envs": dict.fromkeys(("vllm-cpu", "vllm-cuda"), "/opt/env"),
                "release_archives": dict.fromkeys(("llamacpp", "llamacpp-libraries", "ollama"), "/opt/one"),
            },
            "service": service,
        }
        if engine != "vllm":
            pins = engine_roles.load(role / "files/archives.yml")
            known[f"__engine_{engine}_{'archives' if engine == 'llamacpp' else 'pins'}"] = pins
        self.engine = engine
        self.chosen = engine_roles.choose(f"engine_{engine}", Templar(loader, known))
        self._templar = Templar(loader, {**known, "engine_common_device_result": self.chosen})

    def value(self, name: str) -> Any:
        return self._templar.template(trust_as_template("{{ __engine_" + self.engine + "_" + name + " }}"))


# vLLM's packages begin with Turing; the other two run on what is older.
@pytest.mark.parametrize(
    ("engine", "card", "device"),
    [(engine, card, "cuda") for engine in ENGINES for card in (H100, T4)]
    + [("vllm", V100, "refused"), ("ollama", V100, "cuda"), ("llamacpp", V100, "cuda")],
    ids=lambda value: value["name"] if isinstance(value, dict) else value,
)
def test_each_gpu_is_used_or_refused(engine: str, card: dict[str, Any], device: str) -> None:
    chosen = Host(engine, [card]).chosen
    assert ("refused" if chosen.get("failed") else chosen["device"]) == device
    if device == "refused":
        assert chosen["msg"] == (
            "vllm needs compute capability 7.5 or newer, but the host has driver 580.95.05 for CUDA 13.0 and "
            "Tesla V100 (7.0)"
        )
        assert (
            "engine_vllm_device to cpu, or set engine_vllm_requirements to your own build"
            in chosen["provision"]["next"]
        )


@EVERY_ENGINE
def test_a_host_without_gpus_runs_on_the_cpu(engine: str) -> None:
    host = Host(engine, [], engine_roles.driver(version=None, cuda=None))
    assert (host.chosen["device"], host.value("device")) == ("cpu", "cpu")
    assert host.value("environment")["CUDA_VISIBLE_DEVICES"] in ("", "-1")


@EVERY_ENGINE
def test_a_broken_driver_is_refused_by_the_engines_own_word(engine: str) -> None:
    chosen = Host(engine, [], HANGS).chosen
    assert chosen["msg"] == (
        "the NVIDIA driver hangs (0000:1b:00.0). To fix it, boot the host. "
        f"To run this service on the CPU, set engine_{engine}_device: cpu."
    )
    assert chosen["provision"]["next"] == "boot the host"
    assert chosen["device"] == "cuda"
    on_cpu: dict[str, Any] = {f"engine_{engine}_device": "cpu"}
    assert not Host(engine, [], HANGS, **on_cpu).chosen.get("failed")


@EVERY_ENGINE
def test_what_asks_for_a_gpu_does_not_run_without_one(engine: str) -> None:
    bare = engine_roles.driver(version=None, cuda=None)
    ways: list[dict[str, Any]] = [{f"engine_{engine}_device": "cuda"}, {"serve_gpus": ["0"]}]
    for asked in ways:
        assert "the driver shows no GPU" in Host(engine, [], bare, **asked).chosen["msg"]
    both: dict[str, Any] = {"serve_gpus": ["0"], f"engine_{engine}_device": "cpu"}
    contradiction = Host(engine, PAIR, **both).chosen
    assert contradiction["msg"] == f"engine_{engine}_device is cpu and serve_gpus is 0"


@EVERY_ENGINE
@pytest.mark.parametrize(
    "name", ["1", 1, PAIR[1]["uuid"], "GPU-1a2b", "gpu-1A2B", "0000:1c:00.0", "00000000:1C:00.0", "1c:00"]
)
def test_whatever_names_a_gpu_the_service_is_given_its_uuid(engine: str, name: str | int) -> None:
    host = Host(engine, PAIR, serve_gpus=[name])
    assert host.value("environment")["CUDA_VISIBLE_DEVICES"] == PAIR[1]["uuid"]


@EVERY_ENGINE
def test_the_order_of_the_names_is_kept_and_none_leaves_the_choice_to_the_engine(engine: str) -> None:
    both = Host(engine, PAIR, serve_gpus=["1c:00.0", "0"])
    uuids = [PAIR[1]["uuid"], PAIR[0]["uuid"]]
    assert both.value("environment")["CUDA_VISIBLE_DEVICES"] == ",".join(uuids)
    free = Host(engine, PAIR)
    assert "CUDA_VISIBLE_DEVICES" not in free.value("environment")
    assert len(free.chosen["gpus"]) == (1 if engine == "vllm" else 2)


def test_llamacpp_is_given_as_many_devices_as_it_may_see() -> None:
    assert Host("llamacpp", PAIR).value("environment")["LLAMA_ARG_DEVICE"] == "CUDA0,CUDA1"
    one = Host("llamacpp", PAIR, serve_gpus=["1"]).value("environment")
    assert one["LLAMA_ARG_DEVICE"] == "CUDA0"


@pytest.mark.parametrize(
    ("engine", "driver", "says"),
    [
        ("vllm", {"version": "570.133.20", "cuda": "12.8"}, "driver 580 and a driver for CUDA 13 or newer"),
        ("ollama", {"version": "545.23.08", "cuda": "12.3"}, "NVIDIA driver 550 or newer"),
        ("llamacpp", {"version": "560.35.03", "cuda": "12.6"}, "driver 570 and a driver for CUDA 12.8 or"),
    ],
)
def test_a_driver_that_is_too_old_for_the_packages_is_refused(
    engine: str, driver: dict[str, Any], says: str
) -> None:
    chosen = Host(engine, [H100], engine_roles.driver(**driver)).chosen
    assert says in chosen["msg"]
    assert chosen["provision"]["next"].startswith("update the driver, set engine_")


def test_ones_own_builds_are_ones_own_business() -> None:
    old = engine_roles.driver(version="470.1", cuda="11.4")
    own: dict[str, Any] = {
        "engine_llamacpp_url": "https://x.example/a.tar.gz",
        "engine_llamacpp_sha256": "f" * 64,
    }
    assert not Host("llamacpp", [V100], old, **own).chosen.get("failed")
    assert not Host("vllm", [V100], old, engine_vllm_requirements="own.txt").chosen.get("failed")


def test_the_packages_are_those_of_the_device() -> None:
    assert Host("vllm", [H100]).value("environment_name") == "vllm-cuda"
    assert Host("vllm", []).value("environment_name") == "vllm-cpu"
    assert "cuda-12.8" in Host("llamacpp", [H100]).value("url")
    assert Host("llamacpp", []).value("url").endswith("ubuntu-x64.tar.gz")


def choose(*names: str, gpus: list[dict[str, Any]] | None = None) -> list[str]:
    asked = engine_device.Requested("vllm.service", "vLLM", "vllm", names=names)
    _, found = engine_device.choose(asked, WORKS, PAIR if gpus is None else gpus, ON_BUS)
    return [one["uuid"] for one in found]


@pytest.mark.parametrize("name", ["2", "GPU-9", "0000:99:00.0", "0001:1b:00.0", "1b:00.1", "H100", "-1"])
def test_a_name_of_nothing_lists_what_there_is(name: str) -> None:
    with pytest.raises(engine_device.Refused) as caught:
        choose(name)
    assert str(caught.value).startswith(
        f"serve_gpus contains {name}, which is not one of this host's GPUs: 0 = "
    )
    for one in PAIR:
        assert f"{one['index']} = {one['uuid']} = {one['pci']} (NVIDIA H100)" in str(caught.value)


def test_a_beginning_that_several_gpus_share_is_refused() -> None:
    twins = [gpu(0, uuid="GPU-1a2b"), gpu(1, uuid="GPU-1a2c")]
    with pytest.raises(engine_device.Refused, match="GPU-1a2, which is the beginning of 2 UUIDs"):
        choose("GPU-1a2", gpus=twins)
    assert choose("GPU-1a2c", gpus=twins) == ["GPU-1a2c"]


def test_one_gpu_is_not_named_twice() -> None:
    with pytest.raises(engine_device.Refused, match=r"one GPU twice, as 0 and as 1b:00\.0"):
        choose("0", "1b:00.0")


DIVIDED = gpu(0, mig=True, mig_devices=["MIG-aaaa", "MIG-bbbb"])


def test_a_part_of_a_divided_gpu_is_passed_on_and_the_whole_is_refused() -> None:
    gpus = [DIVIDED, gpu(1)]
    assert choose("mig-bbbb", "1", gpus=gpus) == ["MIG-bbbb", PAIR[1]["uuid"]]
    with pytest.raises(engine_device.Refused, match="GPU 0 in MIG mode") as caught:
        choose("0", gpus=gpus)
    assert "the GPU has MIG-aaaa, MIG-bbbb" in caught.value.next_step
    with pytest.raises(engine_device.Refused, match="MIG-cccc, but the driver shows MIG-aaaa, MIG-bbbb"):
        choose("MIG-cccc", gpus=gpus)
    with pytest.raises(engine_device.Refused, match="shows no MIG device"):
        choose("MIG-aaaa", gpus=PAIR)


def test_an_old_library_leaves_the_parts_to_cuda() -> None:
    assert choose("MIG-GPU-1/1/0", gpus=[gpu(mig=True)]) == ["MIG-GPU-1/1/0"]


def test_a_divided_gpu_that_nobody_named_is_a_warning() -> None:
    (warning,) = Host("ollama", [DIVIDED]).chosen["provision"]["warning"]
    assert "ollama.service uses only the first MIG device of GPU 0" in warning


def crowd(share: float, *others: tuple[str, float], named: bool = False) -> list[str]:
    uuids = [one["uuid"] for one in PAIR]
    using = {unit: {"gpus": uuids[:1], "share": other, "named": named} for unit, other in others}
    names = ("0",) if named else ()
    asked = engine_device.Requested("b.service", "b", "b", names=names, share=share)
    return engine_device.crowded(asked, PAIR, using)


def test_two_services_on_one_gpu_that_nobody_gave_to_both_are_a_warning() -> None:
    (warning,) = crowd(0.92, ("a.service", 0.92))
    assert warning == (
        "b.service and a.service both use GPU 0 (b.service takes 92% of its memory, a.service takes 92% of "
        "its memory); give each its own GPUs in serve_gpus"
    )
    assert "a.service takes 92%" in crowd(0, ("a.service", 0.92))[0]
    assert crowd(0, ("a.service", 0))[0].startswith("b.service and a.service both use GPU 0; give")


def test_what_was_made_to_fit_or_meant_is_no_warning() -> None:
    assert not crowd(0.45, ("a.service", 0.45))
    assert not crowd(0, ("a.service", 0.5))
    assert not crowd(0.92, ("a.service", 0.92), named=True)
    # A later service says it, once.
    assert not crowd(0.92, ("b.service", 0.92), ("c.service", 0.92))
    elsewhere = {"a.service": {"gpus": ["GPU-other"], "share": 0.92, "named": False}}
    asked = engine_device.Requested("b.service", "b", "b", share=0.92)
    assert not engine_device.crowded(asked, PAIR, elsewhere)


def test_vllm_tells_the_share_that_it_takes() -> None:
    assert Host("vllm", PAIR).chosen["using"] == {"gpus": [PAIR[0]["uuid"]], "share": 0.92, "named": False}
    half = Host("vllm", PAIR, engine_vllm_gpu_memory_utilization=0.5, engine_vllm_tensor_parallel_size=2)
    assert (half.chosen["using"]["share"], len(half.chosen["using"]["gpus"])) == (0.5, 2)
