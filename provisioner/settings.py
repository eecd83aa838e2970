# SPDX-License-Identifier: Apache-2.0
"""Build the environment in which Ansible runs: our content and defaults, the user's settings first."""

from __future__ import annotations

import configparser
import locale
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from provisioner import content
from provisioner.errors import UsageError

_OWN_PATHS = {
    "ANSIBLE_LIBRARY": ("library", "modules"),
    "ANSIBLE_MODULE_UTILS": ("module_utils", "module_utils"),
    "ANSIBLE_ACTION_PLUGINS": ("action_plugins", "action"),
    "ANSIBLE_CALLBACK_PLUGINS": ("callback_plugins", "callbacks"),
}
# Without keep-alives a dead network leaves Ansible waiting for ever.
_SSH_ARGS = "-C -o ControlMaster=auto -o ControlPersist=60s -o ServerAliveInterval=5 -o ServerAliveCountMax=3"
_FORKS = "20"


def state_home() -> Path:
    """Return the folder of everything that the tool keeps on this machine."""
    given = Path(os.environ.get("XDG_STATE_HOME", ""))
    # The XDG specification says that relative paths must be ignored.
    return (given if given.is_absolute() else Path.home() / ".local/state") / "provision"


def known_hosts() -> Path:
    """Return the file that keeps the SSH host keys seen on first contact."""
    return state_home() / "known_hosts"


def host_key_options() -> str:
    """Return the ssh options that accept a host key at first contact and refuse another one after it."""
    files = f'"{known_hosts()}" "{Path.home()}/.ssh/known_hosts"'
    return f"-o StrictHostKeyChecking=accept-new -o 'UserKnownHostsFile={files}'"


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
    """Return the environment for `ansible-playbook`; what the user set in it or in ansible.cfg stays."""
    given = dict(os.environ if base is None else base)
    config = _UserConfig(given)
    ours = {
        name: _joined(kind, config.value(name, "defaults", key)) for name, (key, kind) in _OWN_PATHS.items()
    }
    ours["ANSIBLE_ROLES_PATH"] = os.pathsep.join(
        filter(None, [str(content.roles()), given.get("ANSIBLE_ROLES_PATH")])
    )
    ours["PROVISION_EVENTS"] = str(events)
    ours["ANSIBLE_HOST_KEY_CHECKING"] = "True"
    ours["ANSIBLE_NOCOLOR"] = "1"
    ours |= _host_key_arguments(config)
    defaults = {
        "ANSIBLE_PIPELINING": ("True", "connection", "pipelining"),
        "ANSIBLE_SSH_ARGS": (_SSH_ARGS, "ssh_connection", "ssh_args"),
        "ANSIBLE_SSH_CONTROL_PATH_DIR": (
            str(_control_path_folder(given)),
            "ssh_connection",
            "control_path_dir",
        ),
        "ANSIBLE_FORKS": (_FORKS, "defaults", "forks"),
    }
    for name, (value, section, key) in defaults.items():
        if config.value(name, section, key) is None:
            ours[name] = value
    return {**given, **locale_for_ansible(), **ours}


def _joined(kind: str, users: str | None) -> str:
    return os.pathsep.join(filter(None, [str(content.plugins(kind)), users]))


def _host_key_arguments(config: _UserConfig) -> dict[str, str]:
    """Return the options that accept a host key once; ssh takes the first value, so the user's own win."""
    options = host_key_options()
    found = {}
    for name, key in (
        ("ANSIBLE_SSH_EXTRA_ARGS", "ssh_extra_args"),
        ("ANSIBLE_SFTP_EXTRA_ARGS", "sftp_extra_args"),
        ("ANSIBLE_SCP_EXTRA_ARGS", "scp_extra_args"),
    ):
        users = config.value(name, "ssh_connection", key) or ""
        found[name] = f"{users} {options}".strip()
    return found


def _control_path_folder(given: Mapping[str, str]) -> Path:
    """Return our own folder: a connection that other settings left open would lack the keep-alives."""
    runtime = given.get("XDG_RUNTIME_DIR")
    return Path(runtime) / "provision-ssh" if runtime else Path.home() / ".ansible/provision-ssh"


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
