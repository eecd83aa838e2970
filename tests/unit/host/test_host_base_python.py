# SPDX-License-Identifier: Apache-2.0
"""Run the script that installs Python on a bare host, with stand-ins for what it calls."""

from __future__ import annotations

import os
import runpy
import subprocess
from pathlib import Path

import jinja2
import pytest
import yaml

VARS = Path(__file__).resolve().parents[3] / "roles/host_base/vars/main.yml"
# The unit works through as many looks as it has states left; then Python is there, or is not.
SYSTEMCTL = """
[ "$1" = show ] || exit 0
[ "$2" = --property=ActiveState ] || { echo Result=exit-code; exit 0; }
echo "ActiveState=$(head -n 1 "$HOST/states")"
sed -i 1d "$HOST/states"
[ -s "$HOST/states" ] || [ ! -e "$HOST/comes" ] || mv "$HOST/comes" "$HOST/bin/python3"
"""


@pytest.fixture
def script(tmp_path: Path) -> str:
    words = yaml.safe_load(VARS.read_text(encoding="utf-8"))
    found = (VARS.parents[1] / "files/find_python.sh").read_text(encoding="utf-8")
    words["__host_base_find_python"] = found.rstrip("\n")
    text: str = jinja2.Template(words["__host_base_install_python"]).render(words)
    places = {"/usr/bin/python": f"{tmp_path}/bin/python", "/run/systemd/system": str(tmp_path)}
    for place, mine in places.items():
        assert place in text
        text = text.replace(place, mine)
    tools = {
        "systemctl": SYSTEMCTL,
        "systemd-run": 'echo "$@" > "$HOST/started"; echo "Unit exists." >&2; exit 1',
        "journalctl": '[ "$1" = --sync ] || echo "E: Unable to fetch python3"',
        "sleep": "exit 0",
    }
    (tmp_path / "bin").mkdir()
    for name, body in tools.items():
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    return text


def run(script: str, host: Path, *states: str) -> str:
    (host / "states").write_text("".join(f"{state}\n" for state in states))
    path = f"{host}/bin:{os.environ['PATH']}"
    done = subprocess.run(
        ["/bin/sh", "-c", script],
        env={"PATH": path, "HOST": str(host)},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout


def test_waits_for_the_unit_through_all_its_states(script: str, tmp_path: Path) -> None:
    (tmp_path / "comes").write_text("#!/bin/sh\nexit 0\n")
    (tmp_path / "comes").chmod(0o755)
    output = run(script, tmp_path, "activating", "active", "deactivating", "inactive")
    assert f"python={tmp_path}/bin/python3" in output.splitlines()
    assert "Unable to fetch" not in output


def test_returns_from_the_start_only_once_the_unit_runs(script: str, tmp_path: Path) -> None:
    run(script, tmp_path, "inactive")
    assert "--no-block" not in (tmp_path / "started").read_text().split()


def test_a_failed_installation_shows_its_reason(script: str, tmp_path: Path) -> None:
    lines = run(script, tmp_path, "active", "failed").splitlines()
    assert lines == ["Unit exists.", "Result=exit-code", "E: Unable to fetch python3"]


def test_a_proxy_is_used_while_python_is_installed_and_then_removed(script: str, tmp_path: Path) -> None:
    file = tmp_path / "proxy.env"
    file.write_text("http_proxy='http://me:s3cret@proxy:1'\n")
    assert "/run/provision/python-proxy.env" in script
    run(script.replace("/run/provision/python-proxy.env", str(file)), tmp_path, "inactive")
    started = (tmp_path / "started").read_text()
    assert f"--property=EnvironmentFile=-{file}" in started
    assert "s3cret" not in started
    assert not file.exists()


def test_a_failed_installation_has_one_cause_and_one_remedy() -> None:
    explained = runpy.run_path(str(VARS.parents[1] / "filter_plugins/host_base.py"))["explained"]
    said = "Result=exit-code\nE: Failed to fetch http://x  Temporary failure resolving 'proxy.example'"
    assert explained(said, {}).startswith(
        "the host cannot resolve the name proxy.example. Fix /etc/resolv.conf"
    )
    proxied = explained(said, {"https": "http://proxy.example:1"})
    assert proxied.startswith("the host cannot resolve the name of the proxy, proxy.example. Use the proxy's")
    assert explained("E: dpkg was interrupted", {}) == ""
