# SPDX-License-Identifier: Apache-2.0
"""Let conda bring the Python of an environment, on a real host with a real systemd.

The installer is a stand-in that lies on the host, unless PROVISION_CONDA=real asks for the pinned Miniforge
itself, for which the host needs the internet.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.host.conftest import HOST
from tests.e2e.machines import LONGEST_SECONDS, Machines
from tests.host.python.standin import installer

REAL = os.environ.get("PROVISION_CONDA") == "real"
ROOT = "/opt/provision/conda"
HANG = "/run/conda-stand-in-hangs"
# A version that the stand-in can be in earnest about: it hands over to whatever Python the host has.
PYTHON = "3.12.11"
MIRROR = {"python_env_conda_channel_alias": "https://mirror.example/conda"}
RECAP = re.compile(rf"^{HOST}\s.*\bchanged=(\d+).*\bfailed=(\d+)", re.MULTILINE)


@dataclass(frozen=True)
class Played:
    """Hold what one run did."""

    changed: int
    failed: int
    said: str


@dataclass(frozen=True)
class Conda:
    """A host that has a Python for Ansible and no environment."""

    machines: Machines
    checkout: Path

    def sh(self, script: str, *, check: bool = True) -> str:
        """Run a shell script on the host."""
        return self.machines.sh(HOST, script, check=check)

    def place(self, name: str, content: bytes) -> dict[str, str]:
        """Put a stand-in on the host, and return the words that name it."""
        packed = base64.b64encode(content).decode()
        self.sh(f"mkdir -p /srv/conda && echo {packed} | base64 -d > /srv/conda/{name}.sh")
        words = {"url": f"file:///srv/conda/{name}.sh", "sha256": hashlib.sha256(content).hexdigest()}
        return {f"python_env_conda_{key}": value for key, value in words.items()}

    def argv(self, *options: str, **words: Any) -> list[str]:
        """Return the command that plays the role with some words."""
        given: dict[str, Any] = {"python_env_provider": "miniforge", "python_env_conda_python": PYTHON}
        given |= {"stand_in": not REAL, "gone": False, **words}
        playbook = str(self.checkout / "tests/e2e/host/conda.yml")
        ansible = [sys.executable, "-m", "ansible", "playbook", playbook, "-i", str(self.machines.inventory)]
        return [*ansible, "--limit", HOST, "-e", json.dumps(given), *options]

    def play(self, *options: str, **words: Any) -> Played:
        """Play the role to its end."""
        done = subprocess.run(
            self.argv(*options, **words),
            cwd=self.checkout,
            capture_output=True,
            text=True,
            timeout=LONGEST_SECONDS,
            check=False,
        )
        said = done.stdout + done.stderr
        recap = RECAP.search(done.stdout)
        assert recap, said[-6000:]
        return Played(int(recap.group(1)), int(recap.group(2)), said)

    def right(self, *options: str, **words: Any) -> Played:
        """Play the role, which has to end well."""
        played = self.play(*options, **words)
        assert played.failed == 0, played.said[-6000:]
        return played

    def prefixes(self) -> list[str]:
        """List the prefixes on the host."""
        return self.sh(f"ls {ROOT} 2> /dev/null || true").split()


@pytest.fixture
def conda(machines: Machines, checkout: Path) -> Iterator[Conda]:
    """Give a host without conda, and take everything away again."""
    found = Conda(machines, checkout)
    yield found
    if found.prefixes():
        found.play(gone=True)
    found.sh(f"rm -rf {ROOT} /srv/conda /srv/theirs {HANG}")


def test_an_environment_is_made_with_it_and_goes_with_it(conda: Conda) -> None:
    words = {} if REAL else {**MIRROR, **conda.place("one", installer(python="/usr/bin/python3"))}
    assert conda.right("--check", "--diff", **words).changed > 0
    assert conda.prefixes() == []

    conda.right(**words)
    (prefix,) = conda.prefixes()
    assert prefix.startswith("miniforge-")
    python = conda.sh("cat /opt/provision/envs/conda-test-*/.provision-python").strip()
    assert python.startswith(f"{ROOT}/{prefix}/envs/python-{PYTHON}-")
    assert "uv" in conda.sh("/opt/provision/envs/conda-test-*/bin/uv --version")
    if REAL:
        said = conda.sh("/opt/provision/envs/conda-test-*/bin/python --version")
        assert said.strip() == f"Python {PYTHON}"
    # Neither a shell nor the PATH knows of it, and no user's own settings were read or written.
    assert conda.sh("bash -lc 'command -v conda'", check=False).strip() == ""
    assert conda.sh("ls -d /root/.conda /root/.condarc 2> /dev/null", check=False).strip() == ""
    assert conda.sh(f"find {ROOT} ! -type l -perm /022").strip() == ""
    # A mirror is written to the prefix alone.
    assert REAL or MIRROR["python_env_conda_channel_alias"] in conda.sh(f"cat {ROOT}/miniforge-*/.condarc")

    assert conda.right(**words).changed == 0
    assert conda.right("--check", "--diff", **words).changed == 0
    assert conda.right(gone=True).changed > 0
    assert conda.prefixes() == []


@pytest.mark.exhaustive
@pytest.mark.skipif(REAL, reason="needs installers that fail as they are told")
def test_versions_move_up_and_down_beside_each_other(conda: Conda) -> None:
    old = conda.place("old", installer("25.3.1", python="/usr/bin/python3"))
    new = conda.place("new", installer("26.1.1", python="/usr/bin/python3"))
    low = {**old, "python_env_conda_version": "25.3.1-0"}
    conda.right(**low)
    before = conda.prefixes()
    # Something of the host's own still runs from the old one.
    environment = conda.sh("ls -d /opt/provision/envs/conda-test-*").strip()
    conda.sh(f"printf '[Service]\\nExecStart={environment}/bin/python\\n' > /etc/systemd/system/own.service")
    conda.right(**new)
    assert len(conda.prefixes()) == 2
    assert conda.right(**low).changed > 0
    conda.sh("rm /etc/systemd/system/own.service")
    conda.right(**new)
    (after,) = conda.prefixes()
    assert [after] != before


@pytest.mark.skipif(REAL, reason="needs installers that fail as they are told")
def test_an_installer_that_fails_midway_is_quoted_and_leaves_nothing(conda: Conda) -> None:
    failing = conda.place("two", installer(midway="echo 'no space in the stand-in' >&2; exit 3"))
    midway = conda.play(**failing)
    assert "no space in the stand-in" in midway.said
    assert conda.prefixes() == []


@pytest.mark.exhaustive
@pytest.mark.skipif(REAL, reason="needs installers that fail as they are told")
def test_what_is_wrong_is_said_and_changes_nothing(conda: Conda) -> None:
    words = conda.place("one", installer(python="/usr/bin/python3"))
    wrong = conda.play(**{**words, "python_env_conda_sha256": "ab" * 32})
    assert wrong.failed == 1
    assert f"expected {'ab' * 32}" in wrong.said
    assert conda.prefixes() == []

    conda.sh("mkdir -p /srv/theirs/bin && echo theirs > /srv/theirs/bin/conda")
    foreign = conda.play(**words, python_env_conda_prefix="/srv/theirs")
    assert "was not created by provision: it is left as it is" in foreign.said
    assert conda.sh("cat /srv/theirs/bin/conda && ls -A /srv/theirs").split() == ["theirs", "bin"]

    terms = conda.play(**words, python_env_conda_channels=["defaults"])
    assert "python_env_conda_accept_terms: true" in terms.said
    assert conda.prefixes() == []


@pytest.mark.skipif(REAL, reason="needs installers that fail as they are told")
def test_an_installation_that_was_killed_is_made_anew(conda: Conda) -> None:
    midway = f"while [ -e {HANG} ]; do sleep 1; done"
    words = conda.place("one", installer(midway=midway, python="/usr/bin/python3"))
    conda.sh(f"touch {HANG}")
    process = subprocess.Popen(
        conda.argv(**words), cwd=conda.checkout, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    half = f"ls {ROOT}/miniforge-*/.provision-conda-unfinished {ROOT}/miniforge-*/conda-meta"
    conda.machines.wait(HOST, half, "the installer runs")
    conda.sh("systemctl kill --signal=KILL provision-job-conda.service")
    assert process.wait(LONGEST_SECONDS) != 0
    conda.sh(f"rm {HANG}")
    conda.right(**words)
    assert len(conda.prefixes()) == 1
    assert conda.right(**words).changed == 0
