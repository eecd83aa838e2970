# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from provisioner.errors import LabError
from provisioner.lab import controller


def test_the_mirror_of_the_running_release_serves_the_images() -> None:
    listed = (
        "http://mirror.example/debian/ bookworm\n"
        "http://mirror.example/debian/ bookworm-updates\n"
        "http://mirror.example/security/ bookworm-security\n"
        "https://packages.example/cloud/ cloud-sdk-bookworm\n"
    )
    found = controller.parse_mirror(listed, "bookworm")
    assert found == controller.Mirror("http://mirror.example/debian", "http://mirror.example/security")
    assert found.lines("trixie") == (
        "deb http://mirror.example/debian trixie main",
        "deb http://mirror.example/debian trixie-updates main",
        "deb http://mirror.example/security trixie-security main",
    )


def test_the_unstable_suite_has_no_updates_of_its_own() -> None:
    mirror = controller.Mirror("http://mirror.example/debian", "http://mirror.example/security")
    assert mirror.lines("unstable") == ("deb http://mirror.example/debian unstable main",)


def test_without_a_mirror_of_its_own_mmdebstrap_chooses() -> None:
    assert controller.parse_mirror("", "bookworm").lines("trixie") == ()


def test_only_proxy_and_date_settings_of_apt_are_taken_over() -> None:
    dump = (
        'Acquire::http::Proxy "http://proxy.example:3128";\n'
        'Acquire::https::Proxy "";\n'
        'Acquire::Check-Date "false";\n'
        'Acquire::GzipIndexes "true";\n'
        'Acquire::http::Proxy::internal.example "DIRECT";\n'
    )
    assert controller.apt_options(dump) == (
        'Acquire::Check-Date "false";',
        'Acquire::http::Proxy "http://proxy.example:3128";',
    )


def test_certificates_are_read_by_name(tmp_path: Path) -> None:
    (tmp_path / "b.crt").write_bytes(b"B")
    (tmp_path / "a.crt").write_bytes(b"A")
    (tmp_path / "notes.txt").write_bytes(b"no certificate")
    assert controller.certificates(tmp_path) == {"a.crt": b"A", "b.crt": b"B"}


def test_wheel_folders_are_the_local_ones_that_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_FIND_LINKS", f"https://wheels.example/ {tmp_path} {tmp_path / 'absent'} relative")
    assert controller.wheel_folders() == (tmp_path,)


def test_the_packet_size_is_that_of_the_card_with_the_default_route() -> None:
    # lo has no default route in any table; its size differs from every fallback.
    routes = "Iface Destination Gateway\neth9 0000A8C0 00000000\nlo 00000000 0100A8C0\n"
    assert controller.mtu(routes) == int(Path("/sys/class/net/lo/mtu").read_text())
    assert controller.mtu("Iface Destination Gateway\n") == 1500


def test_limits_never_exceed_those_of_the_caller() -> None:
    limits = controller.ulimits()
    assert limits["nproc"] <= controller.PODMAN_NPROC
    assert limits["nofile"] <= controller.NOFILE


def test_free_space_of_a_path_that_does_not_exist_yet_is_that_of_its_parent(tmp_path: Path) -> None:
    assert controller.free_bytes(tmp_path / "a/b/c") == controller.free_bytes(tmp_path)


def test_a_taken_port_is_refused_with_its_owner() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(LabError, match=rf"port {port} .* in use by .*\(pid {os.getpid()}\)"):
            controller.require_free_port(port)
        with pytest.raises(LabError, match="in use by host one of lab other"):
            controller.require_free_port(port, "host one of lab other")
    controller.require_free_port(port)


def test_states_and_caches_follow_the_xdg_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/somewhere/state")
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere/cache")
    assert controller.state_dir("mine") == Path("/somewhere/state/provision/lab/mine")
    assert controller.cache_dir() == Path("/somewhere/cache/provision/lab")


def test_go_fetches_as_this_machine_is_set_up_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "env"
    file.write_text("GOPROXY=https://modules.example\nGOSUMDB=off\nGOFLAGS=-x\n")
    for name in controller.GO_SETTINGS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GOENV", str(file))
    monkeypatch.setenv("GOSUMDB", "sums.example")
    assert controller.go_settings() == {"GOPROXY": "https://modules.example", "GOSUMDB": "sums.example"}
    monkeypatch.setenv("GOENV", "off")
    assert controller.go_settings() == {"GOSUMDB": "sums.example"}


@pytest.mark.parametrize(("machine", "name"), [("x86_64", "amd64"), ("aarch64", "arm64"), ("s390x", "s390x")])
def test_processors_have_debians_names(machine: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: machine)
    assert controller.architecture() == name
