# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import base64
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.provision.host.fault import Fault
from ansible.module_utils.provision.python import conda_install
from ansible.module_utils.provision.python.conda_place import MARKER, UNFINISHED, Wanted, doubt

from tests.host.python.conftest import Orders
from tests.host.python.standin import installer
from tests.unit.fetch.conftest import site as site  # noqa: PLC0414 - a fixture of another folder
from tests.unit.fetch.served import Site


def install(spec: dict[str, Any]) -> tuple[Wanted, dict[str, Any]]:
    conda_install.job(spec)
    told: dict[str, Any] = json.loads(Path(spec["result"]).read_text())
    return Wanted.of(spec), told


def test_makes_a_prefix_of_its_own_and_the_python_in_it(orders: Orders, tmp_path: Path) -> None:
    spec = orders()
    wanted, told = install(spec)
    assert (told["state"], told["changed"]) == ("done", True)
    assert wanted.prefix == tmp_path / "conda" / f"miniforge-26.1.1-3-{spec['sha256'][:12]}"
    assert wanted.interpreter.parent.parent.parent == wanted.prefix / "envs"
    said = subprocess.run(
        [wanted.interpreter, "-c", "import platform; platform.python_version()"], check=True
    )
    assert said.returncode == 0
    assert not doubt(wanted)
    assert not (wanted.prefix / UNFINISHED).exists()
    assert [path.name for path in (tmp_path / "cache").iterdir()] == []
    assert sorted(path.name for path in (tmp_path / "conda").iterdir()) == [wanted.prefix.name]


def test_a_second_time_there_is_nothing_to_do(orders: Orders) -> None:
    wanted, _ = install(orders())
    before = {path: path.lstat().st_mtime_ns for path in wanted.prefix.rglob("*")}
    assert install(orders())[1]["changed"] is False
    assert {path: path.lstat().st_mtime_ns for path in wanted.prefix.rglob("*")} == before


def test_no_file_is_left_that_others_may_write(orders: Orders) -> None:
    wanted, _ = install(orders())
    assert (wanted.prefix / "bin/conda").stat().st_mode & 0o777 == 0o755
    loose = [
        path for path in wanted.prefix.rglob("*") if not path.is_symlink() and path.stat().st_mode & 0o022
    ]
    assert loose == []


def test_another_python_comes_about_in_the_same_prefix(orders: Orders) -> None:
    first, _ = install(orders())
    second, _ = install(orders(python="3.13.5", packages=["openssl=3.5.1"]))
    assert first.prefix == second.prefix
    assert first.interpreter.exists()
    assert second.interpreter.name == "python3.13"


def test_a_version_moves_up_and_down_beside_the_other(orders: Orders) -> None:
    old, _ = install(orders(version="25.3.1-0"))
    new, _ = install(orders(installer("26.1.1"), version="26.1.1-3"))
    back, told = install(orders(version="25.3.1-0"))
    assert old.prefix != new.prefix
    assert (back.prefix, told["changed"]) == (old.prefix, False)
    assert not doubt(old)
    assert not doubt(new)


def test_an_installer_with_another_hash_is_not_run(orders: Orders, tmp_path: Path) -> None:
    spec = orders(sha256="ab" * 32)
    with pytest.raises(Fault, match=rf"expected {'ab' * 32}: it was not run"):
        install(spec)
    assert list((tmp_path / "cache").iterdir()) == []
    assert list((tmp_path / "conda").iterdir()) == []


