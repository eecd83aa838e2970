# SPDX-License-Identifier: Apache-2.0
"""What is read of a host's kernels, from the texts that its programs and its file system hold."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible.module_utils.provision.driver.packages import KERNEL
from ansible.module_utils.provision.gpu import kernel as nvidia_kernel

from tests.unit.fakes import Answers


def say(monkeypatch: pytest.MonkeyPatch, answers: dict[str, str]) -> None:
    """Have programs say what a test gives them; one that it does not name says nothing."""
    monkeypatch.setattr(nvidia_kernel, "_said", lambda *argv, **_: answers.get(" ".join(argv), ""))
    programs = {line.split()[0] for line in answers}
    monkeypatch.setattr(nvidia_kernel.shutil, "which", lambda name: name if name in programs else None)


@pytest.mark.parametrize(
    ("names", "newest"),
    [
        (["6.8.0-9-generic", "6.8.0-101-generic", "6.8.0-90-generic"], "6.8.0-101-generic"),
        (["5.14.0-570.9.1.el9_6.x86_64", "5.14.0-570.12.1.el9_6.x86_64"], "5.14.0-570.12.1.el9_6.x86_64"),
        (["4.18.0-553.el8_10.x86_64", "0-rescue-3f1c"], "4.18.0-553.el8_10.x86_64"),
    ],
)
def test_the_newest_kernel_boots_where_nothing_says_otherwise(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, names: list[str], newest: str
) -> None:
    say(monkeypatch, {})
    monkeypatch.setattr(nvidia_kernel, "BOOT", tmp_path)
    for name in names:
        (tmp_path / f"vmlinuz-{name}").touch()
    assert nvidia_kernel.booting() == newest


def test_the_boot_loader_has_the_last_word(monkeypatch: pytest.MonkeyPatch) -> None:
    say(monkeypatch, {"grubby --default-kernel": "/boot/vmlinuz-5.14.0-503.el9_5.x86_64\n"})
    assert nvidia_kernel.booting() == "5.14.0-503.el9_5.x86_64"


ENTRY = "gnulinux-advanced-1f2e>gnulinux-6.8.0-9-generic-advanced-1f2e"


@pytest.mark.parametrize(
    ("default", "environment", "boots"),
    [
        ("0", "", "6.8.0-90-generic"),
        (f'"{ENTRY}"', "", "6.8.0-9-generic"),
        ('"Advanced options for Ubuntu>Ubuntu, with Linux 6.8.0-9-generic"', "", "6.8.0-9-generic"),
        ("saved", f"saved_entry={ENTRY}\n", "6.8.0-9-generic"),
        ("saved", "saved_entry=0\n", "6.8.0-90-generic"),
        ("0", f"next_entry={ENTRY}\n", "6.8.0-9-generic"),
        ("0", f"saved_entry={ENTRY}\n", "6.8.0-90-generic"),
    ],
)
def test_grub_boots_the_entry_that_somebody_chose(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, default: str, environment: str, boots: str
) -> None:
    say(monkeypatch, {})
    for name, path in (
        ("BOOT", tmp_path),
        ("GRUB_DEFAULTS", tmp_path / "grub"),
        ("GRUB_ENVIRONMENT", tmp_path / "env"),
    ):
        monkeypatch.setattr(nvidia_kernel, name, path)
    (tmp_path / "grub").write_text(f"# GRUB_DEFAULT=7\nGRUB_DEFAULT={default}\nGRUB_TIMEOUT=0\n")
    (tmp_path / "env").write_text(f"# GRUB Environment Block\n{environment}####")
    for kernel in ("6.8.0-9-generic", "6.8.0-90-generic"):
        (tmp_path / f"vmlinuz-{kernel}").touch()
    assert nvidia_kernel.booting() == boots


def test_a_host_without_kernels_boots_the_one_that_runs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    say(monkeypatch, {})
    running = tmp_path / "osrelease"
    running.write_text("6.1.0-42-amd64\n")
    monkeypatch.setattr(nvidia_kernel, "BOOT", tmp_path)
    monkeypatch.setattr(nvidia_kernel, "RUNNING", running)
    assert nvidia_kernel.booting() == "6.1.0-42-amd64"


@pytest.mark.parametrize(
    ("line", "build"),
    [
        (
            "nvidia/580.159.04, 6.8.0-90-generic, x86_64: installed",
            ("nvidia", "580.159.04"),
        ),
        ("nvidia/580.159.04: added", ("nvidia", "580.159.04")),
        (
            "nvidia-open, 580.105.08, 4.18.0-553.el8_10.x86_64, x86_64: built",
            ("nvidia-open", "580.105.08"),
        ),
        (
            "nvidia/595.84, 6.8.0-90-generic, x86_64: installed (Original modules exist)",
            ("nvidia", "595.84"),
        ),
    ],
)
def test_dkms_is_read_in_its_old_and_its_new_words(
    monkeypatch: pytest.MonkeyPatch, line: str, build: tuple[str, str]
) -> None:
    say(monkeypatch, {"dkms status": f"{line}\n"})
    assert nvidia_kernel.dkms() == {build}


@pytest.mark.parametrize(("words", "flavour"), [("Dual MIT/GPL", "open"), ("NVIDIA", "proprietary")])
def test_a_module_tells_its_kind_by_its_license(
    monkeypatch: pytest.MonkeyPatch, words: str, flavour: str
) -> None:
    fields = {"version": "580.159.04", "license": words, "vermagic": "6.8.0-90-generic SMP mod_unload"}
    say(monkeypatch, {f"modinfo -k 6.8 -F {name} nvidia": f"{text}\n" for name, text in fields.items()})
    module = nvidia_kernel.module("6.8")
    assert module is not None
    assert (module.version, module.flavour, module.vermagic) == ("580.159.04", flavour, "6.8.0-90-generic")


def test_a_module_of_another_name_is_found_as_modprobe_finds_it(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = "install modprobe -i nvidia-tesla-535-current $CMDLINE_OPTS\n"
    answers = {"modprobe --set-version 6.1 --show-depends nvidia": shown}
    fields = {"version": "535.247.01", "license": "NVIDIA", "vermagic": "6.1.0-41-amd64 SMP"}
    for name, text in fields.items():
        answers[f"modinfo -k 6.1 -F {name} nvidia-tesla-535-current"] = f"{text}\n"
    say(monkeypatch, answers)
    module = nvidia_kernel.module("6.1")
    assert module is not None
    assert module.version == "535.247.01"


def test_no_module_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    say(monkeypatch, {})
    assert nvidia_kernel.module("6.8") is None


@pytest.mark.parametrize(
    ("listing", "boots"),
    [
        ("usr/lib/modules/6.8/kernel/drivers/gpu/drm/nouveau/nouveau.ko.zst\n", True),
        (
            "usr/lib/modules/6.8/drivers/nouveau/nouveau.ko\netc/modprobe.d/provision-nvidia.conf\n",
            False,
        ),
        # The long form of lsinitrd.
        (
            "-rw-r--r-- 1 root root 9 Jan 1 usr/lib/modules/6.8/kernel/drivers/nouveau/nouveau.ko.xz\n",
            True,
        ),
        ("usr/bin/kmod\n", False),
        ("", False),
    ],
)
def test_an_initramfs_boots_nouveau_unless_it_holds_our_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, listing: str, boots: bool
) -> None:
    image = tmp_path / "initrd.img-6.8"
    image.touch()
    monkeypatch.setattr(nvidia_kernel, "BOOT", tmp_path)
    say(monkeypatch, {f"lsinitramfs {image}": listing})
    assert nvidia_kernel.boots_nouveau("6.8", "/etc/modprobe.d/provision-nvidia.conf") is boots


@pytest.mark.parametrize(("content", "on"), [(b"\x06\0\0\0\x01", True), (b"\x06\0\0\0\0", False)])
def test_secure_boot_is_the_last_byte_of_the_firmwares_variable(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes, on: bool
) -> None:
    variable = tmp_path / "SecureBoot"
    variable.write_bytes(content)
    monkeypatch.setattr(nvidia_kernel, "SECURE_BOOT", variable)
    assert nvidia_kernel.secure_boot() is on


def test_a_host_without_that_firmware_has_no_secure_boot(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(nvidia_kernel, "SECURE_BOOT", tmp_path / "none")
    assert nvidia_kernel.secure_boot() is False


def test_only_loaded_modules_count(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "nvidia").mkdir()
    (tmp_path / "nvidia/initstate").write_text("live\n")
    (tmp_path / "printk").mkdir()
    monkeypatch.setattr(nvidia_kernel, "LOADED", tmp_path)
    assert nvidia_kernel.loaded() == {"nvidia"}


@pytest.mark.parametrize(
    ("kernel", "owner", "names"),
    [
        ("5.14.0-570.12.1.el9_6.x86_64", "kernel-core", ["kernel-devel-5.14.0-570.12.1.el9_6.x86_64"]),
        ("5.14.0-570.el9.x86_64+rt", "", ["kernel-rt-devel-5.14.0-570.el9.x86_64"]),
        ("5.14.0-570.el9.aarch64+64k", "kernel-64k-core", ["kernel-64k-devel-5.14.0-570.el9.aarch64"]),
        ("6.12.9-1.el9.elrepo.x86_64", "kernel-ml-core", ["kernel-ml-devel-6.12.9-1.el9.elrepo.x86_64"]),
        (
            "6.12.9-1.el9.elrepo.x86_64",
            "",
            ["kernel-ml-devel-6.12.9-1.el9.elrepo.x86_64", "kernel-lt-devel-6.12.9-1.el9.elrepo.x86_64"],
        ),
        ("5.15.0-300.el9uek.x86_64", "", ["kernel-uek-devel-5.15.0-300.el9uek.x86_64"]),
        ("4.18.0-553.rt7.el8.x86_64", "kernel-rt-core", ["kernel-rt-devel-4.18.0-553.rt7.el8.x86_64"]),
    ],
)
def test_headers_are_those_of_the_package_that_has_the_kernel(
    monkeypatch: pytest.MonkeyPatch, kernel: str, owner: str, names: list[str]
) -> None:
    programs = Answers(monkeypatch)
    programs.answer(
        "rpm -qf", f"{owner}\n" if owner else "not owned by any package\n", code=0 if owner else 1
    )
    assert nvidia_kernel.headers(kernel, apt=False) == names


@pytest.mark.parametrize(
    ("kernel", "owner", "names"),
    [
        ("6.8.0-90-generic", "linux-image-6.8.0-90-generic", ["linux-headers-6.8.0-90-generic"]),
        ("6.1.0-18-cloud-amd64", "linux-image-6.1.0-18-cloud-amd64", ["linux-headers-6.1.0-18-cloud-amd64"]),
        ("6.1.0-18-rt-amd64", "linux-image-6.1.0-18-rt-amd64", ["linux-headers-6.1.0-18-rt-amd64"]),
        (
            "6.8.12-4-pve",
            "proxmox-kernel-6.8.12-4-pve-signed",
            ["proxmox-headers-6.8.12-4-pve", "linux-headers-6.8.12-4-pve"],
        ),
        (
            "5.15.1-1-pve",
            "pve-kernel-5.15.1-1-pve",
            ["pve-headers-5.15.1-1-pve", "linux-headers-5.15.1-1-pve"],
        ),
        (
            "6.8.12-4-pve",
            "",
            ["proxmox-headers-6.8.12-4-pve", "pve-headers-6.8.12-4-pve", "linux-headers-6.8.12-4-pve"],
        ),
        ("6.9.0-custom", "", ["linux-headers-6.9.0-custom"]),
    ],
)
def test_headers_of_apt_are_named_like_the_package_that_has_the_kernel(
    monkeypatch: pytest.MonkeyPatch, kernel: str, owner: str, names: list[str]
) -> None:
    said = f"{owner}: /boot/vmlinuz-{kernel}\n" if owner else ""
    Answers(monkeypatch).answer("dpkg-query -S", said, code=0 if owner else 1)
    assert nvidia_kernel.headers(kernel, apt=True) == names


@pytest.mark.parametrize(
    "name",
    [
        "kernel-ml-core",
        "kernel-lt",
        "kernel-rt-modules-extra",
        "kernel-uek-core",
        "kernel-ml-devel",
        "proxmox-kernel-6.8.12-4-pve-signed",
        "proxmox-default-kernel",
        "pve-headers-5.15.1-1-pve",
        "linux-image-6.1.0-18-cloud-amd64",
        "linux-headers-rt-amd64",
    ],
)
def test_kernels_of_every_kind_are_held_with_the_driver(name: str) -> None:
    assert KERNEL.match(name)


def test_an_entry_of_dkms_without_its_source_is_found(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(nvidia_kernel, "DKMS_TREE", tmp_path / "dkms")
    for name, source in (("nvidia/570.86", "gone"), ("zfs/2.2", "here"), ("bare/1", "")):
        (tmp_path / "dkms" / name).mkdir(parents=True)
        if source:
            (tmp_path / "dkms" / name / "source").symlink_to(tmp_path / source)
    (tmp_path / "here").mkdir()
    (tmp_path / "here/dkms.conf").touch()
    assert nvidia_kernel.sourceless() == [tmp_path / "dkms/nvidia/570.86"]
