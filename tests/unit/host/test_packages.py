# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from ansible.module_utils.provision.host.fault import Fault
from ansible.module_utils.provision.host.packages import (
    Allow,
    Apt,
    Dnf,
    Manager,
    User,
    apt,
    dnf,
    manager,
    record,
)
from ansible.module_utils.provision.host.packages.advice import UNKNOWN, advice
from ansible.module_utils.provision.host.packages.common import lock_holder, process_name

from tests.unit.fakes import Answers, Programs, Said


@pytest.fixture(autouse=True)
def programs(monkeypatch: pytest.MonkeyPatch) -> Answers:
    return Answers(monkeypatch)


def test_reads_what_dpkg_has_installed() -> None:
    output = "ii |python3|python3-minimal-abi (= 3), libpy3\nrc |gone|\niU |half|\nhi |held|\n"
    assert apt.parse(output) == {
        "python3": "python3",
        "python3-minimal-abi": "python3",
        "libpy3": "python3",
        "held": "held",
    }


def test_reads_what_rpm_has_installed(programs: Answers) -> None:
    output = "python3|python3 python3.12 python(abi) libpython3.so()(64bit) \nbash|bash config(bash) \n"
    programs.answer("rpm -qa", output)
    assert Dnf().installed() == {"python3": "python3", "python3.12": "python3", "bash": "bash"}


def test_reads_versions_of_both(programs: Answers) -> None:
    listed = "ii |docker.io|26.1.5+dfsg1-9\nii |docker-ce|5:28.0.1-1~debian.13\nrc |podman|5.4.2\n"
    programs.answer("dpkg-query", f"{listed}hi |nvidia-container-toolkit|1.20.1-1\n", code=1)
    assert Apt().versions("docker.io", "gone") == {
        "docker.io": "26.1.5+dfsg1-9",
        "docker-ce": "5:28.0.1-1~debian.13",
        "nvidia-container-toolkit": "1.20.1-1",
    }
    programs.answer("rpm -q", "bash|0:5.1-9\npackage gone is not installed\n", code=1)
    assert Dnf().versions("bash", "gone") == {"bash": "0:5.1-9"}
    programs.answer("rpm -qa", "bash|0:5.1-9\ngpg-pubkey|0:1-1\n")
    assert Dnf().versions() == {"bash": "0:5.1-9"}


@pytest.mark.parametrize("packages", [Apt(), Dnf()])
def test_says_that_the_package_database_is_broken(programs: Answers, packages: Manager) -> None:
    for program in ("dpkg-query", "rpm"):
        programs.answer(program, code=2, err="database is damaged\n")
    for query in (packages.installed, packages.versions):
        with pytest.raises(Fault, match="database is damaged"):
            query()


