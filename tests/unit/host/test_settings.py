# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.module_utils.provision.host import proxied, proxy
from ansible.module_utils.provision.host import settings as host_kinds
from ansible.module_utils.provision.host.fault import Fault
from ansible.module_utils.provision.host.settings import Kind, NotApplicable

from provisioner.ansible.modules import host_settings
from tests.unit.fakes import Programs, Said


class Host(dict[str, str]):
    """Hold settings of made-up kinds; the name locked refuses, as a read-only kernel setting does."""

    def kind(self, kind: str) -> Kind:
        def write(name: str, value: str | None) -> None:
            if name == "locked":
                raise NotApplicable("locked cannot be set here")
            if value is None:
                self.pop(f"{kind} {name}", None)
            else:
                self[f"{kind} {name}"] = value

        return Kind(lambda name: self.get(f"{kind} {name}"), write)


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Host:
    fake = Host()
    for kind in ("group", "file", "ufw", "sysctl", "timezone"):
        monkeypatch.setitem(host_kinds.KINDS, kind, fake.kind(kind))
    monkeypatch.setattr(host_settings, "LEDGER", tmp_path / "provision/host_base.json")
    monkeypatch.setattr(host_settings, "RUNTIME", tmp_path / "run")
    monkeypatch.setattr(host_settings, "source_files", dict)
    monkeypatch.setattr(os, "access", lambda path, _mode: not path.endswith("read/only"))
    return fake


def setting(kind: str, name: str, value: str) -> dict[str, str]:
    return {"kind": kind, "name": name, "value": value}


def call(*settings: dict[str, str], check: bool = False, **params: Any) -> dict[str, Any]:
    defaults = {
        "scope": ["group", "file", "ufw", "sysctl"],
        "mirrors": {},
        "container": False,
        "state": "present",
        "proxy": {},
        "direct": [],
        "container_engine": "none",
    }
    given = {**defaults, "settings": list(settings), **params}
    module = SimpleNamespace(params=given, check_mode=check, no_log_values=set())
    result: dict[str, Any] = host_settings.Settings(module).run()
    return result


def test_makes_what_is_missing_once(host: Host) -> None:
    assert call(setting("group", "provision", "present"))["changes"] == ["group provision"]
    assert host == {"group provision": "present"}
    assert call(setting("group", "provision", "present")) == {
        "changed": False,
        "changes": [],
        "notes": [],
        "diff": [],
    }


def test_check_mode_shows_the_change_and_makes_none(host: Host) -> None:
    host["file /etc/x"] = "old\n"
    result = call(setting("file", "/etc/x", "new\n"), check=True)
    assert result["diff"] == [
        {"before_header": "file /etc/x", "after_header": "file /etc/x", "before": "old\n", "after": "new\n"}
    ]
    assert host == {"file /etc/x": "old\n"}
    assert not host_settings.LEDGER.exists()


def test_takes_back_exactly_what_was_there(host: Host) -> None:
    before = {"file /etc/x": "old\n", "timezone system": "Etc/UTC", "group theirs": "present"}
    host.update(before)
    call(
        setting("file", "/etc/x", "new\n"),
        setting("timezone", "system", "Europe/Berlin"),
        setting("group", "theirs", "present"),
        setting("group", "provision", "present"),
    )
    assert call(state="absent")["changes"] == ["group provision", "timezone system", "file /etc/x"]
    assert host == before
    assert not host_settings.LEDGER.parent.exists()


def test_only_root_reads_what_was_there_before(host: Host) -> None:
    del host
    ledger = host_settings.LEDGER
    ledger.parent.mkdir()
    fresh = ledger.with_name(f".{ledger.name}.new")
    fresh.touch(mode=0o644)
    call(setting("group", "provision", "present"))
    assert ledger.stat().st_mode & 0o777 == 0o600
    assert not fresh.exists()


def test_a_ledger_that_others_could_read_is_closed_to_them(host: Host) -> None:
    del host
    ledger = host_settings.LEDGER
    call(setting("group", "provision", "present"))
    ledger.chmod(0o644)
    call(setting("group", "provision", "present"), check=True)
    assert ledger.stat().st_mode & 0o777 == 0o644
    assert call(setting("group", "provision", "present"))["changed"] is False
    assert ledger.stat().st_mode & 0o777 == 0o600


def test_leaves_alone_what_somebody_changed_since(host: Host) -> None:
    call(setting("file", "/etc/x", "ours\n"))
    host["file /etc/x"] = "theirs\n"
    result = call(state="absent")
    assert result["notes"] == ["file /etc/x stays: it has been changed since"]
    assert host == {"file /etc/x": "theirs\n"}
    assert not host_settings.LEDGER.exists()


