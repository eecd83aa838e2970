# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest

from provisioner import content, settings
from provisioner.errors import UsageError


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Run where no ansible.cfg lies, as a user without one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def test_our_content_is_found_and_the_connection_is_watched(tmp_path: Path) -> None:
    made = settings.environment(tmp_path / "events", {"PATH": "/bin"})
    assert made["ANSIBLE_ROLES_PATH"] == str(content.roles())
    assert made["PROVISION_EVENTS"] == str(tmp_path / "events")
    assert "ServerAliveInterval" in made["ANSIBLE_SSH_ARGS"]
    assert made["PATH"] == "/bin"


def test_the_configuration_of_the_user_is_never_replaced(tmp_path: Path) -> None:
    assert "ANSIBLE_CONFIG" not in settings.environment(tmp_path / "events", {})


def test_what_the_user_set_wins(elsewhere: Path) -> None:
    text = "[defaults]\nforks = 3\ncallback_plugins = /their/callbacks\n[ssh_connection]\nssh_args = -o A=b\n"
    (elsewhere / "ansible.cfg").write_text(text)
    made = settings.environment(elsewhere / "events", {"ANSIBLE_PIPELINING": "False"})
    assert "ANSIBLE_SSH_ARGS" not in made
    assert "ANSIBLE_FORKS" not in made
    assert made["ANSIBLE_PIPELINING"] == "False"
    assert made["ANSIBLE_CALLBACK_PLUGINS"].split(":") == [
        str(content.plugins("callbacks")),
        "/their/callbacks",
    ]


def test_host_keys_are_always_checked_and_options_of_the_user_come_first() -> None:
    given = {"ANSIBLE_HOST_KEY_CHECKING": "False", "ANSIBLE_SSH_EXTRA_ARGS": "-o StrictHostKeyChecking=yes"}
    made = settings.environment(Path("events"), given)
    assert made["ANSIBLE_HOST_KEY_CHECKING"] == "True"
    assert made["ANSIBLE_SSH_EXTRA_ARGS"].startswith("-o StrictHostKeyChecking=yes ")
    assert str(settings.known_hosts()) in made["ANSIBLE_SFTP_EXTRA_ARGS"]


def test_a_broken_configuration_file_is_named(elsewhere: Path) -> None:
    (elsewhere / "ansible.cfg").write_text("forks = 3\n")
    with pytest.raises(UsageError, match=r"cannot read ansible\.cfg"):
        settings.environment(Path("events"), {})
