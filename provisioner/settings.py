# SPDX-License-Identifier: Apache-2.0
"""Build the environment in which Ansible runs: our content and defaults, the user's settings first."""

from __future__ import annotations

import configparser
import locale
import os
import shlex
import stat
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from provisioner import content
from provisioner.errors import UsageError

_OWN_PATHS = {
    "ANSIBLE_LIBRARY": ("library", "modules"),
    "ANSIBLE_MODULE_UTILS": ("module_utils", "module_utils"),
    "ANSIBLE_ACTION_PLUGINS": ("action_plugins", "action"),
    "ANSIBLE_BECOME_PLUGINS": ("become_plugins", "become"),
    "ANSIBLE_CALLBACK_PLUGINS": ("callback_plugins", "callbacks"),
}
# Without keep-alives a dead network leaves Ansible waiting for ever.
_SSH_ARGS = "-C -o ControlMaster=auto -o ControlPersist=60s -o ServerAliveInterval=5 -o ServerAliveCountMax=3"
_FORKS = "20"
# Otherwise these change the order of our playbooks, end their long tasks, or hide their events.
_FIXED = {
    "ANSIBLE_ANY_ERRORS_FATAL": "False",
    "ANSIBLE_CALLBACK_RESULT_FORMAT": "json",
    "ANSIBLE_ENABLE_TASK_DEBUGGER": "False",
    "ANSIBLE_FORCE_COLOR": "False",
    "ANSIBLE_HOST_KEY_CHECKING": "True",
    "ANSIBLE_NOCOLOR": "1",
    "ANSIBLE_NO_LOG": "False",
    "ANSIBLE_PRIVATE_ROLE_VARS": "False",
    "ANSIBLE_RUN_TAGS": "all",
    # No task has this tag, and an empty list cannot be given.
    "ANSIBLE_SKIP_TAGS": "never",
    "ANSIBLE_STDOUT_CALLBACK": "default",
    "ANSIBLE_STRATEGY": "linear",
    "ANSIBLE_TASK_TIMEOUT": "0",
    "ANSIBLE_TRANSPORT": "ssh",
    # The command line asks before Ansible starts, which has no terminal.
    **dict.fromkeys(("ANSIBLE_ASK_PASS", "ANSIBLE_ASK_VAULT_PASS", "ANSIBLE_BECOME_ASK_PASS"), "False"),
}
# The longest path of a socket (macOS; 107 on Linux), and what follows the folder in it: a slash, the ten
# characters of Ansible, and the seventeen that ssh adds until the socket is ready.
_SOCKET_PATH = 103
_SOCKET_NAME = 1 + 10 + 17
_SHORTEST = "/tmp"  # noqa: S108 - owner and mode of the folder in it are checked


def state_home() -> Path:
    """Return the folder of everything that the tool keeps on this machine."""
    given = Path(os.environ.get("XDG_STATE_HOME", ""))
    # The XDG specification says that relative paths must be ignored.
    return (given if given.is_absolute() else Path.home() / ".local/state") / "provision"


def cache_home() -> Path:
    """Return the folder of what the tool can make again."""
    given = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (given if given.is_absolute() else Path.home() / ".cache") / "provision"


def known_hosts() -> Path:
    """Return the file that keeps the SSH host keys seen on first contact."""
    return state_home() / "known_hosts"


def locale_for_ansible() -> dict[str, str]:
    """Return the variables without which Ansible does not start where the user's locale is not UTF-8."""
    before = locale.setlocale(locale.LC_ALL)
    try:
        locale.setlocale(locale.LC_ALL, "")
        fits = locale.getlocale(locale.LC_CTYPE)[1] == "UTF-8"
    except (locale.Error, ValueError):
        fits = False
    finally:
        locale.setlocale(locale.LC_ALL, before)
    return {} if fits else {"LC_ALL": "en_US.UTF-8" if sys.platform == "darwin" else "C.UTF-8"}


