# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from simulated_gpu import build
from simulated_gpu.install import HOST, kernel_files, releases

SHELL = sorted(path for path in HOST.rglob("*") if path.is_file() and path.suffix != ".service")


def sh(script: str, *libraries: str, **variables: str) -> str:
    """Run lines with the host's own libraries loaded, past their fixed paths."""
    loaded = "".join(f". {HOST / name}\n" for name in libraries)
    changed = "".join(f"{name}={value}\n" for name, value in variables.items())
    done = subprocess.run(
        ["sh", "-ec", f"{loaded}{changed}{script}"], capture_output=True, text=True, check=True
    )
    return done.stdout


@pytest.mark.parametrize("path", SHELL, ids=lambda path: path.name)
def test_every_program_is_shell(path: Path) -> None:
    subprocess.run(["sh", "-n", path], check=True)


@pytest.mark.parametrize(
    ("state", "expected"),
    [("", ["0x2330"]), ("gpus=2\ndevice_id=0x1eb8\n", ["0x1eb8"] * 2), ("gpus=0\n", [])],
)
def test_the_bus_shows_what_the_state_says(tmp_path: Path, state: str, expected: list[str]) -> None:
    (tmp_path / "state").write_text(state)
    assert sh("gpus", "lib.sh", STATE=str(tmp_path / "state")).split() == expected


def test_a_mixed_box_is_a_list_of_devices(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("gpus=5\ndevice_ids=0x2330,0x1db6\n")
    assert sh("gpus", "lib.sh", STATE=str(tmp_path / "state")).split() == ["0x2330", "0x1db6"]


@pytest.mark.parametrize(
    ("device", "kind", "branch", "fits"),
    [
        ("0x2330", "open", "580", True),
        ("0x2330", "proprietary", "580", True),
        ("0x1db6", "open", "580", False),
        ("0x1db6", "proprietary", "580", True),
        ("0x1db6", "proprietary", "595", False),
        ("0x2901", "proprietary", "580", False),
        ("0x2901", "open", "580", True),
    ],
)
def test_a_flavour_fits_some_gpus(device: str, kind: str, branch: str, fits: bool) -> None:
    said = sh(f"flavour_fits {device} {kind} {branch} && echo yes || echo no", "lib.sh", "modules.sh")
    assert said == ("yes\n" if fits else "no\n")


@pytest.mark.parametrize(
    ("line", "says_no"),
    [
        ("blacklist nouveau", True),
        ("  install nouveau /bin/false", True),
        ("# blacklist nouveau", False),
        ("blacklist nouveaux", False),
        ("options nouveau modeset=0", False),
    ],
)
def test_what_keeps_a_module_away(tmp_path: Path, line: str, says_no: bool) -> None:
    (tmp_path / "some.conf").write_text(f"{line}\n")
    said = sh(f"says_no nouveau {tmp_path} && echo yes || echo no", "lib.sh", "initramfs.sh")
    assert said == ("yes\n" if says_no else "no\n")


def test_kernels_are_counted_as_versions(tmp_path: Path) -> None:
    for name in ("6.8.0-9-generic", "6.8.0-90-generic", "6.8.0-100-generic"):
        (tmp_path / f"linux-image-{name}_1_amd64.deb").touch()
        (tmp_path / f"linux-modules-{name}_1_amd64.deb").touch()
    (tmp_path / "linux-image-generic_2_all.deb").touch()
    assert kernel_names(tmp_path, "oldest") == ["6.8.0-9-generic"]
    assert kernel_names(tmp_path, "newest") == ["6.8.0-100-generic"]
    assert kernel_names(tmp_path, "6.8.0-90-generic") == ["6.8.0-90-generic"]
    assert kernel_names(tmp_path, "5.0") == []


def kernel_names(root: Path, kernel: str) -> list[str]:
    names = [path.name for path in kernel_files(root, kernel)]
    return [name.split("_")[0].removeprefix("linux-image-") for name in names if "-image-" in name]


def test_a_kernel_that_only_the_vault_has_is_found(tmp_path: Path) -> None:
    for repository, release in (("BaseOS", "5.14.0-611.5.1.el9_7"), ("vault", "5.14.0-570.58.1.el9_6")):
        (tmp_path / repository).mkdir()
        (tmp_path / repository / f"kernel-core-{release}.x86_64.rpm").touch()
    assert [path.parent.name for path in kernel_files(tmp_path, "5.14.0-570.58.1.el9_6.x86_64")] == ["vault"]
    assert releases(tmp_path) == ["5.14.0-611.5.1.el9_7.x86_64"]


def test_a_changed_source_is_another_build(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for part in build.BUILT_FROM:
        shutil.copytree(build.SOURCES / part, tmp_path / part)
    monkeypatch.setattr(build, "SOURCES", tmp_path)
    before = build.digest()
    assert before == build.digest()
    (tmp_path / "tables/drivers.yml").write_text("versions: {}\n")
    assert build.digest() != before