def test_a_second_change_still_remembers_the_first_value(host: Host) -> None:
    host["file /etc/x"] = "old\n"
    call(setting("file", "/etc/x", "one\n"))
    call(setting("file", "/etc/x", "two\n"))
    call(state="absent")
    assert host == {"file /etc/x": "old\n"}


def test_closes_what_is_no_longer_exposed_within_its_scope(host: Host) -> None:
    call(setting("ufw", "8000/tcp", "open"), setting("timezone", "system", "Etc/UTC"))
    assert call(setting("ufw", "8001/tcp", "open"))["changes"] == ["ufw 8000/tcp", "ufw 8001/tcp"]
    assert host == {"ufw 8001/tcp": "open", "timezone system": "Etc/UTC"}


def test_the_first_value_is_on_disk_before_the_change(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_name: str, _value: str | None) -> None:
        raise Fault("groupadd failed", "repair it")

    monkeypatch.setitem(host_kinds.KINDS, "group", Kind(lambda _name: None, fail))
    with pytest.raises(Fault):
        call(setting("group", "provision", "present"))
    assert host == {}
    assert json.loads(host_settings.LEDGER.read_text()) == {
        "group provision": {"before": None, "after": "present"}
    }


def test_kernel_settings_are_raised_never_lowered_and_kept_for_the_next_boot(host: Host) -> None:
    host.update({"sysctl vm.low": "100", "sysctl vm.high": "900", "sysctl vm.exact": "60"})
    wanted = (
        setting("sysctl_minimum", "vm.low", "500"),
        setting("sysctl_minimum", "vm.high", "500"),
        setting("sysctl", "vm.exact", "10"),
    )
    call(*wanted)
    assert (host["sysctl vm.low"], host["sysctl vm.high"], host["sysctl vm.exact"]) == ("500", "900", "10")
    assert host["file /etc/sysctl.d/60-provision.conf"].splitlines()[1:] == ["vm.exact = 10", "vm.low = 500"]
    assert call(*wanted)["changed"] is False
    call(state="absent")
    assert host == {"sysctl vm.low": "100", "sysctl vm.high": "900", "sysctl vm.exact": "60"}


def test_what_a_container_shares_is_left_alone_and_said(host: Host) -> None:
    host.update({"sysctl vm.swappiness": "60", "sysctl net.core.somaxconn": "128", "sysctl read.only": "1"})
    result = call(
        setting("sysctl", "vm.swappiness", "10"),
        setting("sysctl_minimum", "net.core.somaxconn", "4096"),
        container=True,
    )
    assert result["changes"] == ["file /etc/sysctl.d/60-provision.conf", "sysctl net.core.somaxconn"]
    assert result["notes"] == ["vm.swappiness belongs to the machine that runs this container"]
    assert call(setting("sysctl", "read.only", "2"))["notes"] == [
        "read.only is read-only here: the machine that runs this host decides it"
    ]


def test_a_setting_this_host_refuses_is_a_note(host: Host) -> None:
    assert call(setting("group", "locked", "present"))["notes"] == ["locked cannot be set here"]
    assert host == {}


def test_a_certificate_is_shown_by_its_digest_and_trusted(host: Host, programs: Programs) -> None:
    programs.add("update-ca-certificates")
    path = "/usr/local/share/ca-certificates/provision-company.crt"
    result = call(setting("file", path, "-----BEGIN CERTIFICATE-----\n"))
    assert result["diff"][0]["after"].startswith("certificate, sha256 ")
    assert programs.calls == [("update-ca-certificates", "--fresh")]
    call(setting("file", path, "-----BEGIN CERTIFICATE-----\n"))
    assert (len(programs.calls), len(host)) == (1, 1)


