# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from provisioner.lab import image
from provisioner.lab.image import Recipe

RECIPE = Recipe(
    name="debian13",
    suite="trixie",
    sources=("deb http://mirror.example/debian trixie main",),
    apt_options=('Acquire::http::Proxy "http://proxy.example";',),
    certificates={"company.crt": b"CA"},
)


def test_equal_recipes_are_the_same_image() -> None:
    assert RECIPE.tag == dataclasses.replace(RECIPE).tag


@pytest.mark.parametrize(
    "change",
    [
        {"suite": "bookworm"},
        {"sources": ("deb http://other.example/debian trixie main",)},
        {"packages": ("python3",)},
        {"apt_options": ()},
        {"certificates": {"company.crt": b"another"}},
    ],
)
def test_any_change_of_a_recipe_makes_another_image(change: dict[str, Any]) -> None:
    assert dataclasses.replace(RECIPE, **change).digest != RECIPE.digest


def test_a_lab_host_is_bare() -> None:
    assert not [package for package in image.PACKAGES if "python" in package or "curl" in package]
    assert {"systemd-sysv", "openssh-server", "ca-certificates"} <= set(image.PACKAGES)


@pytest.mark.parametrize(("user", "mode"), [(0, "root"), (1000, "unshare")])
def test_the_build_command(user: int, mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: user)
    argv = image.mmdebstrap_argv(RECIPE, Path("/work"), Path("/work/root.tar"))
    assert f"--mode={mode}" in argv
    assert '--aptopt=Acquire::Check-Valid-Until "false";' in argv
    assert '--aptopt=Acquire::http::Proxy "http://proxy.example";' in argv
    assert "--customize-hook=copy-in /work/lab-company.crt /usr/local/share/ca-certificates" in argv
    assert argv[-3:] == ["trixie", "/work/root.tar", "deb http://mirror.example/debian trixie main"]
