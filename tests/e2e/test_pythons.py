# SPDX-License-Identifier: Apache-2.0
"""Unit, contract and Ansible tests with other versions of Python, and the newest ansible-core for each.

The Python of this machine runs them beside this file; a container of a Debian has a newer one.
"""

from __future__ import annotations

import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from provisioner.lab import controller, image, layers, platforms
from provisioner.lab.layers import Layer
from provisioner.lab.podman import connect

# The suite of Debian that has a version; none has 3.12, and then this machine must.
SUITES = {"3.14": "debian-unstable", "3.13": "debian13"}
PACKAGES = ("gcc", "git", "gpg", "kmod", "libc6-dev", "openssh-client", "openssl", "python3-venv", "zstd")
FOLDERS = ("tests/unit", "tests/ansible", "tests/contract")
# Programs of hosts meet the newest Python in every run too, on lab hosts of Debian unstable.
MORE_FOLDERS = ("tests/host",)
# Of the contributor's tools, those that the tests import or run.
TOOLS = ("huggingface-hub", "modelscope-hub", "paramiko", "pytest", "pytest-xdist", "ruff", "yamllint")
RUN = """
set -eu
python=$1 source=$2 work=$3
shift 3
mkdir -p "$work/checkout"
git -c safe.directory='*' -C "$source" ls-files -z --cached --others --exclude-standard > "$work/files"
tar --create --directory="$source" --null --files-from="$work/files" --ignore-failed-read |
    tar --extract --directory="$work/checkout"
git init --quiet "$work/checkout"
"$python" -m venv "$work/venv"
cd "$work/checkout"
"$work/venv/bin/python" -m pip install --quiet --editable . $TOOLS
exec "$work/venv/bin/python" -m pytest -q --numprocesses=2 --no-loadscope-reorder "$@"
"""
LONGEST_SECONDS = 1800


@pytest.mark.parametrize(
    "version",
    [
        "3.14",
        pytest.param("3.13", marks=pytest.mark.exhaustive),
        pytest.param("3.12", marks=pytest.mark.exhaustive),
    ],
)
def test_the_quick_tests_pass(
    checkout: Path, tmp_path: Path, request: pytest.FixtureRequest, version: str
) -> None:
    folders = (*FOLDERS, *(MORE_FOLDERS if request.config.getoption("--exhaustive") else ()))
    argv = contained(checkout, version) if version in SUITES else here(checkout, version, tmp_path)
    done = subprocess.run(
        [*argv, *folders],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=LONGEST_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-8000:]


def tools(checkout: Path) -> str:
    """Return the pinned tools that the tests import, as pip wants them."""
    group = tomllib.loads((checkout / "pyproject.toml").read_text())["dependency-groups"]["dev"]
    found = [pin for pin in group if pin.partition("==")[0] in TOOLS]
    assert len(found) == len(TOOLS)
    return " ".join(found)


def here(checkout: Path, version: str, work: Path) -> list[str]:
    """Return the command that runs the tests with this machine's own Python of a version."""
    python = shutil.which(f"python{version}")
    if python is None:
        pytest.fail(f"install Python {version}, which no suite of Debian has")
    return ["env", f"TOOLS={tools(checkout)}", "sh", "-c", RUN, "sh", python, str(checkout), str(work)]


def recipe(suite: str) -> Layer:
    """Return the recipe of the image that has a newer Python."""
    return platforms.with_packages(image.recipe(suite), "tests", *PACKAGES)


def contained(checkout: Path, version: str) -> list[str]:
    """Return the command that runs the tests in a container, with this machine's package index."""
    podman, wanted = connect(start=True), recipe(SUITES[version])
    layers.build(podman, wanted, print)
    return podman.argv(
        "run",
        "--rm",
        "--network=host",
        "--pids-limit=0",
        "--security-opt=label=disable",
        "--security-opt=apparmor=unconfined",
        *(f"--ulimit={name}={value}:{value}" for name, value in controller.ulimits().items()),
        "--env=PIP_*",
        f"--env=TOOLS={tools(checkout)}",
        "--env=PYTHONWARNINGS=",
        *(f"--volume={folder}:{folder}:ro" for folder in controller.wheel_folders()),
        f"--volume={checkout}:{checkout}:ro",
        wanted.tag,
        *("sh", "-c", RUN, "sh", f"python{version}", str(checkout), "/tmp/work"),
    )
