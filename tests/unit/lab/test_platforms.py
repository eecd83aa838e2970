# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import shlex
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

from provisioner import content
from provisioner.lab import builder, controller, image, layers, plans, platforms
from provisioner.lab.image import Recipe
from provisioner.lab.layers import Layer

UBUNTU = ("ubuntu2204", "ubuntu2404", "ubuntu2604")
ROCKY = ("rocky8", "rocky9", "rocky10")
SCRIPTS = sorted(path for path in platforms.FOLDER.iterdir() if path.suffix == ".sh")


@pytest.fixture(autouse=True)
def _a_machine_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PROVISION_LAB_REGISTRY", raising=False)
    monkeypatch.setattr(controller, "certificates", lambda: {"company.crt": b"CA"})
    monkeypatch.setattr(controller, "apt_options", lambda: ('Acquire::http::Proxy "http://proxy.example";',))
    mirror = controller.Mirror("http://mirror.example/debian", "http://mirror.example/debian-security")
    monkeypatch.setattr(controller, "mirror", lambda: mirror)


def layer(name: str) -> Layer:
    wanted = platforms.wanted(name)
    assert isinstance(wanted, Layer)
    return wanted


def os_release(name: str) -> Mapping[str, str]:
    lines = layer(name).files["os-release"].decode().splitlines()
    return {key: shlex.split(value)[0] for key, _, value in (line.partition("=") for line in lines)}


def test_the_words_name_every_image() -> None:
    words = yaml.safe_load(content.lab_variables().read_text())["argument_specs"]["main"]["options"]
    assert tuple(words["lab_image"]["choices"]) == platforms.IMAGES


@pytest.mark.parametrize("name", ["debian12", "debian13", "debian-unstable"])
def test_debian_is_debian(name: str) -> None:
    wanted = platforms.wanted(name)
    assert isinstance(wanted, Recipe)
    assert wanted == image.recipe(name)
    assert wanted.origin == ""


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("ubuntu2204", "Ubuntu 22.04"),
        ("ubuntu2404", "Ubuntu 24.04"),
        ("ubuntu2604", "Ubuntu 26.04"),
        ("rocky8", "Rocky 8"),
        ("rocky9", "Rocky 9"),
        ("rocky10", "Rocky 10"),
    ],
)
def test_a_stand_in_says_what_it_is_and_of_what(name: str, title: str) -> None:
    wanted = layer(name)
    assert wanted.origin == f"dressed Debian, a stand-in for {title}"
    assert shlex.quote(wanted.origin) in wanted.command
    assert os_release(name)["PRETTY_NAME"].startswith(title.replace("Rocky", "Rocky Linux"))


@pytest.mark.parametrize("name", [*UBUNTU, *ROCKY])
def test_a_release_is_written_as_that_system_does(name: str) -> None:
    found = os_release(name)
    family, digits = ("ubuntu", name[6:]) if name in UBUNTU else ("rocky", name[5:])
    assert found["ID"] == family
    assert found["ID_LIKE"] == ("debian" if name in UBUNTU else "rhel centos fedora")
    if name in UBUNTU:
        assert found["VERSION_ID"] == f"{digits[:2]}.{digits[2:]}"
        assert found["UBUNTU_CODENAME"] == found["VERSION_CODENAME"]
    else:
        assert found["VERSION_ID"].partition(".")[0] == digits
        assert found["PLATFORM_ID"] == f"platform:el{digits}"
        assert found["ROCKY_SUPPORT_PRODUCT_VERSION"] == found["VERSION_ID"]
    assert "stand" not in str(found)


def test_all_stand_ins_share_one_debian() -> None:
    assert all(layer(name).base == platforms.tools() for name in UBUNTU[:2])
    assert layer(UBUNTU[2]).base == platforms.with_sudo_rs()
    assert platforms.with_sudo_rs().base == platforms.tools()
    assert all(layer(name).base == platforms.rocky_base() for name in ROCKY)
    assert platforms.rocky_base().base == platforms.tools()


