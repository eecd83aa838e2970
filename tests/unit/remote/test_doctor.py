# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from provisioner.errors import HostError
from provisioner.fleet import services, variables
from provisioner.remote import doctor, outward
from provisioner.remote.doctor import NOTE, OK, WRONG
from provisioner.remote.reach import Hop, Way

WORDS = {"serve_engine": "vllm", "serve_model": "a/b", "serve_model_source": "modelscope"}
WAY = Way(
    "gpu1",
    services=services.resolve(WORDS, {}).services,
    variables={"python_env_index_url": "https://x.example/i"},
)
SOCKET = {"address": "127.0.0.1", "port": 8000, "pid": 7, "process": "python", "unit": "vllm.service"}
GRAPHICS: dict[str, Any] = {
    "expected": 1,
    "loaded": True,
    "installed": True,
    "problem": None,
    "faults": [],
    "notes": [],
}
GOOD: dict[str, Any] = {
    "os": {"name": "Debian 13"},
    "python": "3.13.5",
    "systemd": True,
    "disks": [{"mount": "/", "size_bytes": 1 << 40, "free_bytes": 1 << 39}],
    "secure_boot": None,
    "graphics": GRAPHICS,
    "time_service": True,
    "can_set_clock": True,
    "listening": [SOCKET],
    "reached": [
        {
            "what": "hub",
            "url": "https://h.example",
            "name": "h.example",
            "resolves": True,
            "error": "",
            "proxy": "",
        }
    ],
    "unnamed": [],
    "replaced": [{"unit": "vllm.service", "libraries": []}],
    "load": 0.5,
    "skew_s": 0.0,
}


def reached(**changes: object) -> dict[str, Any]:
    return {"reached": [{**GOOD["reached"][0], **changes}]}


def graphics(**changes: object) -> dict[str, Any]:
    return {"graphics": {**GRAPHICS, **changes}}


NONE = {"loaded": False, "installed": False, "problem": {"says": "1 NVIDIA GPU, but", "fix": "install one"}}
FAULT = {"says": "Xid 79 of 0000:1b:00.0 (the GPU\nhas fallen off the bus)", "fix": "boot the host"}


def test_a_good_host_has_no_finding_but_what_is_right() -> None:
    found = doctor.judge(WAY, GOOD)
    assert {one.level for one in found} == {OK}
    assert "reaches h.example" in found[0].says
    assert "vllm.service 1" in found[1].says


