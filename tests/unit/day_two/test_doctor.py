# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

from ansible.module_utils.provision.day_two import doctor


def test_asks_every_machine_that_packages_come_from_once(tmp_path: Path) -> None:
    files = {
        "etc/apt/sources.list": "deb http://deb.example.org/debian trixie main\n"
        "# deb http://commented.example.org/ trixie main\n",
        "etc/apt/sources.list.d/more.sources": "Types: deb\nURIs: https://deb.example.org/debian https://x.example\n",
        "etc/apt/sources.list.d/off.sources": "Enabled: no\nTypes: deb\nURIs: https://off.example.org/debian\n",
        "etc/apt/sources.list.d/signed.list": "deb [signed-by=/k.asc] https://signed.example.org/a b c\n",
        "etc/yum.repos.d/rocky.repo": "[base]\nmirrorlist=https://mirrors.example.org/mirrorlist?arch=$basearch\n"
        "[debug]\nenabled=0\nbaseurl=https://debug.example.org/\n",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert doctor.package_sources(tmp_path) == [
        "http://deb.example.org/debian",
        "https://mirrors.example.org/mirrorlist?arch=",
        "https://signed.example.org/a",
    ]