def test_six_stand_ins_are_six_images() -> None:
    assert len({layer(name).tag for name in (*UBUNTU, *ROCKY)}) == 6


@pytest.mark.parametrize("name", [*UBUNTU, *ROCKY])
def test_a_command_finds_what_it_reads_beside_it(name: str) -> None:
    for wanted in (layer(name), layer(name).base):
        if isinstance(wanted, Layer):
            assert wanted.command.split()[1].removeprefix("./") in wanted.files


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_can_be_read_by_a_shell(script: Path) -> None:
    assert subprocess.run(["sh", "-n", script], check=False).returncode == 0


@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("debian12", "debian:12"),
        ("debian13", "debian:13"),
        ("ubuntu2204", "ubuntu:22.04"),
        ("ubuntu2404", "ubuntu:24.04"),
        ("ubuntu2604", "ubuntu:26.04"),
        ("rocky8", "rockylinux:8"),
        ("rocky9", "rockylinux:9"),
        ("rocky10", "rockylinux:10"),
    ],
)
def test_a_registry_has_the_real_thing(name: str, reference: str, monkeypatch: pytest.MonkeyPatch) -> None:
    here = platforms.wanted(name)
    monkeypatch.setenv("PROVISION_LAB_REGISTRY", " registry.example.com/library/ ")
    wanted = layer(name)
    full = f"registry.example.com/library/{reference}"
    assert wanted.containerfile.splitlines()[0] == f"FROM {full}"
    assert wanted.origin.endswith(f" of {full}")
    assert "stand-in" not in wanted.origin
    assert wanted.digest != here.digest
    assert wanted.files["lab-company.crt"] == b"CA"
    assert wanted.files["sudoers-lab"] == b"lab ALL=(ALL:ALL) NOPASSWD: ALL\n"
    assert {"pulled.sh", wanted.command.split()[1].removeprefix("./")} <= set(wanted.files)


def test_what_a_registrys_debian_gets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROVISION_LAB_REGISTRY", "registry.example.com/library")
    wanted = layer("debian13")
    assert shlex.split(wanted.command) == [
        "sh",
        "./pulled-apt.sh",
        "lab",
        " ".join(image.MASKED),
        *image.PACKAGES,
    ]
    assert wanted.files["sources.list"].startswith(b"deb http://mirror.example/debian trixie main\n")
    assert wanted.files["apt.conf"].decode().splitlines() == [
        'Acquire::Check-Valid-Until "false";',
        'Acquire::http::Proxy "http://proxy.example";',
    ]
    # This machine's mirror has no Ubuntu, so the image's own archive stays.
    assert layer("ubuntu2404").files["sources.list"] == b""


def test_what_a_registrys_rocky_gets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROVISION_LAB_REGISTRY", "registry.example.com/library")
    words = shlex.split(layer("rocky9").command)
    assert words[:3] == ["sh", "./pulled-dnf.sh", "lab"]
    assert {"openssh-server", "sudo", "iproute", "procps-ng", "systemd"} <= set(words[4:])
    argv = layers.build_argv(layer("rocky9"), Path("/work"))
    assert f"--tag={layer('rocky9').tag}" in argv


def test_a_registry_has_no_suite_that_changes_every_day(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROVISION_LAB_REGISTRY", "registry.example.com/library")
    assert platforms.wanted("debian-unstable") == image.recipe("debian-unstable")


def test_what_is_built_here_shares_the_images_of_hosts() -> None:
    debian, unstable = image.recipe("debian13"), image.recipe("debian-unstable")
    assert platforms.tools().base == plans.hub_recipe().base == debian
    assert builder.builder_recipe().base == unstable
    headers = platforms.tools().files["finish.sh"]
    assert headers == (platforms.FOLDER / "headers.sh").read_bytes()