@pytest.mark.parametrize(
    ("facts", "level", "check", "says", "fix"),
    [
        ({"python": "3.6.8"}, WRONG, "python", "3.6.8", "ansible_python_interpreter"),
        ({"systemd": False}, WRONG, "systemd", "not systemd", "boots systemd"),
        ({"load": 9.0}, NOTE, "load", "9.0", "provision exec"),
        ({"disks": [{"mount": "/", "free_bytes": 1 << 30}]}, WRONG, "disk", "1.0 GiB free on /", "du "),
        ({"skew_s": -300.0}, WRONG, "clock", "300 s behind", "chrony"),
        ({"skew_s": 5.0}, NOTE, "clock", "5 s ahead of", "chrony"),
        ({"time_service": False}, NOTE, "time service", "no time service", "provision apply"),
        (reached(resolves=False), WRONG, "dns", "h.example (hub)", "resolv.conf"),
        (
            reached(error="CERTIFICATE_VERIFY_FAILED"),
            WRONG,
            "tls",
            "does not trust",
            "host_base_ca_certificates",
        ),
        (reached(error="timed out"), WRONG, "network", "timed out", "proxy"),
        (
            reached(resolves=False, proxy="proxy:1"),
            *(WRONG, "proxy", "cannot resolve the name of the proxy, proxy:1 (hub)", "host_base_proxy"),
        ),
        (
            reached(error="the proxy answered HTTP 407 Proxy Authentication Required", proxy="proxy:1"),
            *(WRONG, "proxy", "through the proxy proxy:1: the proxy refused the host", "user and password"),
        ),
        (
            reached(error="timed out", proxy="proxy:1"),
            *(WRONG, "proxy", "through the proxy proxy:1: timed out", "accepts this host"),
        ),
        (
            {**graphics(**NONE), "secure_boot": True},
            WRONG,
            "secure boot",
            "1 NVIDIA GPU, but, and Sec",
            "mokutil",
        ),
        (graphics(**NONE), NOTE, "driver", "1 NVIDIA GPU, but", "install one"),
        (
            graphics(problem={"says": "the NVIDIA driver hangs", "fix": "boot the host"}),
            *(WRONG, "driver", "the NVIDIA driver hangs", "boot the host"),
        ),
        (graphics(faults=[FAULT]), WRONG, "GPU", "Xid 79", "boot the host"),
        (graphics(notes=[FAULT]), NOTE, "GPU", "Xid 79", "boot the host"),
        ({"unnamed": ["vllm-b.service"]}, NOTE, "services", "vllm-b.service was set up", "removes it"),
        (
            {"unnamed": ["vllm-b.service"], "listening": [{**SOCKET, "unit": "vllm-b.service"}]},
            *(NOTE, "services", "no longer in the inventory", "removes it"),
        ),
        (
            {"replaced": [{"unit": "vllm.service", "libraries": [f"/usr/lib/lib{n}.so" for n in "abcd"]}]},
            *(NOTE, "updates", "liba.so, libb.so, libc.so and 1 more", "--no-block restart vllm.service"),
        ),
        ({"listening": [{**SOCKET, "unit": ""}]}, WRONG, "port", "in use by python (pid 7)", "serve_port"),
        ({"listening": [{**SOCKET, "address": "0.0.0.0"}]}, WRONG, "listening", "0.0.0.0:8000", "drop-in"),
    ],
)
def test_each_fault_is_one_finding_with_its_fix(
    facts: dict[str, Any], level: str, check: str, says: str, fix: str
) -> None:
    (found,) = [one for one in doctor.judge(WAY, {**GOOD, **facts}) if one.level != OK]
    assert (found.level, found.check) == (level, check)
    assert says in found.says
    assert fix in found.fix


def test_only_what_the_services_need_is_reached_for() -> None:
    asked = {one["what"]: one["url"] for one in outward.addresses(WAY)}
    assert asked == {"hub": "https://modelscope.cn", "Python packages": "https://x.example/i"}


def test_a_host_goes_out_through_its_proxy_and_reaches_itself_and_the_hub_directly() -> None:
    way = dataclasses.replace(WAY, variables={"host_base_proxy": {"http": "http://proxy:1"}})
    found = outward.environment(way)
    assert found["https_proxy"] == "http://proxy:1"
    assert {"gpu1", "hub.lab", "localhost"} < set(found["no_proxy"].split(","))
    assert outward.environment(WAY) == {}


def test_an_engines_own_registry_and_releases_are_reached_for_by_its_proxy() -> None:
    given = {
        "serve_engine": "ollama",
        "serve_model": "smollm2:135m",
        "serve_model_source": "ollama",
        "engine_ollama_https_proxy": "http://proxy.example:3128",
    }
    defaults = {"ollama": variables.defaults("engine_ollama")}
    asked = outward.addresses(Way("one", services=services.resolve(given, defaults).services))
    assert {one["what"]: one["url"] for one in asked} == {
        "releases": "https://github.com/",
        "model registry": "https://registry.ollama.ai",
    }
    assert [one["environment"] for one in asked] == [{"HTTPS_PROXY": "http://proxy.example:3128"}] * 2


def test_an_unreachable_host_is_a_finding() -> None:
    found = doctor.unreachable(WAY, HostError("no way", "fix it"))
    assert (found.level, found.says, found.fix) == (WRONG, "no way", "fix it")


def test_this_machine_is_examined_too(tmp_path: Path) -> None:
    key = tmp_path / "id"
    key.write_text("")
    key.chmod(0o644)
    hop = Hop("h", 22, "u", (key,))
    found = {one.check: one for one in doctor.controller([Way("gpu1", hops=(hop,))])}
    assert found["software"].level == OK
    assert found["key"].fix == f"chmod 600 {key}"