def test_a_downloaded_installer_with_another_hash_is_not_run(
    orders: Orders, site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    spec = orders()
    site.content = b"something else"
    monkeypatch.setenv("PYTHON_ENV_CONDA_URL", site.url)
    with pytest.raises(Fault, match="has sha256") as caught:
        install(spec)
    assert spec["sha256"] in str(caught.value)
    assert list((tmp_path / "conda").iterdir()) == []


def test_a_download_goes_on_after_a_broken_connection_and_says_who_it_is(
    orders: Orders, site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login ops password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setattr("ansible.module_utils.provision.jobs.patience.time.sleep", lambda _: None)
    content = installer()
    spec = orders(content)
    site.content, site.faults = content, [{"cut": 500}]
    monkeypatch.setenv("PYTHON_ENV_CONDA_URL", site.url)
    wanted, _ = install(spec)
    assert not doubt(wanted)
    assert site.asked[1]["range"] == "bytes=500-"
    assert site.asked[0]["authorization"] == "Basic " + base64.b64encode(b"ops:secret").decode()


def test_a_netrc_file_that_is_none_is_not_quoted(
    orders: Orders, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "netrc").write_text("hunter2\n")
    spec = orders()
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("PYTHON_ENV_CONDA_URL", "http://127.0.0.1:9/x.sh")
    with pytest.raises(Fault, match="cannot be read as netrc") as caught:
        install(spec)
    assert "hunter2" not in str(caught.value)


def test_a_web_server_is_refused_in_words_of_conda(orders: Orders, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = orders()
    monkeypatch.setenv("PYTHON_ENV_CONDA_URL", "ftp://127.0.0.1/x.sh")
    with pytest.raises(Fault, match="python_env_conda_url is not the URL"):
        install(spec)


def test_an_installer_that_fails_midway_leaves_nothing(orders: Orders, tmp_path: Path) -> None:
    spec = orders(installer(midway="echo 'tar: no space' >&2; exit 3"))
    with pytest.raises(Fault, match=r"installer of miniforge 26\.1\.1-3 failed \(exit 3\)") as caught:
        install(spec)
    assert "tar: no space" in str(caught.value)
    assert list((tmp_path / "conda").iterdir()) == []
    assert not doubt(install(orders())[0])


def test_an_interrupted_installation_is_made_anew(orders: Orders) -> None:
    wanted = Wanted.of(orders())
    (wanted.prefix / "bin").mkdir(parents=True)
    (wanted.prefix / UNFINISHED).touch()
    (wanted.prefix / "half").write_text("half")
    install(orders())
    assert not doubt(wanted)
    assert not (wanted.prefix / "half").exists()


def test_an_interrupted_python_is_made_anew(orders: Orders) -> None:
    wanted, _ = install(orders())
    (wanted.python_directory / MARKER).unlink()
    (wanted.python_directory / "half").write_text("half")
    install(orders())
    assert not doubt(wanted)
    assert not (wanted.python_directory / "half").exists()


def test_what_conda_cannot_find_is_said_without_passwords(orders: Orders) -> None:
    with pytest.raises(Fault, match=r"could not install Python 3\.99\.0") as caught:
        install(orders(python="3.99.0"))
    assert "python_env_conda_python" in caught.value.next_step
    assert "secret" not in str(caught.value)
    assert "https://…mirror.example/conda" in str(caught.value)


def test_a_python_of_another_version_is_no_use(orders: Orders) -> None:
    wanted = Wanted.of(orders())
    content = installer(create="python=3.11.0")
    with pytest.raises(Fault, match=r"not install a usable Python 3\.12\.11"):
        install(orders(content))
    assert not wanted.python_directory.exists()


def test_a_conda_that_cannot_run_is_not_kept(orders: Orders, tmp_path: Path) -> None:
    content = installer().replace(b"exit 0; fi", b"exit 1; fi")
    with pytest.raises(Fault, match=r"conda from the installer of .* cannot be run"):
        install(orders(content))
    assert list((tmp_path / "conda").iterdir()) == []


def test_refuses_what_does_not_fit_before_the_first_byte(orders: Orders, site: Site) -> None:
    with pytest.raises(Fault, match="not enough disk for miniforge"):
        install(orders(needed_bytes=10**18))
    assert site.asked == []


def test_mirrors_are_written_to_the_prefix_and_nowhere_else(
    orders: Orders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("CONDA_CHANNELS", "of-a-user")
    mirror = {
        "channel_alias": "https://mirror.example/conda",
        "custom_channels": {"own": "https://x.example"},
    }
    wanted, _ = install(orders(channels=["conda-forge", "own"], ca_bundle="/etc/ca.pem", **mirror))
    text = (wanted.prefix / ".condarc").read_text()
    settings = json.loads(text.split("\n", 1)[1])
    assert settings["channel_alias"] == "https://mirror.example/conda"
    assert settings["custom_channels"] == {"own": "https://x.example"}
    assert (settings["auto_activate_base"], settings["ssl_verify"]) == (False, "/etc/ca.pem")
    told = (wanted.python_directory / "conda-meta/history").read_text()
    assert told == f"channels: conda-forge own condarc:{wanted.prefix}/.condarc terms:no\n"
    assert list(home.iterdir()) == []

    moved = {**mirror, "channel_alias": "https://other.example"}
    before = wanted.python_directory.stat().st_mtime_ns
    again = orders(channels=["conda-forge", "own"], ca_bundle="/etc/ca.pem", **moved)
    assert "its settings differ" in doubt(Wanted.of(again))
    assert not doubt(install(again)[0])
    assert wanted.python_directory.stat().st_mtime_ns == before


def test_terms_are_accepted_only_where_somebody_has(orders: Orders) -> None:
    wanted, _ = install(orders(provider="miniconda", channels=["defaults"], accept_terms=True))
    assert "terms:yes" in (wanted.python_directory / "conda-meta/history").read_text()


def test_orders_of_another_version_of_this_program_are_understood(orders: Orders) -> None:
    spec = {**orders(), "added_later": 1}
    for later in ("reserve_bytes", "attempts", "stall_seconds"):
        del spec[later]
    wanted, told = install(spec)
    assert (told["state"], doubt(wanted)) == ("done", "")
