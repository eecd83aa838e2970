# SPDX-License-Identifier: Apache-2.0
"""What is left of a host after remove: what was there before, and what is listed here."""

from __future__ import annotations

from collections.abc import Mapping

from provisioner import lab
from tests.e2e.machines import LAB, Machines

# What a removal may leave: what the package managers, the account tools and systemd keep by themselves.
LEFT = (
    "/etc/group-",
    "/etc/gshadow-",
    "/etc/passwd-",
    "/etc/shadow-",
    "/etc/subgid-",
    "/etc/subuid-",
    "/home/lab/.ansible",
    "/root/.ansible",
    "/tmp",
    "/var/cache/",
    "/var/lib/apt/",
    "/var/lib/dpkg/",
    "/var/lib/systemd/",
    "/etc/ld.so.cache",
    "/etc/.pwd.lock",
    "/var/tmp",
)


def test_remove_asks_first_then_takes_the_host_back(serving: Machines, bare: Mapping[str, str]) -> None:
    """Take back the host that was bare when the tests began."""
    serving.sh("hf", "rm -rf /srv/models")
    command = ("remove", str(serving.inventory), "--limit", "hf")
    assert "hf: remove vllm.service" in serving.provision(*command, code=2).err
    assert serving.pid("hf")

    serving.provision(*command, "--yes")
    assert serving.sh("hf", "systemctl list-unit-files --no-legend 'vllm*' 'provision-*'", check=False) == ""
    assert "model.safetensors" in serving.sh("hf", "ls /var/lib/provision/models/huggingface/*/*")

    serving.provision(*command, "--yes", "--models")
    after = lab.filesystem_digest("hf", lab=LAB)
    changed = sorted(path for path in {*bare, *after} if bare.get(path) != after.get(path))
    assert [path for path in changed if not path.startswith(LEFT)] == []