def environment(events: Path, base: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment for `ansible-playbook`; what the user set in it or in ansible.cfg stays.

    Only what our playbooks and their events cannot be without is set for every run.
    """
    given = dict(os.environ if base is None else base)
    config = _UserConfig(given)
    ours = _FIXED | {
        name: _joined(kind, config.value(name, "defaults", key)) for name, (key, kind) in _OWN_PATHS.items()
    }
    ours["ANSIBLE_ROLES_PATH"] = os.pathsep.join(
        filter(None, [str(content.roles()), given.get("ANSIBLE_ROLES_PATH")])
    )
    ours["PROVISION_EVENTS"] = str(events)
    ours |= _ssh_programs(config) | _ssh_defaults(config, given)
    ours["PATH"] = os.pathsep.join(filter(None, [str(content.askpass()), given.get("PATH")]))
    ours["PROVISION_PYTHON"] = sys.executable
    private = ours["PROVISION_SSH_FILES"]
    defaults = {
        "ANSIBLE_PIPELINING": ("True", "connection", "pipelining"),
        "ANSIBLE_SSH_ARGS": (_SSH_ARGS, "ssh_connection", "ssh_args"),
        "ANSIBLE_SSH_CONTROL_PATH_DIR": (private, "ssh_connection", "control_path_dir"),
        "ANSIBLE_FORKS": (_FORKS, "defaults", "forks"),
    }
    for name, (value, section, key) in defaults.items():
        if config.value(name, section, key) is None:
            ours[name] = value
    return {**given, **locale_for_ansible(), **ours}


def asks_for(password: str) -> bool:
    """Return whether the user's settings say that Ansible asks for a password: ask_pass, and so on."""
    section = "privilege_escalation" if password.startswith("become") else "defaults"
    found = _UserConfig(os.environ).value(f"ANSIBLE_{password.upper()}", section, password)
    return str(found).lower() in ("1", "true", "t", "yes", "y", "on")


def _joined(kind: str, users: str | None) -> str:
    return os.pathsep.join(filter(None, [str(content.plugins(kind)), users]))


def ssh_environment() -> dict[str, str]:
    """Return the variables that our ssh program needs."""
    return _ssh_defaults(_UserConfig(os.environ), os.environ)


def _ssh_defaults(config: _UserConfig, given: Mapping[str, str]) -> dict[str, str]:
    users = config.value("ANSIBLE_SSH_EXECUTABLE", "ssh_connection", "ssh_executable")
    return {
        "PROVISION_SSH": users or "ssh",
        "PROVISION_SSH_FOLDER": str(state_home()),
        "PROVISION_SSH_FILES": str(control_path_folder(given)),
    }


def _ssh_programs(config: _UserConfig) -> dict[str, str]:
    """Return what makes Ansible's ssh, sftp and scp read our defaults behind the user's configuration."""
    ours = str(content.ssh())
    found = {"ANSIBLE_SSH_EXECUTABLE": ours}
    for name, key in (
        ("ANSIBLE_SFTP_EXTRA_ARGS", "sftp_extra_args"),
        ("ANSIBLE_SCP_EXTRA_ARGS", "scp_extra_args"),
    ):
        users = config.value(name, "ssh_connection", key) or ""
        # One word, for Ansible expects sudo of every command that has its ssh program as a word.
        found[name] = f"{shlex.quote(f'-S{ours}')} {users}".strip()
    return found


def control_path_folder(given: Mapping[str, str]) -> Path:
    """Return a private folder for control sockets in which their paths are short enough.

    It is our own: a connection that other settings left open would lack the keep-alives.
    """
    runtime = given.get("XDG_RUNTIME_DIR")
    places = [Path(runtime) / "provision-ssh"] if runtime else []
    places.append(Path.home() / ".ansible/provision-ssh")
    bases = (tempfile.gettempdir(), _SHORTEST)
    places += [Path(base) / f"provision-ssh-{os.getuid()}" for base in bases]
    chosen = next((place for place in places if _fits_a_socket(place) and _is_private(place)), None)
    return chosen or Path(tempfile.mkdtemp(prefix="provision-ssh-", dir=_SHORTEST))


def _fits_a_socket(folder: Path) -> bool:
    # Ansible resolves links and adds its name; ssh replaces what follows a percent sign.
    path = os.path.realpath(folder)
    return len(os.fsencode(path)) + _SOCKET_NAME <= _SOCKET_PATH and not set(path) & set("%\"'$\\ \t")


def _is_private(folder: Path) -> bool:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.lstat()
    except OSError:
        return False
    ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()
    return ours and not found.st_mode & 0o077 and os.access(folder, os.W_OK | os.X_OK)


class _UserConfig:
    """Read the ansible.cfg that Ansible itself would use, to keep what it sets.

    `ansible-config dump` would report the same, but takes a second of processor time at every run.
    """

    def __init__(self, given: Mapping[str, str]) -> None:
        self._given = given
        self._parser = configparser.ConfigParser(interpolation=None, strict=False)
        for path in self._candidates():
            if path.is_file():
                try:
                    self._parser.read(path)
                except configparser.Error as error:
                    raise UsageError(
                        f"cannot read {path}: {error}", "fix this Ansible configuration file"
                    ) from error
                return

    def _candidates(self) -> list[Path]:
        chosen = self._given.get("ANSIBLE_CONFIG")
        paths = [Path(chosen)] if chosen else []
        return [*paths, Path("ansible.cfg"), Path.home() / ".ansible.cfg", Path("/etc/ansible/ansible.cfg")]

    def value(self, variable: str, section: str, key: str) -> str | None:
        """Return what the user set, by environment variable or in the file."""
        if variable in self._given:
            return self._given[variable]
        sections = (section, "ssh_connection", "defaults")
        return next((self._parser.get(s, key) for s in sections if self._parser.has_option(s, key)), None)
