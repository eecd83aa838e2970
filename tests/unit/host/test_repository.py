# SPDX-License-Identifier: Apache-2.0
"""A repository is named only with a key whose fingerprint is pinned."""

from __future__ import annotations

import base64
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.provision.host import openpgp
from ansible.module_utils.provision.host import repository as nvidia_repository
from ansible.module_utils.provision.host.fault import Fault
from ansible.module_utils.provision.host.repository import Repository

from provisioner.ansible.modules.nvidia_repository import Change, add, remove

# A key made for this test; its secret half is gone.
KEY = base64.b64decode(
    "mDMEawYiYhYJKwYBBAHaRw8BAQdAACPCu+SHNxBOizBnOq49K40IuBxmFMUvMxCdpK2phty0FFRlc3Qgb2YgYSBy"
    "ZXBvc2l0b3J5iJAEExYIADgWIQSUozajabX60tZi9hg5hP0Yv3UHvgUCawYiYgIbAwULCQgHAgYVCgkICwIEFgID"
    "AQIeAQIXgAAKCRA5hP0Yv3UHvp2PAQClHss7DV0Yy12Z1lc5EYVTWgw4u+i10urEYafAq1ljYAEAnlZxzyM2Iaqj"
    "b11KHUy/WzvjQwq+lKDrJbg0Lsal1Qc="
)
URL = "http://mirror.example/ubuntu2404/x86_64"


def fingerprint() -> str:
    return str(openpgp.fingerprints(KEY)[0])


def repository(root: Path, **words: Any) -> Repository:
    given = {"fingerprints": (fingerprint(),), "key_text": openpgp.armoured(KEY), **words}
    return Repository(name="nvidia", url=URL, key_url=f"{URL}/key.pub", root=root, **given)


@pytest.fixture(params=["apt", "dnf"])
def root(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    found = "/usr/bin/apt-get" if request.param == "apt" else None
    monkeypatch.setattr(nvidia_repository.shutil, "which", lambda _: found)
    for folder in ("etc/apt/sources.list.d", "etc/apt/preferences.d", "etc/yum.repos.d"):
        (tmp_path / folder).mkdir(parents=True)
    return tmp_path


def test_fingerprints_are_those_of_gpg(tmp_path: Path) -> None:
    gpg = shutil.which("gpg")
    if gpg is None:
        pytest.skip("gpg is not installed here")
    argv: list[str | Path] = [gpg, "--homedir", tmp_path, "--batch", "--with-colons", "--show-keys"]
    shown = subprocess.run(argv, input=KEY, capture_output=True, check=True).stdout.decode()
    assert f":{fingerprint()}:" in shown


def test_armour_is_taken_off_again() -> None:
    text = openpgp.armoured(KEY)
    assert openpgp.fingerprints(text.encode()) == [fingerprint()]


@pytest.mark.parametrize("content", [b"", b"<html>login first</html>", KEY[:20]])
def test_what_is_no_key_is_said_to_be_none(root: Path, content: bytes) -> None:
    text = content.decode("latin-1") or " "
    with pytest.raises(Fault, match="is not an OpenPGP key"):
        add(repository(root, key_text=text), Change(dry=False), replace=False)


def test_a_second_run_changes_nothing(root: Path) -> None:
    wanted = repository(root)
    first, second = Change(dry=False), Change(dry=False)
    add(wanted, first, replace=False)
    add(wanted, second, replace=False)
    assert first.diff
    assert second.diff == []
    assert str(wanted.key.relative_to(root)) in wanted.source.read_text()
    assert URL in wanted.source.read_text()


def test_a_dry_run_writes_nothing_and_fetches_nothing(root: Path) -> None:
    wanted = repository(root, key_text="")
    change = Change(dry=True)
    add(wanted, change, replace=False)
    assert change.diff
    assert not wanted.source.exists()


def test_another_key_is_refused_with_both_fingerprints(root: Path) -> None:
    wanted = repository(root, fingerprints=("AB" * 20,), key_word="nvidia_driver_repository_keys")
    with pytest.raises(Fault) as raised:
        add(wanted, Change(dry=False), replace=False)
    assert fingerprint() in str(raised.value)
    assert "AB" * 20 in str(raised.value)
    assert "nvidia_driver_repository_keys" in raised.value.next_step
    assert not wanted.source.exists()


def test_a_key_may_be_pinned_by_the_hash_of_its_file(root: Path) -> None:
    text = openpgp.armoured(KEY)
    with_head = text.replace("\n\n", "\nVersion: GnuPG v2.0.22\n\n", 1)
    digest = nvidia_repository._digest(text)
    add(
        repository(root, fingerprints=(digest.lower(),), key_text=with_head), Change(dry=False), replace=False
    )


@pytest.mark.parametrize("word", ["url", "key_url"])
def test_a_password_never_gets_into_a_file_that_everybody_may_read(root: Path, word: str) -> None:
    changed: dict[str, Any] = {word: "https://me:secret@mirror.example/here"}
    known = replace(repository(root), **changed)
    with pytest.raises(Fault, match=r"https://mirror\.example/here contains a password") as refused:
        add(known, Change(dry=False), replace=False)
    assert "secret" not in f"{refused.value} {refused.value.next_step}"
    assert not known.source.exists()


def test_another_source_of_the_same_repository_is_refused_or_moved(root: Path) -> None:
    wanted = repository(root)
    rival = wanted.source.with_name(f"cuda{'.list' if wanted.is_apt else '.repo'}")
    rival.write_text(f"deb {URL}/ /\n" if wanted.is_apt else f"[cuda]\nbaseurl={URL}/\nenabled = 1\n")
    with pytest.raises(Fault, match=rival.name):
        add(wanted, Change(dry=False), replace=False)
    add(wanted, Change(dry=False), replace=True)
    assert not rival.exists()
    remove(wanted, Change(dry=False))
    assert rival.exists()
    assert not wanted.source.exists()
    assert not wanted.key.exists()


def test_a_file_of_many_sources_is_never_moved_away(root: Path) -> None:
    wanted = repository(root)
    if not wanted.is_apt:
        pytest.skip("only apt has one")
    (root / "etc/apt/sources.list").write_text(f"deb {URL}/ /\n")
    with pytest.raises(Fault, match=r"sources\.list"):
        add(wanted, Change(dry=False), replace=True)


def test_sources_that_are_switched_off_are_no_rivals(root: Path) -> None:
    wanted = repository(root)
    rival = wanted.source.with_name(f"cuda{'.list' if wanted.is_apt else '.repo'}")
    rival.write_text(f"# deb {URL}/ /\n" if wanted.is_apt else f"[cuda]\nbaseurl={URL}\nenabled=0\n")
    assert nvidia_repository.rivals(wanted) == []


def test_a_longer_address_is_another_repository(root: Path) -> None:
    wanted = repository(root)
    other = wanted.source.with_name(f"other{'.list' if wanted.is_apt else '.repo'}")
    other.write_text(f"deb {URL}-old/ /\n" if wanted.is_apt else f"[o]\nbaseurl={URL}-old\n")
    assert nvidia_repository.rivals(wanted) == []
