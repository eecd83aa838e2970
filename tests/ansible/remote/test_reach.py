# SPDX-License-Identifier: Apache-2.0
"""How hosts are reached is what Ansible and ssh say, so both really run; neither contacts a host."""

from __future__ import annotations

import os
import pwd
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from provisioner import settings
from provisioner.remote import reach
from provisioner.remote.reach import Way
from provisioner.runs.run import Request

INVENTORY = """
[gpu]
plain ansible_host=192.0.2.1
templated ansible_port="{{ base + 1 }}" ansible_ssh_common_args="{{ own_file }}"
jumped ansible_host=inner ansible_ssh_common_args="-F '{{ keys }}/config'"
direct ansible_host=inner ansible_ssh_common_args="-o ProxyCommand='nc %h %p' -F '{{ keys }}/config'"
strict ansible_ssh_extra_args="'-F{{ keys }}/config'"
lax ansible_ssh_extra_args="'-F{{ keys }}/config'" ansible_host=outer ansible_host_key_checking=false
rooted ansible_become_exe=sudo.ws ansible_become_password="canary-{{ 1 + 2 }}" ansible_sshpass_prompt=Pass
here ansible_connection=local
broken ansible_user="{{ lookup('file', '/nowhere') }}"

[gpu:vars]
base=2200
keys="{{ inventory_dir }}"
own_file="-o 'UserKnownHostsFile={{ keys }}/known hosts'"
ansible_user=ops
ansible_ssh_private_key_file="{{ keys }}/id"
ansible_password="canary-{{ 1 + 1 }}"
serve_engine=vllm
serve_model="owner/{{ 'mod' ~ 'el' }}"
serve_port="{{ base | int + 6000 }}"
"""
CONFIG = """
Host inner
  HostName 192.0.2.9
  HostKeyAlias inner-alias
  ProxyJump gate:2222
  IdentitiesOnly yes
  StrictHostKeyChecking yes
Host gate
  HostName 192.0.2.8
  User keeper
  ProxyJump outer
Host outer
  HostName 192.0.2.7
  HostKeyAlias outer-alias
  UserKnownHostsFile "/of outer"
Host outer strict
  StrictHostKeyChecking yes
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, Way]]:
    folder = tmp_path_factory.mktemp("reach")
    (folder / "hosts.ini").write_text(INVENTORY)
    (folder / "config").write_text(CONFIG)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(folder / "state"))
        patch.setenv("XDG_RUNTIME_DIR", str(folder))
        names = ["plain", "templated", "jumped", "direct", "strict", "lax", "rooted", "here", "broken"]
        ways = reach.load(Request(playbook="", inventory=str(folder / "hosts.ini")), names)
        assert [way.host for way in ways] == names
        assert "canary" not in "".join(map(repr, ways))
        left = [path.name for path in folder.glob("provision-*") if path.name != "provision-ssh"]
        assert not left, "what the files said must not stay"
        yield {way.host: way for way in ways} | {"known_hosts": Way(str(settings.known_hosts()))}


def ssh_of(way: Way, folder: Path = Path("/tmp")) -> Mapping[str, str]:
    """Return what ssh makes of the command with which the day-two commands connect."""
    argv = [*way.ssh, "-G", "--", way.address]
    environment = {**os.environ, **settings.ssh_environment(), "PROVISION_SSH_FOLDER": str(folder)}
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=True)
    return dict(line.split(" ", 1) for line in done.stdout.splitlines() if " " in line)


def test_new_keys_are_learned_in_our_file_and_the_users_is_consulted(found: Mapping[str, Way]) -> None:
    (hop,) = found["plain"].hops
    assert (hop.host, hop.port, hop.user) == ("192.0.2.1", 22, "ops")
    ours = found["known_hosts"].host
    said = ssh_of(found["plain"], Path(ours).parent)
    assert said["stricthostkeychecking"] == "accept-new"
    # ssh reads the home folder from the password database, whatever HOME says.
    users = Path(pwd.getpwuid(os.getuid()).pw_dir) / ".ssh"
    assert said["userknownhostsfile"] == f"{ours} {users}/known_hosts {users}/known_hosts2"
    assert hop.keys[0].name == "id"
    assert hop.keys[0].is_absolute()


def test_templates_are_resolved_and_the_inventorys_own_options_win(found: Mapping[str, Way]) -> None:
    (hop,) = found["templated"].hops
    assert hop.port == 2201
    assert ssh_of(found["templated"])["userknownhostsfile"].endswith("/known hosts")
    assert found["templated"].password == "canary-2"
    (service,) = found["templated"].services
    assert (service.model.name, service.port) == ("owner/model", 8200)


def test_jump_hosts_of_the_ssh_configuration_are_followed(found: Mapping[str, Way]) -> None:
    outer, gate, host = found["jumped"].hops
    assert (outer.host, gate.host, host.host) == ("192.0.2.7", "192.0.2.8", "192.0.2.9")
    assert (gate.user, gate.port) == ("keeper", 2222)
    said = ssh_of(found["jumped"])
    assert (said["hostkeyalias"], said["user"], said["proxyjump"]) == ("inner-alias", "ops", "gate:2222")


def test_what_the_ssh_configuration_says_about_host_keys_stays_in_force(found: Mapping[str, Way]) -> None:
    assert ssh_of(found["jumped"])["stricthostkeychecking"] == "true"
    assert ssh_of(found["strict"])["stricthostkeychecking"] == "true"
    assert ssh_of(found["lax"])["stricthostkeychecking"] == "false"


def test_a_proxy_command_is_expanded(found: Mapping[str, Way]) -> None:
    (hop,) = found["direct"].hops
    assert hop.proxy_command == "nc 192.0.2.9 22"


def test_how_root_is_reached_is_what_ansible_says(found: Mapping[str, Way]) -> None:
    assert (found["plain"].become_exe, found["plain"].become_password) == ("sudo", None)
    assert (found["rooted"].become_exe, found["rooted"].become_password) == ("sudo.ws", "canary-3")
    assert found["rooted"].prompt == "Pass"


def test_a_host_that_cannot_be_resolved_says_why_and_harms_no_other(found: Mapping[str, Way]) -> None:
    assert "/nowhere" in str(found["broken"].trouble)
    assert "connection is local" in str(found["here"].trouble)
    assert found["plain"].trouble is None
