# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
from pathlib import Path

import pytest

from provisioner import inventory, spec


@pytest.mark.parametrize("name", ["README.md", "README.zh-CN.md"])
def test_the_inventory_that_is_explained_is_a_good_one(name: str, checkout: Path, tmp_path: Path) -> None:
    (block,) = re.findall(r"```yaml\n(.*?)```", (checkout / name).read_text(), re.DOTALL)
    for file in ("vllm.key", "modelscope.token"):
        (tmp_path / file).touch()
    path = tmp_path / "gpu.yml"
    path.write_text(block.replace("/home/ops", str(tmp_path)))
    first, second = spec.load(inventory.load(str(path))).hosts
    assert (first.services[0].port, second.services[0].port) == (8000, 8001)
    assert first.services[0].model.source == "modelscope"
