# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest

from provisioner.errors import LabError
from provisioner.lab import keyring


def test_keys_that_vouch_for_the_images_will_do(tmp_path: Path) -> None:
    (tmp_path / f"{keyring.NEWEST_NEEDED}.gpg").touch()
    keyring.check(tmp_path)


def test_keys_that_are_too_old_are_refused_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "debian-archive-bullseye-automatic.gpg").touch()
    with pytest.raises(LabError, match="too old") as caught:
        keyring.check(tmp_path)
    assert "debian-archive-keyring of 2023" in str(caught.value.next_step)
