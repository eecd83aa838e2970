# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import ipaddress
from pathlib import Path

import pytest

from provisioner.lab import keys, plans
from provisioner.lab.image import Recipe
from provisioner.lab.layers import Layer
from provisioner.lab.podman import machine
from provisioner.lab.spec import HostSpec, LabSpec

SUBNET = ipaddress.IPv4Network("10.89.0.0/24")
RECIPE = Recipe("debian13", "trixie", ("deb http://mirror.example/debian trixie main",))


def test_addresses_follow_the_hubs_and_skip_those_taken() -> None:
    free = plans.free_addresses(SUBNET, ["10.89.0.4"])
    assert free[:2] == ["10.89.0.3", "10.89.0.5"]
    assert "10.89.0.2" not in free
    assert "10.89.0.1" not in free


def test_the_hub_serves_models_and_releases_and_cannot_change_them() -> None:
    plan = plans.hub_plan(LabSpec("mine", (), 2999), RECIPE, SUBNET, Path("/models"), Path("/releases"))
    assert plan.address == "10.89.0.2"
    assert plan.publish == (2999, 8000)
    assert plan.mounts == ("/models:/srv/models:ro", "/releases:/srv/releases:ro")


def test_a_hub_with_other_mounts_is_another_hub() -> None:
    spec = LabSpec("mine", (), 2999)
    here = plans.hub_plan(spec, RECIPE, SUBNET, Path("/models"), Path("/releases"))
    there = plans.hub_plan(spec, RECIPE, SUBNET, Path("/models"), Path("/elsewhere"))
    assert here.recipe != there.recipe
    assert here.image == there.image


def test_all_hosts_share_one_package_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    plan = plans.host_plan("mine", HostSpec("one", 2301), RECIPE, "10.89.0.3")
    assert plan.mounts == ("provision-lab-cache:/var/cache/provision",)
    assert plan.publish == (2301, 22)


def test_a_stand_in_is_known_as_one_to_its_host() -> None:
    dressed = Layer("rocky9", RECIPE, "true", origin="dressed Debian, a stand-in for Rocky 9")
    assert plans.host_plan("mine", HostSpec("one", 2301), dressed, "10.89.0.3").origin == dressed.origin
    assert plans.host_plan("mine", HostSpec("one", 2301), RECIPE, "10.89.0.3").origin == ""


def test_machines_know_each_other_by_name() -> None:
    names = {"hub": "10.89.0.2", "one": "10.89.0.3", "two": "10.89.0.4"}
    assert plans.hosts_file("one", names).content.decode().splitlines() == [
        "127.0.0.1 localhost",
        "10.89.0.3 one",
        "10.89.0.2 hub.lab",
        "10.89.0.4 two",
    ]


def test_the_hubs_unit_runs_a_program_that_comes_with_it() -> None:
    files = {file.path: file for file in plans.hub_files({"hub": "10.89.0.2"})}
    unit = files["/etc/systemd/system/provision-hub.service"].content.decode()
    assert "/usr/local/lib/provision-hub/hub.py --root /srv/models --releases /srv/releases" in unit
    programs = {path.rpartition("/")[2] for path in files if path.endswith(".py")}
    assert programs == {"hub.py", "hub_faults.py", "hub_models.py", "hub_registry.py"}


def test_known_hosts_names_the_published_port() -> None:
    line = keys.known_hosts_line(2301, "ssh-ed25519 AAAA root@one\n")
    assert line == "[127.0.0.1]:2301 ssh-ed25519 AAAA\n"


def test_keys_are_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    first = keys.client_key("mine").read_bytes()
    assert keys.client_key("mine").read_bytes() == first
    assert keys.client_key("mine").stat().st_mode & 0o777 == 0o600
    keys.write_known_hosts("mine", {"one": 2301})
    assert keys.known_hosts_file("mine").read_text().startswith("[127.0.0.1]:2301 ssh-ed25519 ")


def test_a_container_is_read_from_its_labels() -> None:
    record = {
        "Names": ["provision-lab-mine.one"],
        "Image": "localhost/provision-lab/debian13:0123456789ab",
        "State": "running",
        "Labels": {
            "provision.lab": "mine",
            "provision.lab.host": "one",
            "provision.lab.port": "2301",
            "provision.lab.address": "10.89.0.3",
            "provision.lab.recipe": "0123456789ab",
            "provision.lab.origin": "a stand-in",
        },
    }
    found = machine(record)
    assert found.origin == "a stand-in"
    assert (found.lab, found.host, found.port, found.address) == ("mine", "one", 2301, "10.89.0.3")


def test_a_network_file_of_an_old_podman_is_made_readable_for_old_plugins(tmp_path: Path) -> None:
    path = tmp_path / "lab.conflist"
    path.write_text('{"cniVersion": "1.0.0", "name": "lab"}')
    plans.repair_network_file(path)
    assert path.read_text() == '{"cniVersion": "0.4.0", "name": "lab"}'
