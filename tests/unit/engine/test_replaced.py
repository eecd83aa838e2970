# SPDX-License-Identifier: Apache-2.0
"""Which files of running services an update has replaced on disk, as /proc shows it."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible.module_utils.provision.engine import processes, replaced
from ansible.module_utils.provision.host import managed

SSL = "/usr/lib/x86_64-linux-gnu/libssl.so.3"
UNIT = "llamacpp.service"


@pytest.fixture
def proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(processes, "PROC", tmp_path / "proc")
    monkeypatch.setattr(managed, "UNITS", tmp_path / "units")
    (tmp_path / "units").mkdir()
    (tmp_path / "units" / UNIT).write_text("# Managed by provision; x\n")
    return tmp_path / "proc"


def process(proc: Path, pid: int, *mappings: str, unit: str = UNIT, program: str = "/usr/bin/x") -> None:
    folder = proc / str(pid)
    folder.mkdir(parents=True)
    (folder / "cgroup").write_text(f"0::/system.slice/{unit}\n")
    (folder / "exe").symlink_to(program)
    (folder / "maps").write_text("".join(f"{line}\n" for line in mappings))


def mapped(path: str, permissions: str = "r-xp", inode: int = 4671717) -> str:
    return f"7fcdaa67a000-7fcdaaa3f000 {permissions} 000e6000 00:16a {inode}                   {path}"


@pytest.mark.parametrize(
    "path",
    [
        SSL,
        "/usr/lib64/libz.so.1.3.1",
        "/lib/x86_64-linux-gnu/libc-2.31.so",
        "/usr/local/lib/python3.13/dist-packages/a/_b.cpython-313-x86_64-linux-gnu.so",
        "/opt/provision/envs/vllm/lib/libtorch cpu.so",
        "/usr/lib/libcuda.so.580.105.08",
    ],
)
def test_a_replaced_library_is_found(proc: Path, path: str) -> None:
    process(proc, 7, mapped("/usr/bin/x"), mapped(f"{path} (deleted)"), mapped(f"{path} (deleted)", "r--p"))
    assert replaced.libraries(f"/system.slice/{UNIT}") == [path]
    (found,) = replaced.services()
    assert (found.unit, found.libraries) == (UNIT, (path,))


@pytest.mark.parametrize(
    "line",
    [
        mapped(SSL),
        mapped(f"{SSL} (deleted)", "r--p"),
        mapped("/memfd:doublemapper.so (deleted)"),
        mapped("/dev/shm/psm_1.so (deleted)"),
        mapped("/dev/zero (deleted)"),
        mapped("/SYSV00000000 (deleted)"),
        mapped("/anon_hugepage (deleted)", inode=9),
        mapped("/tmp/ffiX1.so (deleted)"),
        mapped("/var/lib/provision/services/vllm/.triton/launcher.so (deleted)"),
        mapped("/opt/engine/.cache/flashinfer/kernel.so (deleted)"),
        mapped("/opt/engine/__pycache__/jit.so (deleted)"),
        mapped("/usr/share/models/weights.gguf (deleted)"),
        mapped("/usr/lib/locale/locale-archive (deleted)"),
        "7fcd000-7fce000 r-xp 00000000 00:00 0 ",
        "7fcd000-7fce000 r-xp 00000000 00:00 0                   [vdso]",
    ],
)
def test_what_programs_make_and_delete_themselves_is_no_update(proc: Path, line: str) -> None:
    process(proc, 7, line)
    assert replaced.libraries(f"/system.slice/{UNIT}") == []
    assert replaced.services()[0].libraries == ()


def test_a_replaced_program_counts_and_every_process_of_the_service_is_read(proc: Path) -> None:
    server = "/usr/bin/llama-server"
    process(proc, 7, mapped(f"{server} (deleted)"), program=f"{server} (deleted)")
    process(proc, 8, mapped(f"{SSL} (deleted)"), mapped("/usr/bin/python3.13 (deleted)"))
    process(proc, 9, mapped("/usr/lib/libother.so (deleted)"), unit="my-llamacpp.service")
    assert replaced.libraries(f"/system.slice/{UNIT}") == [server, SSL]


def test_a_service_without_processes_has_nothing(proc: Path) -> None:
    process(proc, 7, mapped(f"{SSL} (deleted)"), unit="ssh.service")
    assert replaced.libraries("") == []
    assert replaced.services()[0].libraries == ()
