# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Any

import pytest

from provisioner.fleet import container_runtime


def found(engine: str = "podman", **given: Any) -> list[tuple[str, str]]:
    words = {f"container_runtime_{name}": value for name, value in {"engine": engine, **given}.items()}
    return [(one.variable, f"{one.reason}; {one.hint}") for one in container_runtime.check(words)]


@pytest.mark.parametrize(
    ("engine", "given"),
    [
        ("none", {"toolkit_version": "1.2", "cdi": False, "repository": "nowhere"}),
        ("podman", {}),
        ("podman", {"toolkit_version": "1.20.1-1", "cdi": True}),
        ("podman", {"toolkit_version": "{{ version }}", "cdi": "{{ cdi }}", "repository": "{{ mirror }}"}),
        ("docker", {"cdi": False, "docker_repository": ""}),
        # It has a known hole, and a host that has it is to be removable.
        ("docker", {"toolkit_version": "1.19.0-1"}),
        ("podman", {"repository_key": "file:///mnt/gpgkey"}),
        ("docker", {"docker_repository": "https://mirror.example.com/rhel/{major}/{arch}/stable"}),
        ("{{ engine }}", {"toolkit_version": "1.2"}),
    ],
)
def test_what_can_be_is_right(engine: str, given: dict[str, Any]) -> None:
    assert found(engine, **given) == []


@pytest.mark.parametrize(
    ("engine", "given", "variable", "said"),
    [
        ("podman", {"toolkit_version": "1.20"}, "toolkit_version", "a version with its revision; write"),
        ("podman", {"toolkit_version": 1.2}, "toolkit_version", "a version with its revision"),
        ("podman", {"cdi": False}, "cdi", "podman gives GPUs to containers only through CDI; set it to true"),
        ("podman", {"cdi": "no"}, "cdi", "only through CDI"),
        ("podman", {"cdi": "f"}, "cdi", "only through CDI"),
        ("podman", {"repository": "mirror.example.com"}, "repository", "is not a URL"),
        ("docker", {"docker_repository": "https://mirror"}, "docker_repository", "is not a URL"),
    ],
)
def test_what_cannot_be_is_told_without_a_host(
    engine: str, given: dict[str, Any], variable: str, said: str
) -> None:
    ((name, text),) = found(engine, **given)
    assert name == f"container_runtime_{variable}"
    assert said in text
