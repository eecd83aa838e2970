# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import shlex
import socket
import stat
import tempfile
from collections.abc import Callable
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
    assert made["PATH"] == f"{content.askpass()}:/bin"


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


@pytest.mark.parametrize(
    ("setting", "theirs", "ours"),
    [
        ("stdout_callback", "yaml", "default"),
        ("callback_result_format", "neither", "json"),
        ("strategy", "mitogen_linear", "linear"),
        ("strategy", "free", "linear"),
        ("any_errors_fatal", "True", "False"),
        ("enable_task_debugger", "True", "False"),
        ("no_log", "True", "False"),
        ("private_role_vars", "True", "False"),
        ("task_timeout", "5", "0"),
        ("transport", "paramiko", "ssh"),
        ("run_tags", "base", "all"),
        ("skip_tags", "preflight", "never"),
        ("force_color", "True", "False"),
        ("ask_vault_pass", "True", "False"),
    ],
)
def test_no_setting_changes_the_order_of_a_run_or_hides_its_events(
    elsewhere: Path, setting: str, theirs: str, ours: str
) -> None:
    variable = f"ANSIBLE_{setting.upper()}"
    (elsewhere / "ansible.cfg").write_text(f"[defaults]\n{setting} = {theirs}\n")
    assert settings.environment(Path("events"), {variable: theirs})[variable] == ours
    assert settings.environment(Path("events"), {})[variable] == ours


def test_settings_of_the_inventory_and_its_secrets_stay_the_users() -> None:
    given = {
        "ANSIBLE_CACHE_PLUGIN": "jsonfile",
        "ANSIBLE_CACHE_PLUGIN_CONNECTION": "/facts",
        "ANSIBLE_INVENTORY_ENABLED": "yaml",
        "ANSIBLE_VAULT_PASSWORD_FILE": "/vault",
        "ANSIBLE_VAULT_IDENTITY_LIST": "dev@/vault",
        "ANSIBLE_CALLBACKS_ENABLED": "profile_tasks",
        "ANSIBLE_REMOTE_USER": "ops",
        "ANSIBLE_BECOME_METHOD": "doas",
        "ANSIBLE_TIMEOUT": "30",
    }
    assert settings.environment(Path("events"), given).items() >= given.items()


def test_host_keys_are_always_checked_and_no_argument_goes_before_the_ssh_configuration() -> None:
    given = {"ANSIBLE_HOST_KEY_CHECKING": "False", "ANSIBLE_SSH_EXTRA_ARGS": "-o StrictHostKeyChecking=yes"}
    made = settings.environment(Path("events"), given)
    assert made["ANSIBLE_HOST_KEY_CHECKING"] == "True"
    assert made["ANSIBLE_SSH_EXTRA_ARGS"] == given["ANSIBLE_SSH_EXTRA_ARGS"]
    said = [value for name, value in made.items() if name.startswith("ANSIBLE_S") and name not in given]
    assert not [value for value in said if "HostKey" in value or "KnownHosts" in value]


def test_sftp_and_scp_start_the_same_ssh(elsewhere: Path) -> None:
    (elsewhere / "ansible.cfg").write_text("[ssh_connection]\nssh_executable = /their/ssh\n")
    made = settings.environment(Path("events"), {"ANSIBLE_SFTP_EXTRA_ARGS": "-R 5"})
    assert os.access(made["ANSIBLE_SSH_EXECUTABLE"], os.X_OK)
    assert made["PROVISION_SSH"] == "/their/ssh"
    # The program itself is no word of theirs: Ansible would wait for sudo where it is.
    assert shlex.split(made["ANSIBLE_SFTP_EXTRA_ARGS"]) == [f"-S{content.ssh()}", "-R", "5"]
    assert shlex.split(made["ANSIBLE_SCP_EXTRA_ARGS"]) == [f"-S{content.ssh()}"]


def long_home(base: Path) -> Path:
    return base / ("h" * 80)


def linked(base: Path) -> Path:
    long_home(base).mkdir()
    (base / "short").symlink_to(long_home(base))
    return base / "short"


def with_percent(base: Path) -> Path:
    return base / "%h"


def with_blank(base: Path) -> Path:
    return base / "my home"


def open_to_all(base: Path) -> Path:
    (base / "home/.ansible/provision-ssh").mkdir(parents=True)
    (base / "home/.ansible/provision-ssh").chmod(0o777)
    return base / "home"


def points_elsewhere(base: Path) -> Path:
    (base / "theirs").mkdir(mode=0o700)
    (base / "home/.ansible").mkdir(parents=True)
    (base / "home/.ansible/provision-ssh").symlink_to(base / "theirs")
    return base / "home"


@pytest.mark.parametrize("home", [long_home, linked, with_percent, with_blank, open_to_all, points_elsewhere])
def test_sockets_are_in_a_short_private_folder(
    home: Callable[[Path], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as base:
        chosen = home(Path(base))
        monkeypatch.setenv("HOME", str(chosen))
        folder = Path(settings.environment(Path("events"), {})["ANSIBLE_SSH_CONTROL_PATH_DIR"])
        assert chosen not in folder.parents
        found = folder.lstat()
        assert (stat.S_IMODE(found.st_mode), found.st_uid) == (0o700, os.getuid())
        with socket.socket(socket.AF_UNIX) as unix:
            # As long as ssh's own name, until the socket is ready.
            path = folder / f"{'x' * 10}.{os.getpid():016}"
            unix.bind(str(path))
            path.unlink()


def test_a_folder_that_fits_stays_where_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as base:
        monkeypatch.setenv("HOME", base)
        assert settings.control_path_folder({}) == Path(base) / ".ansible/provision-ssh"
        # After `su` the variable is often another user's.
        gone = {"XDG_RUNTIME_DIR": "/proc/self/none"}
        assert settings.control_path_folder(gone) == Path(base) / ".ansible/provision-ssh"
        given = {"XDG_RUNTIME_DIR": f"{base}/run"}
        assert settings.control_path_folder(given) == Path(base) / "run/provision-ssh"


def test_a_folder_of_another_user_is_left_alone(monkeypatch: pytest.MonkeyPatch, elsewhere: Path) -> None:
    monkeypatch.setenv("HOME", str(long_home(elsewhere)))
    monkeypatch.setattr(os, "getuid", lambda: 4_000_000)
    folder = settings.control_path_folder({})
    assert folder.name.startswith("provision-ssh-")
    assert folder.name != "provision-ssh-4000000"
    folder.rmdir()


def test_a_broken_configuration_file_is_named(elsewhere: Path) -> None:
    (elsewhere / "ansible.cfg").write_text("forks = 3\n")
    with pytest.raises(UsageError, match=r"cannot read ansible\.cfg"):
        settings.environment(Path("events"), {})
