# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ansible.module_utils.provision.host import packages as package_managers


def test_reads_what_dpkg_has_installed() -> None:
    output = "ii |python3|python3-minimal-abi (= 3), libpy3\nrc |gone|\niU |half|\nhi |held|\n"
    assert package_managers.parse_dpkg(output) == {
        "python3": "python3",
        "python3-minimal-abi": "python3",
        "libpy3": "python3",
        "held": "held",
    }


def test_reads_what_rpm_has_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    output = "python3|python3 python3.12 python(abi) libpython3.so()(64bit) \nbash|bash config(bash) \n"
    monkeypatch.setattr(package_managers, "query", lambda _argv: (0, output))
    assert package_managers.Dnf().installed() == {
        "python3": "python3",
        "python3.12": "python3",
        "bash": "bash",
    }


@pytest.mark.parametrize("packages", [package_managers.Apt(), package_managers.Dnf()])
def test_says_that_the_package_database_is_broken(
    monkeypatch: pytest.MonkeyPatch, packages: package_managers.Apt | package_managers.Dnf
) -> None:
    monkeypatch.setattr(package_managers, "query", lambda _argv: (2, "database is damaged\n"))
    with pytest.raises(package_managers.Fault, match="database is damaged"):
        packages.installed()


def test_finds_who_holds_a_lock(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    lock.touch()
    assert package_managers.lock_holder(lock) == 0
    assert package_managers.lock_holder(tmp_path / "missing") == 0
    holder = (
        "import fcntl, sys; handle = open(sys.argv[1], 'r+'); fcntl.lockf(handle, fcntl.LOCK_EX); "
        "print('locked', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", holder, str(lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"locked\n"
        assert package_managers.lock_holder(lock) == process.pid
        assert str(process.pid) in package_managers.process_name(process.pid)
        process.communicate()


def test_a_process_of_its_own_does_not_block_itself(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    with lock.open("w") as handle:
        fcntl.lockf(handle, fcntl.LOCK_EX)
        assert package_managers.lock_holder(lock) == 0


def test_names_the_owner_of_the_lock(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    packages = package_managers.Dnf()
    pid_file = tmp_path / "metadata_lock.pid"
    pid_file.write_text(f"{os.getpid()}\n")
    monkeypatch.setattr(packages, "pid_files", (str(pid_file), str(tmp_path / "missing")), raising=False)
    monkeypatch.setattr(packages, "locks", (), raising=False)
    assert f"(process {os.getpid()})" in package_managers.lock_owner(packages)
    pid_file.write_text("4194304000\n")
    assert package_managers.lock_owner(packages) == ""


def test_a_process_that_ended_keeps_its_number() -> None:
    assert package_managers.process_name(4194304000) == "process 4194304000"


def test_the_script_repairs_and_refreshes_before_it_installs() -> None:
    script = package_managers.Apt().script(repair=True, refresh=True, remove=False)
    order = [script.index(step) for step in ("--configure -a", "apt-get update", "apt-get install")]
    assert order == sorted(order)
    assert "update" not in package_managers.Apt().script(repair=False, refresh=False, remove=False)


def test_a_failed_refresh_does_not_stop_the_script(tmp_path: Path) -> None:
    (tmp_path / "apt-get").write_text('#!/bin/sh\necho "$1"\n[ "$1" = install ]\n')
    (tmp_path / "apt-get").chmod(0o755)
    script = package_managers.Apt().script(repair=False, refresh=True, remove=False)
    done = subprocess.run(
        ["/bin/sh", "-ec", script, "sh", "zstd"],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[0] == "update"
    assert done.stdout.splitlines()[-1] == "install"


def test_a_failed_installation_fetches_fresh_lists_the_next_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "apt-get").write_text("#!/bin/sh\nexit 100\n")
    (tmp_path / "apt-get").chmod(0o755)
    monkeypatch.setattr(package_managers, "STAMP", tmp_path / "stamp")
    (tmp_path / "stamp").touch()
    script = package_managers.Apt().script(repair=False, refresh=False, remove=False)
    path = f"{tmp_path}:/usr/bin:/bin"
    done = subprocess.run(["/bin/sh", "-ec", script, "sh", "zstd"], env={"PATH": path}, check=False)
    assert done.returncode == 1
    assert not (tmp_path / "stamp").exists()


@pytest.mark.parametrize(
    ("names", "may_remove"), [(["zstd"], False), (["chrony"], True), (["zstd", "chrony", "jq"], True)]
)
def test_only_another_time_service_makes_room_for_what_is_asked_for(
    tmp_path: Path, names: list[str], may_remove: bool
) -> None:
    (tmp_path / "apt-get").write_text('#!/bin/sh\necho "$@"\n')
    (tmp_path / "apt-get").chmod(0o755)
    script = package_managers.Apt().script(repair=False, refresh=False, remove=False)
    done = subprocess.run(
        ["/bin/sh", "-ec", script, "sh", *names],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ("--no-remove" not in done.stdout.split()) is may_remove
    assert done.stdout.split()[-len(names) :] == names


@pytest.mark.parametrize(
    ("packages", "program", "listed"),
    [
        (package_managers.Apt(), "apt-get", ("ii |bash|sh\n", "ii |bash|sh\nii |zstd|\nrc |old|\n")),
        (
            package_managers.Dnf(),
            "dnf",
            ("bash-5.1.8-9.el9.x86_64\n", "bash-5-9.x86_64\nzstd-1-1.x86_64\n"),
        ),
    ],
)
@pytest.mark.parametrize("status", [0, 1])
def test_a_transaction_lists_what_there_is_right_before_and_after(
    tmp_path: Path,
    packages: package_managers.Apt | package_managers.Dnf,
    program: str,
    listed: tuple[str, str],
    status: int,
) -> None:
    installed, tools, record = tmp_path / "installed", tmp_path / "tools", tmp_path / "the record"
    installed.write_text(listed[0])
    (tmp_path / "later").write_text(listed[1])
    tools.mkdir()
    # As apt-get does, it runs its hook as a shell command while it holds the lock.
    hook = 'for word; do case $word in DPkg::Pre-Invoke::=*) sh -c "${word#*=}";; esac; done'
    lines = {
        program: f"{hook}\ncp '{tmp_path}/later' '{installed}'\nexit {status}",
        packages.listing.split()[0]: f"cat '{installed}'",
    }
    for name, text in lines.items():
        (tools / name).write_text(f"#!/bin/sh\n{text}\n")
        (tools / name).chmod(0o755)
    script = package_managers.RECORDING + packages.script(repair=False, refresh=False, remove=False)
    done = subprocess.run(
        ["/bin/sh", "-ec", script, "sh", str(record), '["zstd"]', packages.listing, "zstd"],
        env={"PATH": f"{tools}:/usr/bin:/bin"},
        check=False,
    )
    assert done.returncode == status
    found = [packages.names((record / name).read_text()) for name in ("before", "after")]
    assert found == [{"bash"}, {"bash", "zstd"}]
    assert (record / "asked").read_text() == '["zstd"]\n'
    assert sorted(path.name for path in record.iterdir()) == ["after", "asked", "before"]


def test_dnf_scripts_keep_weak_and_shared_packages_apart() -> None:
    dnf = package_managers.Dnf()
    assert dnf.script(repair=False, refresh=True, remove=False).count("dnf -y install --refresh") == 1
    assert "--noautoremove" in dnf.script(repair=False, refresh=False, remove=True)


def test_apt_says_what_else_would_go(monkeypatch: pytest.MonkeyPatch) -> None:
    output = "Reading package lists...\nPurg chrony [4.6]\nRemv time-tool:amd64 [1]\nConf x\n"
    monkeypatch.setattr(package_managers, "query", lambda _argv: (0, output))
    assert package_managers.Apt().would_remove(["chrony"]) == {"chrony", "time-tool"}


def test_rpm_says_who_would_miss_a_package(monkeypatch: pytest.MonkeyPatch) -> None:
    output = (
        "error: Failed dependencies:\n\tlibx.so()(64bit) is needed by (installed) tool-box-1.2-3.el9.x86_64\n"
    )
    monkeypatch.setattr(package_managers, "query", lambda _argv: (1, output))
    assert package_managers.Dnf().would_remove(["libx"]) == {"libx", "tool-box"}


def test_rpm_is_asked_about_every_version_and_an_answer_it_does_not_give_is_no_leave(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[list[str]] = []

    def query(argv: list[str]) -> tuple[int, str]:
        asked.append(argv)
        return 1, 'error: "kernel-modules-extra" specifies multiple packages'

    monkeypatch.setattr(package_managers, "query", query)
    with pytest.raises(package_managers.Fault, match="specifies multiple packages"):
        package_managers.Dnf().would_remove(["kernel-modules-extra", "docker-ce"])
    assert "--allmatches" in asked[0]


def test_a_query_that_hangs_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(package_managers, "QUERY_SECONDS", 0.01)
    with pytest.raises(package_managers.Fault, match="sleep 5 did not end"):
        package_managers.query(["sleep", "5"])


def test_lists_are_stale_when_missing_old_or_older_than_their_sources(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    lists, stamp, sources = tmp_path / "lists", tmp_path / "stamp", tmp_path / "sources.list.d"
    lists.mkdir()
    sources.mkdir()
    monkeypatch.setattr(package_managers, "LISTS", lists)
    monkeypatch.setattr(package_managers, "STAMPS", (stamp,))
    monkeypatch.setattr(package_managers, "SOURCES", sources)
    now = time.time()
    os.utime(sources, (now - 90000, now - 90000))
    apt = package_managers.Apt()
    assert apt.stale(3600)
    (lists / "archive_main_binary-amd64_Packages").touch()
    stamp.touch()
    assert not apt.stale(3600)
    os.utime(stamp, (now - 7200, now - 7200))
    assert apt.stale(3600)
    assert not apt.stale(86400)
    (sources / "mirror.sources").touch()
    assert apt.stale(86400)