def test_finds_who_holds_a_lock(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    lock.touch()
    assert lock_holder(lock) == 0
    assert lock_holder(tmp_path / "missing") == 0
    holder = (
        "import fcntl, sys; handle = open(sys.argv[1], 'r+'); fcntl.lockf(handle, fcntl.LOCK_EX); "
        "print('locked', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", holder, str(lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"locked\n"
        assert lock_holder(lock) == process.pid
        assert str(process.pid) in process_name(process.pid)
        process.communicate()


def test_a_process_of_its_own_does_not_block_itself(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    with lock.open("w") as handle:
        fcntl.lockf(handle, fcntl.LOCK_EX)
        assert lock_holder(lock) == 0


def test_names_the_owner_of_the_lock(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    packages = Dnf()
    pid_file = tmp_path / "metadata_lock.pid"
    pid_file.write_text(f"{os.getpid()}\n")
    monkeypatch.setattr(packages, "pid_files", (pid_file, tmp_path / "missing"))
    monkeypatch.setattr(packages, "locks", ())
    assert f"(process {os.getpid()})" in packages.lock_owner()
    said: list[str] = []
    with pytest.raises(Fault, match="has held the package manager's lock for 0 s"):
        packages.require_lock(0.01, said.append)
    assert said[0].startswith("waiting for ")
    pid_file.write_text("4194304000\n")
    assert packages.lock_owner() == ""
    packages.require_lock(0, said.append)


def test_a_process_that_ended_keeps_its_number() -> None:
    assert process_name(4194304000) == "process 4194304000"


@pytest.mark.parametrize("interrupted", [True, False])
def test_the_script_repairs_and_refreshes_before_it_installs(programs: Answers, *, interrupted: bool) -> None:
    programs.answer("dpkg --audit", "half installed" if interrupted else "")
    script = Apt().script(refresh=True, remove=False)
    assert script.startswith("dpkg --force-confdef --force-confold --configure -a; ") is interrupted
    assert script.index("apt-get update") < script.index("apt-get install")
    assert "update" not in Apt().script(refresh=False, remove=False)


def run(script: str, tools: Path, *names: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run a transaction's script with programs of the test before those of this machine."""
    argv = ["/bin/sh", "-ec", script, "sh", *names]
    path = {"PATH": f"{tools}:/usr/bin:/bin"}
    return subprocess.run(argv, env=path, capture_output=True, text=True, check=check)


def test_a_failed_refresh_does_not_stop_the_script(tmp_path: Path) -> None:
    (tmp_path / "apt-get").write_text('#!/bin/sh\necho "$1"\n[ "$1" = install ]\n')
    (tmp_path / "apt-get").chmod(0o755)
    done = run(Apt().script(refresh=True, remove=False), tmp_path, "zstd")
    assert done.stdout.splitlines()[0] == "update"
    assert done.stdout.splitlines()[-1] == "install"


def test_a_failed_installation_fetches_fresh_lists_the_next_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "apt-get").write_text("#!/bin/sh\nexit 100\n")
    (tmp_path / "apt-get").chmod(0o755)
    monkeypatch.setattr(apt, "STAMP", tmp_path / "stamp")
    (tmp_path / "stamp").touch()
    assert run(Apt().script(refresh=False, remove=False), tmp_path, "zstd", check=False).returncode == 1
    assert not (tmp_path / "stamp").exists()


@pytest.mark.parametrize("packages", [Apt(), Dnf()])
def test_installed_packages_are_removed_only_with_leave(packages: Manager) -> None:
    allowed = {"--allowerasing", "--no-remove"}
    strict = packages.install_command(["zstd"], Allow(), ())
    lax = packages.install_command(["zstd"], Allow(removal=True), ())
    assert set(strict) & allowed == ({"--no-remove"} if packages.program == "apt-get" else set())
    assert set(lax) & allowed == ({"--allowerasing"} if packages.program == "dnf" else set())
    assert strict[-2:] == lax[-2:] == ["--", "zstd"]


def test_the_packages_are_the_arguments_of_the_script(tmp_path: Path) -> None:
    (tmp_path / "apt-get").write_text('#!/bin/sh\necho "$@"\n')
    (tmp_path / "apt-get").chmod(0o755)
    done = run(Apt().script(refresh=False, remove=False), tmp_path, "zstd", "jq")
    assert done.stdout.split()[-3:] == ["--", "zstd", "jq"]


@pytest.mark.parametrize(
    ("packages", "program", "listed"),
    [
        (Apt(), "apt-get", ("ii |bash|sh\n", "ii |bash|sh\nii |zstd|\nrc |old|\n")),
        (
            Dnf(),
            "dnf",
            ("bash-5.1.8-9.el9.x86_64\n", "bash-5-9.x86_64\nzstd-1-1.x86_64\n"),
        ),
    ],
)
@pytest.mark.parametrize("status", [0, 1])
def test_a_transaction_lists_what_there_is_right_before_and_after(
    tmp_path: Path,
    packages: Manager,
    program: str,
    listed: tuple[str, str],
    status: int,
) -> None:
    installed, tools, record_folder = tmp_path / "installed", tmp_path / "tools", tmp_path / "the record"
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
    script = record.LISTS + packages.script(refresh=False, remove=False)
    done = run(script, tools, str(record_folder), '["zstd"]', packages.listing, "zstd", check=False)
    assert done.returncode == status
    found = [packages.names_in((record_folder / name).read_text()) for name in ("before", "after")]
    assert found == [{"bash"}, {"bash", "zstd"}]
    assert (record_folder / "asked").read_text() == '["zstd"]\n'
    assert sorted(path.name for path in record_folder.iterdir()) == ["after", "asked", "before"]


def test_dnf_scripts_keep_weak_and_shared_packages_apart() -> None:
    script = Dnf().script(refresh=True, remove=False, allow=Allow(held=True))
    assert script == (
        'sh -c "$before"; dnf -y --refresh --disableplugin=versionlock --setopt=install_weak_deps=False '
        'install -- "$@"'
    )
    assert "--noautoremove" in Dnf().script(refresh=False, remove=True)


def test_apt_says_what_else_would_go(programs: Answers) -> None:
    output = "Reading package lists...\nPurg chrony [4.6]\nRemv time-tool:amd64 [1]\nConf x\n"
    programs.answer("apt-get -s purge", output)
    assert Apt().would_remove(["chrony"]) == {"chrony", "time-tool"}


def test_rpm_says_who_would_miss_a_package_and_who_would_miss_that(programs: Answers) -> None:
    missed = "error: Failed dependencies:\n\t{} is needed by (installed) {}-1.2-3.el9.x86_64\n"
    programs.answer(
        "rpm -e --test --allmatches libx", code=1, err=missed.format("libx.so()(64bit)", "tool-box")
    )
    second = missed.format("tool-box", "shelf")
    programs.answer("rpm -e --test --allmatches libx tool-box", code=1, err=second)
    programs.answer("rpm -e --test --allmatches libx shelf tool-box")
    assert Dnf().would_remove(["libx"]) == {"libx", "tool-box", "shelf"}


def test_rpm_is_asked_about_every_version_and_an_answer_it_does_not_give_is_no_leave(
    programs: Answers,
) -> None:
    programs.answer("rpm -e", code=1, err='error: "kernel-modules-extra" specifies multiple packages')
    with pytest.raises(Fault, match="specifies multiple packages"):
        Dnf().would_remove(["kernel-modules-extra", "docker-ce"])
    assert programs.ran == ["rpm -e --test --allmatches docker-ce kernel-modules-extra"]


def test_asks_apt_what_it_would_install(programs: Answers) -> None:
    programs.answer("apt-cache policy", "podman:\n  Installed: (none)\n  Candidate: 3.4.4+ds1-1ubuntu1\n")
    assert Apt().candidate("podman") == "3.4.4+ds1-1ubuntu1"
    programs.answer("apt-cache policy", "podman:\n  Installed: (none)\n  Candidate: (none)\n")
    assert Apt().candidate("podman") == ""
    assert Dnf().candidate("podman") == ""


def test_offers_of_dnf_are_read_however_it_breaks_its_lines(programs: Answers) -> None:
    text = """Available Packages
nvidia-driver-cuda.x86_64      3:580.105.08-1.el9     provision-nvidia
nvidia-driver-cuda.x86_64
                               3:580.159.04-1.el9     @provision-nvidia
"""
    programs.answer("dnf -q list", text)
    assert Dnf().offers("nvidia-driver-cuda") == [
        ("3:580.159.04-1.el9", "provision-nvidia"),
        ("3:580.105.08-1.el9", "provision-nvidia"),
    ]


def test_disabled_repositories_are_enabled_where_the_host_has_them(programs: Answers) -> None:
    programs.answer("dnf -q repolist --all", "repo id  repo name status\ncrb  CRB  disabled\n")
    packages = Dnf(User(repositories=("crb", "powertools")))
    packages.install(["dkms"], "installing")
    assert programs.ran[-1] == "dnf -y --enablerepo=crb --setopt=install_weak_deps=False install -- dkms"


DNF_SAYS = """\
Dependencies resolved.
================================================================================
 Package                Arch    Version             Repository             Size
================================================================================
Installing:
 cuda-toolkit-13-0      x86_64  13.0.2-1            provision-nvidia       10 k
     replacing  cuda-toolkit-old.x86_64 13.0.1-1
Removing:
 nvidia-driver-cuda     x86_64  3:580.159.04-1.el9  @provision-nvidia      10 k
 kmod-nvidia-open-dkms-of-a-long-name
                        noarch  3:580.159.04-1.el9  @provision-nvidia      10 k
Removing dependent packages:
 simulation             x86_64  1.0-1.el9           @ours                  10 k

Transaction Summary
================================================================================
Remove  3 Packages
"""


def test_what_dnf_would_change_is_read_from_its_table(programs: Answers) -> None:
    programs.answer("dnf --assumeno", DNF_SAYS, code=1)
    changes = Dnf().simulate(["cuda-toolkit-13-0"])
    assert changes.installed == {"cuda-toolkit-13-0"}
    assert changes.removed == {"nvidia-driver-cuda", "kmod-nvidia-open-dkms-of-a-long-name", "simulation"}
    programs.answer("dnf --assumeno -C", "Error: Unable to find a match: cuda", code=1)
    with pytest.raises(Fault, match="cuda-toolkit-13-0 cannot be installed: Error: Unable"):
        Dnf().simulate(["cuda-toolkit-13-0"], cached=True)


def test_apt_moves_holds(programs: Answers) -> None:
    programs.answer("apt-mark showhold", "old\ntheirs\n")
    Apt().hold(["b", "a"], ["old", "older"])
    assert programs.ran[1:] == ["apt-mark unhold old", "apt-mark hold a b"]
    programs.answer("apt-mark", code=1, err="no dpkg")
    with pytest.raises(Fault, match="apt-mark hold a failed: no dpkg"):
        Apt().hold(["a"])


@pytest.mark.parametrize(
    ("user", "expected"),
    [
        (User(mark="# ours"), ["# theirs", "theirs-0:1-1.*", "# ours", "new-0:2-1.*"]),
        (User(first=True), ["new-0:2-1.*", "# theirs", "theirs-0:1-1.*", "# ours"]),
        (None, ["# theirs", "theirs-0:1-1.*", "# ours", "new-0:2-1.*"]),
    ],
)
def test_locks_of_dnf_replace_ours_and_no_others(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, user: User | None, expected: list[str]
) -> None:
    path = tmp_path / "versionlock.list"
    path.write_text("# theirs\ntheirs-0:1-1.*\n# ours\nold-0:1-1.*\n")
    monkeypatch.setattr(dnf, "VERSIONLOCK", path)
    packages = Dnf(user)
    words = packages.hold_words({"new": "0:2-1"})
    packages.hold(words, ["old-0:1-1.*"])
    assert path.read_text().splitlines() == expected
    assert packages.held() == [line for line in expected if not line.startswith("#")]
    packages.release(words)
    assert packages.held() == ["theirs-0:1-1.*"]


def test_a_command_that_fails_says_what_it_said_and_what_helps(programs: Answers) -> None:
    programs.answer("apt-get", "E: Unable to locate package zstd", code=100)
    with pytest.raises(Fault, match=r"installing zstd failed \(exit 100\): E: Unable to locate") as caught:
        Apt(User(steps={UNKNOWN: "look elsewhere"})).install(["zstd"], "installing zstd")
    assert caught.value.next_step == "look elsewhere"


@pytest.mark.parametrize(
    ("output", "word"),
    [
        ("Release file for x is not valid yet", "clock"),
        ("Could not resolve 'mirror'", "DNS"),
        ("No space left on device", "free space"),
        ("SSL certificate problem: self-signed", "host_base_ca_certificates"),
        ("Error: Unable to find a match: chrony\nNo match for argument: chrony", "sources"),
        ("E: Version '13.0.7-*' for 'cuda-toolkit-13-0' was not found", "does not have that version"),
        ("W: GPG error: NO_PUBKEY A4B469963BF863CC", "not signed with a key that this host trusts"),
        ("something else", "journalctl -u provision-job-packages"),
        ("package containerd.io-1.7 conflicts with runc provided by runc-1.1.12", "exclude each other"),
        ("E: Packages need to be removed but remove is disabled.", "would have to be removed"),
    ],
)
def test_advice_fits_the_failure(output: str, word: str) -> None:
    assert word in advice(output, "provision-job-packages")


@pytest.mark.parametrize(("program", "kind"), [("apt-get", Apt), ("dnf", Dnf)])
def test_the_manager_is_the_one_that_the_host_has(
    monkeypatch: pytest.MonkeyPatch, program: str, kind: type[Manager]
) -> None:
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}" if name == program else None)
    assert isinstance(manager(), kind)
    monkeypatch.setattr("shutil.which", lambda _name: None)
    with pytest.raises(Fault, match="neither apt-get nor dnf"):
        manager()


def test_lists_are_stale_when_missing_old_or_older_than_their_sources(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    lists, stamp, sources = tmp_path / "lists", tmp_path / "stamp", tmp_path / "sources.list.d"
    lists.mkdir()
    sources.mkdir()
    monkeypatch.setattr(apt, "LISTS", lists)
    monkeypatch.setattr(apt, "STAMPS", (stamp,))
    monkeypatch.setattr(apt, "SOURCES", sources)
    now = time.time()
    os.utime(sources, (now - 90000, now - 90000))
    packages = Apt()
    assert packages.stale(3600)
    (lists / "archive_main_binary-amd64_Packages").touch()
    stamp.touch()
    assert not packages.stale(3600)
    os.utime(stamp, (now - 7200, now - 7200))
    assert packages.stale(3600)
    assert not packages.stale(86400)
    (sources / "mirror.sources").touch()
    assert packages.stale(86400)


def on_hold(monkeypatch: pytest.MonkeyPatch, words: set[str]) -> set[str]:
    """Give a host whose apt drops the holds of what it changes; return them, as they are at any time."""
    held = set(words)

    def mark(argv: Sequence[str]) -> Said:
        if argv[0] == "showhold":
            return Said("".join(f"{name}\n" for name in sorted(held)))
        (held.update if argv[0] == "hold" else held.difference_update)(argv[1:])
        return Said()

    def change(argv: Sequence[str]) -> Said:
        held.difference_update(argv)
        return Said(code=100 if "broken" in argv else 0)

    given = Programs(monkeypatch)
    given.add("apt-mark", mark)
    for name in ("apt-get", "dpkg"):
        given.add(name, change)
    there = [name for name in words if name != "removed"]
    given.add("dpkg-query", "".join(f"hi |{name.partition(':')[0]}|1\n" for name in there))
    return held


@pytest.mark.parametrize(
    "argv",
    [
        ["apt-get", "install", "--allow-change-held-packages", "--", "nvidia-driver"],
        ["apt-get", "install", "--reinstall", "--", "nvidia-driver"],
        ["dpkg", "-i", "nvidia-driver", "tzdata"],
        ["apt-get", "install", "--", "nvidia-driver", "broken"],
        ["apt-get", "purge", "--", "removed", "libc6:i386"],
    ],
)
def test_what_was_on_hold_is_on_hold_after_any_change(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, argv: list[str]
) -> None:
    monkeypatch.setattr(apt, "HOLDS", tmp_path / "holds.json")
    held = on_hold(monkeypatch, {"nvidia-driver", "tzdata", "removed", "libc6:i386"})
    Apt().attempt(argv)
    assert held == {"nvidia-driver", "tzdata", "libc6:i386"} | ({"removed"} - set(argv))
    assert not (tmp_path / "holds.json").exists()


def test_holds_that_a_killed_change_has_dropped_are_put_back_by_the_next(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(apt, "HOLDS", tmp_path / "holds.json")
    held = on_hold(monkeypatch, {"tzdata"})
    held.clear()
    (tmp_path / "holds.json").write_text('["tzdata"]')
    Apt().attempt(["apt-get", "install", "--", "zstd"])
    assert held == {"tzdata"}


def test_only_our_holds_are_released(monkeypatch: pytest.MonkeyPatch) -> None:
    held = on_hold(monkeypatch, {"nvidia-driver", "tzdata"})
    Apt().hold([], ["nvidia-driver"])
    assert held == {"tzdata"}


@pytest.mark.parametrize("status", [0, 100])
def test_a_recorded_transaction_puts_holds_back_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    """Whoever started it may be gone by then."""
    tools = {
        "apt-get": f"echo zstd > $HOLDS; exit {status}",
        "apt-mark": 'case $1 in hold) echo "$2" >> $HOLDS ;; *) cat $HOLDS ;; esac',
        "dpkg-query": 'case $4 in removed) exit 1 ;; "") echo "ii |x|" ;; *) echo "hi " ;; esac',
    }
    for name, text in tools.items():
        (tmp_path / name).write_text(f"#!/bin/sh\nHOLDS={tmp_path}/holds\n{text}\n")
        (tmp_path / name).chmod(0o755)
    (tmp_path / "holds").write_text("zstd\nremoved\ntzdata\n")
    monkeypatch.setattr(record, "RECORD", tmp_path / "record")
    argv = record.command(Apt(), Apt().script(refresh=False, remove=False), ["jq"], ["jq"])
    monkeypatch.setattr(apt, "STAMP", tmp_path / "stamp")
    done = subprocess.run(argv, env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, capture_output=True, text=True)  # noqa: PLW1510
    assert done.returncode == (1 if status else 0), done.stderr
    assert set((tmp_path / "holds").read_text().split()) == {"zstd", "tzdata"}


@pytest.mark.parametrize(
    ("said", "named"),
    [
        ("E: Unable to correct problems, you have held broken packages.", True),
        ("E: Held packages were changed and -y was used without --allow-change-held-packages.", True),
        ("E: Unable to satisfy dependencies. Reached two conflicting decisions:", True),
        ("E: Unable to locate package zstd", False),
    ],
)
def test_a_hold_that_may_be_in_the_way_is_named(programs: Answers, said: str, named: bool) -> None:
    programs.answer("apt-mark showhold", "libc6\ntzdata\n")
    step = Apt().failure("it failed", said).next_step
    assert ("on hold are libc6, tzdata (`apt-mark showhold`)" in step) is named


def test_a_lock_of_dnf_is_named_where_it_hides_packages() -> None:
    assert "dnf versionlock list" in advice(
        "All matches were filtered out by exclude filtering for argument: x"
    )


def test_locks_that_dnf5_would_not_read_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(dnf, "VERSIONLOCK", tmp_path / "versionlock.list")
    (tmp_path / "dnf5").touch()
    (tmp_path / "dnf").symlink_to("dnf5")
    monkeypatch.setattr("shutil.which", lambda _: str(tmp_path / "dnf"))
    with pytest.raises(Fault, match="dnf is dnf5 on this host"):
        Dnf().hold(["kernel-core-0:6.1-1.*"])
    assert not (tmp_path / "versionlock.list").exists()
    # A removal goes on.
    Dnf().release(["kernel-core-0:6.1-1.*"])


def test_a_key_that_the_policy_refuses_is_not_called_a_wrong_one() -> None:
    said = (
        "W: OpenPGP signature verification failed: http://old.example stable InRelease: Sub-process "
        "/usr/bin/sqv returned an error code (1), error message is: Signing key on 0123456789ABCDEF is not "
        "bound: No binding signature at time 2026-03-01T00:00:00Z because: Policy rejected non-revocation "
        "signature (PositiveCertification) requiring second pre-image resistance because: SHA1 is not "
        "considered secure since 2026-02-01T00:00:00Z\n"
        "E: The repository 'http://old.example stable InRelease' is not signed.\n"
    )
    step = Apt(User(steps={"key": "NVIDIA has a new key"})).failure("it failed", said).next_step
    assert "apt's policy refuses keys that are signed with SHA-1" in step
    assert "apt-sequoia.config" in step
    assert advice("E: The repository 'x' is not signed.").startswith(
        "the repository is not signed with a key"
    )
