# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest

from provisioner.errors import LabError
from provisioner.lab import keyring


def test_the_systems_own_keys_are_used_when_they_know_the_images(tmp_path: Path) -> None:
    (tmp_path / f"{keyring.NEWEST_NEEDED}.gpg").touch()
    keyring.lay_out(tmp_path / "keys", system=tmp_path)
    assert not (tmp_path / "keys").exists()


def test_elsewhere_keys_are_fetched_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched: list[str] = []
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    def download(address: str) -> bytes:
        fetched.append(address)
        return b"package"

    monkeypatch.setattr(keyring, "_download", download)
    monkeypatch.setattr(keyring, "_verified", lambda content: content)
    monkeypatch.setattr("provisioner.lab.process.run", _extract)
    for target in (tmp_path / "first", tmp_path / "second"):
        keyring.lay_out(target, system=tmp_path / "none")
        assert target.read_bytes() == b"keys"
    assert len(fetched) == 1


def _extract(argv: list[str]) -> None:
    keys = Path(argv[-1]) / "usr/share/keyrings/debian-archive-keyring.gpg"
    keys.parent.mkdir(parents=True)
    keys.write_bytes(b"keys")


def test_keys_of_another_hash_are_refused() -> None:
    with pytest.raises(LabError, match=f"instead of {keyring.SHA256}"):
        keyring._verified(b"something else")
