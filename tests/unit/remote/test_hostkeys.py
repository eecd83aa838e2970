# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import paramiko
import pytest
from paramiko.hostkeys import HostKeys

from provisioner.remote import hostkeys
from provisioner.remote.hostkeys import HostKeyPolicy, KeyRefused

KEY = paramiko.ECDSAKey.generate()
OTHER = paramiko.ECDSAKey.generate()
SECOND_KIND = paramiko.RSAKey.generate(2048)
NAME = "[192.0.2.1]:2201"


def line(name: str, key: paramiko.PKey) -> str:
    return f"{name} {key.get_name()} {key.get_base64()}\n"


def check(file: Path, key: paramiko.PKey, *, learn: bool = True, name: str = NAME) -> None:
    policy = HostKeyPolicy(name, (file, file.with_name("second")), learn=learn)
    policy.missing_host_key(paramiko.SSHClient(), name, key)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "ssh/known_hosts"


def known(file: Path, text: str) -> None:
    file.parent.mkdir()
    file.write_text(text)


def test_a_new_key_is_learned_once_and_privately(file: Path) -> None:
    check(file, KEY)
    check(file, KEY)
    assert file.read_text() == line(NAME, KEY)
    assert file.stat().st_mode & 0o077 == 0


def test_a_key_is_appended_to_a_torn_file_on_a_line_of_its_own(file: Path) -> None:
    known(file, line("elsewhere", OTHER).rstrip("\n"))
    check(file, KEY)
    assert file.read_text() == line("elsewhere", OTHER) + line(NAME, KEY)


def test_a_changed_key_names_file_and_line_and_nothing_is_learned(file: Path) -> None:
    text = "# a comment\n\n" + line(NAME, OTHER)
    known(file, text)
    with pytest.raises(KeyRefused, match=rf"(?s)Offending .* in {file}:3.*has changed"):
        check(file, KEY)
    assert file.read_text() == text


def test_a_second_kind_of_key_counts_as_a_change(file: Path) -> None:
    known(file, line(NAME, SECOND_KIND))
    with pytest.raises(KeyRefused, match="has changed"):
        check(file, KEY)


def test_any_known_key_of_the_host_will_do(file: Path) -> None:
    known(file, line(NAME, OTHER))
    file.with_name("second").write_text(line(NAME, KEY))
    check(file, KEY)


def test_an_unknown_key_is_refused_where_the_user_is_strict(file: Path) -> None:
    with pytest.raises(KeyRefused, match=r"No .* host key is known"):
        check(file, KEY, learn=False)
    assert not file.exists()


def test_a_revoked_key_is_refused_even_if_it_is_known(file: Path) -> None:
    known(file, line(NAME, KEY) + "@revoked " + line("*", KEY))
    with pytest.raises(KeyRefused, match="is revoked"):
        check(file, KEY)


@pytest.mark.parametrize(
    ("names", "matches"),
    [
        (NAME, True),
        (HostKeys.hash_host(NAME), True),
        (HostKeys.hash_host("192.0.2.1"), False),
        ("other,[192.0.2.?]:*", True),
        ("*,![192.0.2.1]:2201", False),
        ("192.0.2.1", False),
        ("2", False),
    ],
    ids=["plain", "hashed", "hashed other", "pattern", "excluded", "without port", "part"],
)
def test_names_are_matched_as_ssh_does(file: Path, names: str, matches: bool) -> None:
    known(file, line(names, KEY))
    (found,) = hostkeys.read(file)
    assert found.is_of(NAME) is matches


def test_the_usual_port_has_no_brackets() -> None:
    assert hostkeys.name_of("gpu1", 22) == "gpu1"
    assert hostkeys.name_of("gpu1", 2201) == "[gpu1]:2201"
