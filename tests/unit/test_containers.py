# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from packaging.version import Version

from provisioner import containers


def found(engine: str = "podman", **given: Any) -> list[tuple[str, str]]:
    words = {f"container_runtime_{name}": value for name, value in {"engine": engine, **given}.items()}
    return [(one.variable, f"{one.reason}; {one.hint}") for one in containers.check(words)]


def test_the_last_fix_is_free_of_every_hole() -> None:
    versions = [Version(fix["version"]) for fix in containers.fixes()]
    assert all(older < newer for older, newer in pairwise(versions))
    assert all(fix["source"] and fix["holes"] for fix in containers.fixes())
    assert found(toolkit_version=f"{versions[-1]}-1") == []


@pytest.mark.parametrize(
    ("engine", "given"),
    [
        ("none", {"toolkit_version": "1.2", "cdi": False, "repository": "nowhere"}),
        ("podman", {}),
        ("podman", {"toolkit_version": "1.20.1-1", "cdi": True}),
        ("podman", {"toolkit_version": "{{ version }}", "cdi": "{{ cdi }}", "repository": "{{ mirror }}"}),
        ("docker", {"cdi": False, "docker_repository": ""}),
        ("docker", {"docker_repository": "https://mirror.example.com/rhel/{major}/{arch}/stable"}),
        ("{{ engine }}", {"toolkit_version": "1.2"}),
    ],
)
def test_what_can_be_is_right(engine: str, given: dict[str, Any]) -> None:
    assert found(engine, **given) == []


@pytest.mark.parametrize(
    ("engine", "given", "variable", "said"),
    [
        ("podman", {"toolkit_version": "1.20"}, "toolkit_version", "no version with its revision; give"),
        ("podman", {"toolkit_version": 1.2}, "toolkit_version", "no version with its revision"),
        ("docker", {"toolkit_version": "1.9.0-1"}, "toolkit_version", "has CVE-2024-0132, CVE-2024-0133, "),
        ("docker", {"toolkit_version": "1.19.0-1"}, "toolkit_version", "has CVE-2026-24260, by which"),
        ("podman", {"cdi": False}, "cdi", "podman gives GPUs to containers by CDI alone; set it to true"),
        ("podman", {"cdi": "no"}, "cdi", "by CDI alone"),
        ("podman", {"repository": "mirror.example.com"}, "repository", "is no address"),
        ("docker", {"docker_repository": "https://mirror"}, "docker_repository", "is no address"),
    ],
)
def test_what_cannot_be_is_told_without_a_host(
    engine: str, given: dict[str, Any], variable: str, said: str
) -> None:
    ((name, text),) = found(engine, **given)
    assert name == f"container_runtime_{variable}"
    assert said in text
