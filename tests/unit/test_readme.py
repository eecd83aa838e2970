# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
from pathlib import Path

import pytest

from provisioner.fleet import inventory, spec


@pytest.mark.parametrize("name", ["README.md", "README.zh-CN.md"])
def test_the_inventories_that_are_explained_are_good_ones(name: str, checkout: Path, tmp_path: Path) -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", (checkout / name).read_text(), re.DOTALL)
    for file in ("vllm.key", "modelscope.token"):
        (tmp_path / file).write_text("made-up-key\n")
    fleets = []
    for number, block in enumerate(blocks):
        path = tmp_path / f"{number}.yml"
        path.write_text(block.replace("/home/ops", str(tmp_path)))
        fleets.append(spec.load(inventory.load(str(path))))
    first, second = fleets[0].hosts
    assert (first.services[0].port, second.services[0].port) == (8000, 8001)
    assert first.services[0].model.source == "modelscope"
    assert [fleet.hosts[0].services[0].engine.name for fleet in fleets] == ["vllm", "ollama"]


def test_the_words_of_groups_that_are_explained_are_good_ones(checkout: Path, tmp_path: Path) -> None:
    driver, conda = re.findall(r"```ini\n(.*?)```", (checkout / "README.md").read_text(), re.DOTALL)
    (tmp_path / "mirror.netrc").touch()
    path = tmp_path / "gpu.ini"
    hosts = "[gpu]\ngpu1 serve_engine=vllm serve_model=Qwen/Qwen3-8B\n"
    path.write_text(hosts + driver + conda.replace("/home/ops", str(tmp_path)).replace("[gpu:vars]\n", ""))
    (host,) = spec.load(inventory.load(str(path))).hosts
    assert host.services[0].engine.name == "vllm"
    assert host.compatibility.driver.branch == 580
