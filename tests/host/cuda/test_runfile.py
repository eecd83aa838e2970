# SPDX-License-Identifier: Apache-2.0
"""NVIDIA's installer: fetched, compared, run without a driver, and cleaned up after."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.module_utils.provision.cuda import install, runfile
from ansible.module_utils.provision.host.fault import Fault

from tests.unit.cuda.conftest import Host
from tests.unit.cuda.standin import installer
from tests.unit.fetch.served import Site

FILE = "cuda_13.0.2_580.95.05_linux.run"


@pytest.fixture(autouse=True)
def _address(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"http://127.0.0.1:{site.server_port}/{{version}}/{{file}}"
    monkeypatch.setenv("CUDA_TOOLKIT_URL", url)


def bring(host: Host, site: Site, version: str = "13.0", **more: Any) -> dict[str, Any]:
    content, digest = installer("13.0.2", more.pop("midway", ""))
    site.content = content
    runfiles = {FILE: more.pop("sha256", digest)}
    return host.call(version, source="runfile", runfiles=runfiles, **more)


def test_brings_the_newest_known_of_a_release_and_only_once(host: Host, site: Site) -> None:
    done = bring(host, site)
    assert (done["changed"], done["needs_runfile"]) == (True, True)
    assert site.paths == [f"/13.0.2/{FILE}"]
    assert (host.local / "cuda").resolve() == host.local / "cuda-13.0"
    assert (host.root / "etc/libraries").read_text().endswith(f"{host.local}/cuda/lib64\n")
    assert ["ldconfig"] in host.known["log"]
    assert list((host.root / "cache").iterdir()) == []
    assert host.ledger["13.0"]["version"] == "13.0.2"
    again = bring(host, site, "13.0.2")
    assert (again["changed"], len(host.started), len(site.paths)) == (False, 1, 1)


def test_the_address_stands_in_no_order_and_no_ledger(host: Host, site: Site) -> None:
    bring(host, site, environment_file="/etc/provision/cuda_toolkit.env")
    (argv, _, environment_file) = host.started[0]
    assert environment_file == "/etc/provision/cuda_toolkit.env"
    assert "http://" not in Path(argv[-1]).read_text() + json.dumps(host.ledger)


def test_another_hash_is_not_run(host: Host, site: Site) -> None:
    with pytest.raises(Fault, match=f"expected {'ab' * 32}"):
        bring(host, site, sha256="ab" * 32)
    assert (list(host.local.iterdir()), host.ledger) == ([], {})
    assert list((host.root / "cache").iterdir()) == []
    assert bring(host, site)["changed"] is True


def test_an_installer_that_fails_leaves_nothing_but_its_last_words(
    host: Host, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = host.root / "installer.log"
    monkeypatch.setattr(runfile, "LOG", log)
    midway = f"echo '[ERROR]: unsupported gcc version 14' | tee {log} >&2; exit 1"
    with pytest.raises(Fault, match=r"installer of CUDA toolkit 13\.0\.2 failed \(exit 1\)") as caught:
        bring(host, site, midway=midway)
    assert str(caught.value).endswith("(exit 1): [ERROR]: unsupported gcc version 14")
    assert f"{log}:\n[ERROR]: unsupported gcc version 14" in caught.value.detail
    assert caught.value.next_step.startswith("set cuda_toolkit_override: true")
    assert (list(host.local.iterdir()), host.ledger) == ([], {})
    assert bring(host, site)["changed"] is True


@pytest.mark.parametrize(
    ("said", "step"),
    [
        (
            "[ERROR]: Missing gcc. gcc is required to continue.",
            "check why the package manager has not installed gcc",
        ),
        ("[ERROR]: unsupported compiler version: 15.1", "set cuda_toolkit_override: true"),
        (
            "./cuda-installer: error while loading shared libraries: libxml2.so.2: cannot open shared object",
            "install that library on the host, or set cuda_toolkit_source to packages",
        ),
        ("Killed", "read its message"),
    ],
)
def test_what_an_installer_says_decides_what_helps(said: str, step: str) -> None:
    assert runfile.advice(said, override=False).startswith(step)
    # What is set already is not advised again.
    assert not runfile.advice(said, override=True).startswith("set cuda_toolkit_override")


def test_an_installer_whose_library_no_package_brings_is_not_fetched(
    host: Host, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = SimpleNamespace(stdout="\tlibxml2.so.16 (libc6,x86-64) => /usr/lib/libxml2.so.16\n")
    monkeypatch.setattr(runfile, "call", lambda *_argv, **_more: there)
    for settled in (False, True):
        with pytest.raises(Fault, match=r"need libxml2\.so\.2") as caught:
            bring(host, site, runfile_packages=["gcc"], state="inspected", driver_settled=settled)
        assert caught.value.next_step.startswith("set cuda_toolkit_source to packages")
    assert site.paths == []
    there.stdout += "\tlibxml2.so.2 (libc6,x86-64) => /opt/libxml2.so.2\n"
    assert bring(host, site, runfile_packages=["gcc"], state="inspected")["needs_runfile"] is True


def test_the_compiler_is_overridden_only_when_asked(host: Host, site: Site) -> None:
    midway = "echo override=$override; test $override = yes"
    with pytest.raises(Fault, match="override=no"):
        bring(host, site, midway=midway)
    assert bring(host, site, midway=midway, override=True)["changed"] is True


def test_an_installer_without_a_compiler_is_a_failure(host: Host, site: Site) -> None:
    with pytest.raises(Fault, match=r"it left no .*/cuda-13\.0/bin/nvcc"):
        bring(host, site, midway="exit 0")
    assert list(host.local.iterdir()) == []


def test_what_does_not_fit_is_refused_before_the_first_byte_is_kept(host: Host, site: Site) -> None:
    with pytest.raises(Fault, match="not enough disk for CUDA toolkit") as caught:
        bring(host, site, needed_bytes=10**18)
    assert "cuda_toolkit_tmpdir" in caught.value.next_step
    assert list(host.local.iterdir()) == []


def test_a_download_goes_on_where_it_ended(host: Host, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ansible.module_utils.provision.jobs.patience.time.sleep", lambda _: None)
    site.faults = [{"cut": 100}]
    assert bring(host, site)["changed"] is True
    assert site.asked[1]["range"] == "bytes=100-"


def test_an_interrupted_installation_is_made_anew(host: Host, site: Site) -> None:
    bring(host, site)
    (host.local / "cuda-13.0/.provision-cuda.json").unlink()
    assert bring(host, site)["todo"] == [
        f"remove CUDA toolkit 13.0 from {host.local}/cuda-13.0",
        "install CUDA toolkit 13.0.2 (runfile): not finished",
    ]
    assert bring(host, site)["changed"] is False


def test_a_toolkit_of_somebody_else_is_refused(host: Host, site: Site) -> None:
    (host.local / "cuda-13.0/bin").mkdir(parents=True)
    (host.local / "cuda-13.0/bin/nvcc").touch()
    with pytest.raises(Fault, match="was not created by this tool"):
        bring(host, site)
    assert host.started == []


def test_moves_from_packages_to_an_installer_and_back(host: Host, site: Site) -> None:
    host.call("13.0")
    moved = bring(host, site)
    assert moved["todo"][0].startswith("remove CUDA toolkit 13.0")
    assert host.known["installed"] == {}
    assert (host.local / "cuda-13.0/.provision-cuda.json").exists()
    back = host.call("13.0")
    assert back["todo"][1] == "install CUDA toolkit 13.0 (packages): installed by an installer"
    assert "cuda-toolkit-13-0" in host.known["installed"]
    assert not (host.local / "cuda-13.0/.provision-cuda.json").exists()
    assert not (host.root / "etc/libraries").exists()
    assert host.call("13.0")["changed"] is False


def test_an_order_that_was_carried_out_between_two_looks_fetches_nothing(host: Host, site: Site) -> None:
    bring(host, site)
    install.change(json.loads(Path(host.started[0][0][-1]).read_text()))
    assert len(site.paths) == 1


def test_what_works_stays_until_what_replaces_it_is_here(host: Host, site: Site) -> None:
    host.call("13.0")
    with pytest.raises(Fault, match="expected "):
        bring(host, site, sha256="ab" * 32)
    assert "cuda-toolkit-13-0" in host.known["installed"]
    assert host.call("13.0")["changed"] is False


def test_removing_takes_what_the_installer_made(host: Host, site: Site) -> None:
    bring(host, site)
    host.call(state="absent")
    assert (list(host.local.iterdir()), host.ledger) == ([], {})
    assert not (host.root / "etc/libraries").exists()
