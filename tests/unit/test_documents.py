# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import yaml

from provisioner import content, documents


@pytest.mark.parametrize("name", ["engine_vllm/engine.yml", "cuda_toolkit/files/compatibility.yml"])
def test_a_python_without_libyaml_reads_the_same(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fast = documents.read(content.roles() / name)
    monkeypatch.setattr(documents, "LOADER", yaml.SafeLoader)
    assert documents.read(content.roles() / name) == fast


def test_a_python_with_libyaml_uses_it() -> None:
    assert (documents.LOADER is yaml.SafeLoader) != yaml.__with_libyaml__
