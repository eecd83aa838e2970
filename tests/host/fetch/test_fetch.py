# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.provision.fetch import archive
from ansible.module_utils.provision.fetch.place import Wanted, doubt
from ansible.module_utils.provision.host import paths
from ansible.module_utils.provision.host.fault import Fault

from tests.unit.fetch.served import BIG, Site, packed

Orders = Callable[..., dict[str, Any]]
HALF = BIG // 2


@pytest.fixture(autouse=True)
def url(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(archive.URL_VARIABLE, site.url)


def told(spec: dict[str, Any]) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(Path(spec["result"]).read_text())
    return result


def assert_there(spec: dict[str, Any]) -> None:
    directory = Path(spec["directory"])
    assert doubt(directory, Wanted.of(spec)) == ""
    assert (directory / "bin/tool").read_bytes() == b"#!/bin/sh\n"
    assert told(spec)["state"] == "done"
    assert [path.name for path in directory.parent.iterdir()] == [directory.name]
    assert list((Path(spec["cache"]) / "tool").iterdir()) == []


def assert_nothing_there(spec: dict[str, Any]) -> None:
    assert list(Path(spec["root"], "tool").iterdir()) == []


def failure(spec: dict[str, Any]) -> Fault:
    with pytest.raises(Fault) as caught:
        archive.fetch(spec)
    assert told(spec)["state"] == "failed"
    assert told(spec)["directory"] == spec["directory"]
    return caught.value


@pytest.mark.usefixtures("release")
def test_fetches_verifies_and_publishes(site: Site, orders: Orders) -> None:
    spec = orders()
    archive.fetch(spec)
    assert_there(spec)
    assert told(spec)["changed"] is True
    assert told(spec)["warnings"] == []
    archive.fetch(spec)
    assert told(spec)["changed"] is False
    assert len(site.asked) == 1


@pytest.mark.usefixtures("release")
def test_goes_on_where_the_connection_was_cut(site: Site, orders: Orders, pauses: list[float]) -> None:
    site.faults = [{"cut": HALF}, {"cut": 1000}]
    spec = orders()
    archive.fetch(spec)
    assert_there(spec)
    assert [asked.get("range") for asked in site.asked] == [None, f"bytes={HALF}-", f"bytes={HALF + 1000}-"]
    assert site.asked[1]["if-range"] == '"one"'
    assert pauses == [1, 2]


@pytest.mark.usefixtures("release")
def test_another_run_goes_on_with_what_has_arrived(site: Site, orders: Orders, pauses: list[float]) -> None:
    site.faults = [{"cut": HALF}, {"cut": 0}, {"cut": 0}]
    fault = failure(orders())
    assert "the last time with: the connection ended after" in str(fault)
    assert f"{HALF} of {len(site.content)} bytes have arrived" in str(fault)
    assert "what has arrived is kept" in fault.next_step
    assert len(pauses) == 2
    spec = orders()
    archive.fetch(spec)
    assert_there(spec)
    assert site.asked[-1]["range"] == f"bytes={HALF}-"


@pytest.mark.usefixtures("release")
def test_begins_anew_where_a_server_cannot_resume(site: Site, orders: Orders, pauses: list[float]) -> None:
    site.ranges = False
    site.faults = [{"cut": HALF}]
    spec = orders()
    archive.fetch(spec)
    assert_there(spec)
    assert len(pauses) == 1


@pytest.mark.usefixtures("pauses")
def test_begins_anew_when_the_file_has_changed(site: Site, orders: Orders, release: bytes) -> None:
    spec = orders()
    old = bytes(len(release) * 2)
    site.content, site.tag = old, '"old"'
    site.faults = [{"cut": HALF}, {"become": (release, '"new"')}]
    archive.fetch(spec)
    assert_there(spec)
    assert site.asked[1]["if-range"] == '"old"'


@pytest.mark.usefixtures("pauses")
@pytest.mark.parametrize("length", [HALF * 8, HALF // 2])
def test_notices_another_size_without_a_tag(site: Site, orders: Orders, release: bytes, length: int) -> None:
    spec = orders()
    site.content, site.tag = bytes(HALF * 3), ""
    site.faults = [{"cut": HALF}, {"become": (bytes(length), "")}, {"become": (release, "")}]
    archive.fetch(spec)
    assert_there(spec)
    assert site.asked[2].get("range") is None


@pytest.mark.usefixtures("pauses")
def test_parts_of_two_files_are_fetched_again_in_full(site: Site, orders: Orders, release: bytes) -> None:
    spec = orders()
    site.content, site.tag = bytes(len(release)), ""
    site.faults = [{"cut": HALF}, {"become": (release, "")}]
    archive.fetch(spec)
    assert_there(spec)
    assert [asked.get("range") for asked in site.asked] == [None, f"bytes={HALF}-", None]


@pytest.mark.usefixtures("release")
@pytest.mark.parametrize("status", [500, 502, 503, 429, 408])
def test_asks_again_after_a_passing_error(
    site: Site, orders: Orders, pauses: list[float], status: int
) -> None:
    site.faults = [{"status": status, "headers": {"Retry-After": "7"}}, {"status": status}]
    spec = orders()
    archive.fetch(spec)
    assert_there(spec)
    assert pauses == [7, 2]


@pytest.mark.usefixtures("release")
def test_gives_up_with_the_facts(site: Site, orders: Orders, pauses: list[float]) -> None:
    site.faults = [{"status": 503}] * 3
    fault = failure(orders())
    assert str(fault) == (
        f"{site.url} failed 3 times in a row, the last time with: HTTP 503 Service Unavailable; "
        "0 bytes have arrived"
    )
    assert pauses == [1, 2]


@pytest.mark.usefixtures("release")
def test_does_not_sit_through_an_hour(site: Site, orders: Orders, pauses: list[float]) -> None:
    site.faults = [{"status": 429, "headers": {"Retry-After": "3600"}}]
    assert "the server asks for a wait of 3600 s" in str(failure(orders()))
    assert pauses == []


@pytest.mark.usefixtures("release")
@pytest.mark.parametrize(
    ("status", "remedy"), [(401, "user and password"), (404, "no such file"), (400, "the server behind it")]
)
def test_what_no_repetition_mends(
    site: Site, orders: Orders, pauses: list[float], status: int, remedy: str
) -> None:
    site.faults = [{"status": status}]
    fault = failure(orders())
    assert f"cannot be fetched: HTTP {status}" in str(fault)
    assert remedy in fault.next_step
    assert (len(site.asked), pauses) == (1, [])


@pytest.mark.usefixtures("release")
def test_a_silent_connection_is_dead(site: Site, orders: Orders, pauses: list[float]) -> None:
    site.faults = [{"stall": True, "cut": HALF}]
    spec = orders(stall_seconds=0.2)
    archive.fetch(spec)
    assert_there(spec)
    assert site.asked[1]["range"] == f"bytes={HALF}-"
    assert pauses == [1]


@pytest.mark.usefixtures("release")
@pytest.mark.parametrize("fault", [{"wrong": True}, {"short": 5000}])
def test_a_wrong_file_is_deleted_and_both_hashes_named(
    site: Site, orders: Orders, fault: dict[str, Any]
) -> None:
    site.faults = [fault]
    spec = orders()
    said = str(failure(spec))
    assert f"expected {spec['sha256']}: the download was deleted" in said
    assert f"{site.url} has sha256 " in said
    assert f"({fault.get('short', len(site.content))} bytes)" in said
    assert len(site.asked) == 1
    assert_nothing_there(spec)
    assert list((Path(spec["cache"]) / "tool").iterdir()) == []


@pytest.mark.usefixtures("release")
def test_an_answer_without_a_size_is_asked_for_twice(site: Site, orders: Orders) -> None:
    site.sized = False
    site.faults = [{"cut": HALF}]
    spec = orders()
    archive.fetch(spec)
    assert_there(spec)
    (warning,) = told(spec)["warnings"]
    assert "the size of the download of tool 1.0 is unknown" in warning


@pytest.mark.usefixtures("release")
def test_says_that_the_unpacked_size_is_unknown(orders: Orders) -> None:
    spec = orders(needed_bytes=0)
    archive.fetch(spec)
    (warning,) = told(spec)["warnings"]
    assert "the size of the unpacked archive of tool 1.0 is unknown" in warning


@pytest.mark.usefixtures("release")
def test_what_cannot_fit_is_refused_before_it_is_fetched(site: Site, orders: Orders) -> None:
    spec = orders(needed_bytes=10**18)
    fault = failure(spec)
    assert f"{len(site.content)} bytes still to download, unpacked {10**18} bytes" in str(fault)
    assert "free 999999" in fault.next_step
    assert_nothing_there(spec)
    assert list((Path(spec["cache"]) / "tool").iterdir()) == []


@pytest.mark.usefixtures("release")
@pytest.mark.parametrize(("split", "fits"), [(False, False), (True, True)])
def test_download_and_archive_share_a_disk_or_not(
    orders: Orders, monkeypatch: pytest.MonkeyPatch, split: bool, fits: bool
) -> None:
    spec = orders()
    room = spec["needed_bytes"] + 1000
    devices = {True: lambda path: path.parts.count("cache"), False: lambda _path: 1}
    monkeypatch.setattr(paths, "device", devices[split])
    monkeypatch.setattr(paths, "free_bytes", lambda path: room if "archives" in path.parts else BIG * 2)
    if fits:
        archive.fetch(spec)
        assert_there(spec)
    else:
        assert "not enough disk" in str(failure(spec))


@pytest.mark.usefixtures("release")
def test_a_full_disk_keeps_what_has_arrived(orders: Orders, monkeypatch: pytest.MonkeyPatch) -> None:
    full = OSError(28, "No space left on device")

    def write(_self: Any, _member: Any, _path: Any, _content: Any) -> None:
        raise full

    monkeypatch.setattr("ansible.module_utils.provision.fetch.unpack.Unpack._write", write)
    spec = orders()
    with pytest.raises(OSError, match="No space left"):
        archive.fetch(spec)
    state = told(spec)
    assert (state["state"], state["message"]) == ("failed", "tool 1.0: unpacking: No space left on device")
    assert state["next"].startswith("free space on that file system")
    assert_nothing_there(spec)
    monkeypatch.undo()
    assert (Path(spec["cache"]) / "tool" / f"{spec['sha256'][:12]}.part").is_file()


@pytest.mark.usefixtures("release")
def test_a_redirection_is_followed_without_the_password(
    site: Site, orders: Orders, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(archive.URL_VARIABLE, site.url.replace("//", "//me:s%40cret@"))
    site.faults = [{"status": 302, "headers": {"Location": "/elsewhere?signed=1"}}]
    archive.fetch(orders())
    assert site.asked[0]["authorization"] == "Basic bWU6c0BjcmV0"
    assert "authorization" not in site.asked[1]
    assert site.paths[1] == "/elsewhere?signed=1"


@pytest.mark.usefixtures("release")
def test_a_redirection_leads_to_no_file(site: Site, orders: Orders) -> None:
    site.faults = [{"status": 302, "headers": {"Location": "file:///etc/passwd"}}]
    assert "cannot be fetched: HTTP 302" in str(failure(orders()))


@pytest.mark.usefixtures("release")
@pytest.mark.parametrize("fault", [{"status": 404}, {"status": 503}, {"wrong": True}])
def test_secrets_of_the_url_are_told_nobody(
    site: Site,
    orders: Orders,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    fault: dict[str, Any],
) -> None:
    monkeypatch.setenv(archive.URL_VARIABLE, site.url.replace("//", "//me:s3cret@") + "?token=s3cret")
    monkeypatch.setattr("ansible.module_utils.provision.jobs.patience.time.sleep", lambda _: None)
    site.faults = [fault] * 3
    spec = orders()
    folder = Path(spec["root"]).parent
    (folder / "spec.json").write_text(json.dumps(spec))
    assert archive.main(["fetch", str(folder / "spec.json")]) == 1
    shown = capfd.readouterr().err
    assert f"{site.url}?…" in shown
    kept = [path.read_bytes() for path in folder.rglob("*") if path.is_file()]
    assert "s3cret" not in shown
    assert not any(b"s3cret" in text for text in kept)


@pytest.mark.usefixtures("release")
def test_goes_through_the_proxy(site: Site, orders: Orders, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(archive.URL_VARIABLE, "http://releases.example/tool.tar.gz")
    monkeypatch.setenv("http_proxy", f"http://me:pass@127.0.0.1:{site.server_port}")
    archive.fetch(orders())
    assert site.paths == ["http://releases.example/tool.tar.gz"]
    assert site.asked[0]["proxy-authorization"] == "Basic bWU6cGFzcw=="


@pytest.mark.usefixtures("release")
def test_a_proxy_that_speaks_no_http_is_refused(orders: Orders, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "socks5://me:pass@127.0.0.1:1")
    fault = failure(orders())
    assert "does not point to an HTTP proxy" in str(fault)
    assert "pass" not in str(fault)


@pytest.mark.parametrize(
    "url", ["", "ftp://h.example/x", "https:///x", "https://h.example/a b", "https://[x/y", "/srv/x.tar"]
)
@pytest.mark.usefixtures("release")
def test_an_odd_url_is_refused(orders: Orders, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv(archive.URL_VARIABLE, url)
    assert "not the URL of a file on a web server" in str(failure(orders()))


@pytest.mark.usefixtures("release")
def test_zstd_is_missed_before_the_first_byte(
    site: Site, orders: Orders, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(archive.URL_VARIABLE, site.url.replace(".gz", ".zst"))
    monkeypatch.setattr(archive.shutil, "which", lambda _name: None)
    fault = failure(orders())
    assert "zstd" in str(fault)
    assert "install the package zstd" in fault.next_step
    assert site.asked == []


def test_a_missing_program_is_named_with_what_is_there(site: Site, orders: Orders) -> None:
    site.content = packed(("build/bin/tool", b"x"), ("README", b"y"))
    spec = orders()
    fault = failure(spec)
    assert "does not contain bin/tool: it has build/bin/tool" in str(fault)
    assert_nothing_there(spec)


@pytest.mark.usefixtures("release")
def test_a_broken_directory_is_replaced_and_rubbish_goes(orders: Orders) -> None:
    spec = orders()
    directory = Path(spec["directory"])
    (directory / "bin").mkdir(parents=True)
    (directory.parent / ".0.9-aaaaaaaaaaaa.partial").mkdir()
    (directory.parent / f".{directory.name}.old").mkdir()
    older = Path(spec["cache"]) / "tool" / "aaaaaaaaaaaa.part"
    older.parent.mkdir(parents=True)
    older.touch()
    archive.fetch(spec)
    assert_there(spec)


@pytest.mark.usefixtures("release")
def test_tells_how_far_it_is(site: Site, orders: Orders) -> None:
    site.faults = [{"stall": True, "cut": HALF}]
    spec = orders(stall_seconds=30)
    worker = threading.Thread(target=archive.fetch, args=(spec,))
    worker.start()
    seen: dict[str, Any] = {}
    try:
        # The file is written anew every second.
        while seen.get("done_bytes") != HALF and worker.is_alive():
            try:
                seen = told(spec).get("progress", {})
            except FileNotFoundError:
                continue
    finally:
        site.released.set()
        worker.join()
    assert seen["total_bytes"] == len(site.content)
    assert seen["label"] == "tool 1.0"
    assert told(spec)["state"] == "done"


def test_a_directory_is_used_by_its_whole_name(tmp_path: Path) -> None:
    units, processes = tmp_path / "units", tmp_path / "proc"
    units.mkdir()
    (units / "a.service").write_text("ExecStart=/opt/a/tool/1.0-abc/bin/tool\nWorkingDirectory=/opt/b")
    used = {
        name: paths.in_use(Path(name), units, processes)
        for name in ("/opt/a/tool/1.0-abc", "/opt/a/tool/1.0", "/opt/b", "/opt/a/tool/1.0-abcd")
    }
    assert list(used.values()) == [True, False, True, False]


@pytest.mark.usefixtures("release")
def test_orders_of_another_version_of_this_program_are_understood(orders: Orders) -> None:
    spec = {**orders(), "added_later": 1}
    for later in ("needed_bytes", "reserve_bytes", "attempts", "stall_seconds"):
        del spec[later]
    archive.fetch(spec)
    assert_there(spec)