def test_mirrors_rewrite_sources_and_leave_again(
    host: Host, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    sources = tmp_path / "debian.sources"
    sources.write_text("URIs: https://a.example/debian\n")
    monkeypatch.setattr(host_settings, "source_files", lambda: {str(sources): sources.read_text()})
    mirrors = {"https://a.example": "https://b.example"}
    assert call(mirrors=mirrors, scope=["source"])["changes"] == [f"source {sources}"]
    assert sources.read_text() == "URIs: https://b.example/debian\n"
    assert call(mirrors=mirrors, scope=["source"])["changed"] is False
    call(scope=["source"])
    assert sources.read_text() == "URIs: https://a.example/debian\n"
    assert host == {}


def test_directories_carry_mode_and_owner_and_go_when_empty(tmp_path: Path) -> None:
    directory = str(tmp_path / "models")
    owner = f"{tmp_path.owner()}:{tmp_path.group()}"
    assert host_kinds.read_directory(directory) is None
    host_kinds.write_directory(directory, f"0750 {owner}")
    assert host_kinds.read_directory(directory) == f"0750 {owner}"
    (tmp_path / "models/weights").touch()
    with pytest.raises(NotApplicable, match="it is not empty"):
        host_kinds.write_directory(directory, None)
    (tmp_path / "models/weights").unlink()
    host_kinds.write_directory(directory, None)
    assert not Path(directory).exists()


def test_a_directory_of_our_own_stays_while_a_unit_uses_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    own, units = tmp_path / "opt", tmp_path / "units"
    (own / "envs").mkdir(parents=True)
    units.mkdir()
    monkeypatch.setattr(host_kinds, "OWN_TREES", (str(own),))
    monkeypatch.setattr(host_kinds, "UNITS", units)
    (units / "vllm.service").write_text(f"ExecStart={own}/envs/x/bin/python\n")
    with pytest.raises(NotApplicable, match=r"vllm\.service uses it"):
        host_kinds.write_directory(str(own), None)
    (units / "vllm.service").unlink()
    host_kinds.write_directory(str(own), None)
    assert not own.exists()


def test_a_file_keeps_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "x.conf"
    path.write_text("old\n")
    path.chmod(0o600)
    host_kinds.write_file(str(path), "new\n")
    assert path.read_text() == "new\n"
    assert path.stat().st_mode & 0o777 == 0o600
    host_kinds.write_file(str(path), None)
    assert host_kinds.read_file(str(path)) is None


def test_the_time_zone_is_a_link(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    zones = tmp_path / "zoneinfo"
    (zones / "Europe").mkdir(parents=True)
    (zones / "Europe/Berlin").touch()
    monkeypatch.setattr(host_kinds, "ZONES", zones)
    monkeypatch.setattr(host_kinds, "LOCALTIME", tmp_path / "localtime")
    assert host_kinds.read_timezone("system") is None
    host_kinds.write_timezone("system", "Europe/Berlin")
    assert host_kinds.read_timezone("system") == "Europe/Berlin"
    (zones / "Etc").mkdir()
    (zones / "Etc/UTC").touch()
    (zones / "UTC").symlink_to("Etc/UTC")
    host_kinds.write_timezone("system", "UTC")
    assert host_kinds.read_timezone("system") == "UTC"
    with pytest.raises(Fault, match="no time zone Europe/Atlantis"):
        host_kinds.write_timezone("system", "Europe/Atlantis")
    host_kinds.write_timezone("system", None)
    assert host_kinds.read_timezone("system") is None


@pytest.mark.parametrize(
    ("answers", "port", "expected"),
    [
        ("ufw allow 8000/tcp\nufw allow 22/tcp comment 'ssh'", "8000/tcp", "open"),
        ("ufw allow 8000/tcp\nufw allow 22/tcp comment 'ssh'", "22/tcp", "open"),
        ("ufw allow 18000/tcp", "8000/tcp", None),
    ],
)
def test_reads_open_ports_of_ufw(programs: Programs, answers: str, port: str, expected: str | None) -> None:
    programs.add("ufw", answers)
    assert host_kinds.read_ufw(port) == expected


def test_firewalld_is_told_now_and_for_the_next_boot(programs: Programs) -> None:
    programs.add("firewall-cmd")
    host_kinds.write_firewalld("8000/tcp", "open")
    host_kinds.write_firewalld("8000/tcp", None)
    assert programs.calls == [
        ("firewall-cmd", "--permanent", "--add-port=8000/tcp"),
        ("firewall-cmd", "--add-port=8000/tcp"),
        ("firewall-cmd", "--permanent", "--remove-port=8000/tcp"),
        ("firewall-cmd", "--remove-port=8000/tcp"),
    ]


def test_a_failing_program_is_named_with_what_it_said() -> None:
    with pytest.raises(Fault, match="ls /nowhere failed: ls: cannot access"):
        host_kinds.run_checked("ls", "/nowhere")
    assert host_kinds.command("no-such-program")[0] == 127


@pytest.mark.parametrize(
    ("enabled", "shown", "expected"),
    [
        (0, "ActiveState=active\nConditionResult=yes\nConditionTimestamp=Fri", "on"),
        (0, "ActiveState=inactive\nConditionResult=no\nConditionTimestamp=Fri", "on"),
        (0, "ActiveState=inactive\nConditionResult=no\nConditionTimestamp=", "off"),
        (0, "ActiveState=failed\nConditionResult=yes\nConditionTimestamp=Fri", "off"),
        (1, "ActiveState=active\nConditionResult=yes\nConditionTimestamp=Fri", "off"),
    ],
)
def test_a_service_that_its_conditions_refuse_counts_as_on(
    programs: Programs, enabled: int, shown: str, expected: str
) -> None:
    programs.add("systemctl", lambda argv: Said(code=enabled) if argv[0] == "is-enabled" else Said(shown))
    assert host_kinds.read_service("chrony.service") == expected


@pytest.fixture
def out(host: Host, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Give a host with dnf and real files, whose proxy has files below a folder of the test."""
    del host
    monkeypatch.setattr(host_kinds, "DNF", str(tmp_path / "dnf.conf"))
    monkeypatch.setattr(proxied, "DNF", str(tmp_path / "dnf.conf"))
    monkeypatch.setattr(proxy, "FILE", tmp_path / "proxy.env")
    Programs(monkeypatch).add("dnf")
    (tmp_path / "dnf.conf").write_text("[main]\nbest=True\nproxy = http://old:1\n\n[x]\nproxy=http://x:1\n")
    (tmp_path / "dnf.conf").chmod(0o644)
    return tmp_path


SCOPE = ["private", "mode", "dnf"]
LOGIN = {"http": "http://me:s3%40cret@proxy:3128", "no_proxy": "a"}


def test_a_password_is_for_root_alone_and_goes_with_the_variable(out: Path) -> None:
    before = (out / "dnf.conf").read_text()
    result = call(proxy=LOGIN, scope=SCOPE)
    text = (out / "dnf.conf").read_text()
    assert {"proxy=http://proxy:3128", "proxy_username=me", "proxy_password=s3@cret"} < set(text.splitlines())
    # Another section keeps its own.
    assert text.endswith("[x]\nproxy=http://x:1\n")
    files = [out / name for name in ("proxy.env", "dnf.conf", "provision/host_base.json")]
    assert [path.stat().st_mode & 0o777 for path in files] == [0o600] * 3
    assert "s3" not in str({**result, "changes": []})
    assert not call(proxy=LOGIN, scope=SCOPE)["changed"]
    # Without the password, the file is open again; without the variable, everything is as before.
    call(proxy={"http": "http://proxy:3128"}, scope=SCOPE)
    assert (out / "dnf.conf").stat().st_mode & 0o777 == 0o644
    assert "password" not in (out / "dnf.conf").read_text()
    call(scope=SCOPE)
    assert sorted((out / "dnf.conf").read_text().split()) == sorted(
        before.replace("proxy = ", "proxy=").split()
    )
    assert not (out / "proxy.env").exists()
    assert not host_settings.LEDGER.exists()


def test_a_proxy_that_others_could_read_is_closed_again(out: Path) -> None:
    call(proxy=LOGIN, scope=SCOPE)
    (out / "proxy.env").chmod(0o644)
    assert call(proxy=LOGIN, scope=SCOPE, check=True)["changes"] == [f"private {out}/proxy.env"]
    call(proxy=LOGIN, scope=SCOPE)
    assert (out / "proxy.env").stat().st_mode & 0o777 == 0o600


def test_a_check_writes_no_proxy(out: Path) -> None:
    assert call(proxy=LOGIN, scope=SCOPE, check=True)["changed"]
    assert not (out / "proxy.env").exists()


def test_a_wrong_proxy_out_of_a_vault_is_reported_without_it(out: Path) -> None:
    with pytest.raises(Fault, match="host_base_proxy has a character") as caught:
        call(proxy={"http": "http://me:a b@proxy:1"}, scope=SCOPE)
    assert "a b" not in f"{caught.value}{caught.value.next_step}"
    assert list(out.glob("proxy*")) == []


def test_warns_that_docker_keeps_a_proxy_that_is_gone(
    host: Host, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(proxied, "DOCKER", str(tmp_path / "drop-in"))
    monkeypatch.setitem(host_kinds.KINDS, "service", Kind(lambda _: "on", lambda *_: None))
    call(setting("file", str(tmp_path / "drop-in"), "x\n"))
    (tmp_path / "drop-in").touch()
    assert "provision" not in call(check=True)
    (tmp_path / "drop-in").unlink()
    assert "systemctl restart docker" in str(call()["provision"]["warning"])
    assert "provision" not in call()
    assert not host
