# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest
from ansible.module_utils.provision.host import sources

MIRRORS = {
    "https://archive.example.org/debian": "https://mirror.example.com/debian/",
    "https://archive.example.org/debian-security/": "https://mirror.example.com/security",
    "http://dl.example.org/$contentdir": "https://mirror.example.com/rocky",
}
DEB822 = """Types: deb
URIs: https://archive.example.org/debian
Suites: trixie

Types: deb
URIs: https://archive.example.org/debian-security/ https://other.example.org/debian
"""
REPO = """[baseos]
name=BaseOS
mirrorlist=https://lists.example.org/mirrorlist?repo=BaseOS
#baseurl=http://dl.example.org/$contentdir/$releasever/BaseOS/
gpgcheck=1

[theirs]
mirrorlist=https://lists.example.org/theirs
#baseurl=http://elsewhere.example.org/x
"""


def test_replaces_prefixes_of_apt_sources() -> None:
    assert sources.rewrite_sources(DEB822, MIRRORS) == (
        DEB822.replace("https://archive.example.org/debian\n", "https://mirror.example.com/debian\n").replace(
            "https://archive.example.org/debian-security/", "https://mirror.example.com/security/"
        )
    )


def test_a_prefix_ends_at_a_path_segment() -> None:
    line = "deb https://archive.example.org/debian-ports trixie main\n"
    assert sources.rewrite_sources(line, MIRRORS) == line


def test_a_comment_stays_a_comment() -> None:
    line = "# deb https://archive.example.org/debian trixie main\n"
    assert sources.rewrite_sources(line, MIRRORS) == line


def test_a_mirrored_repository_leaves_its_mirror_list_and_the_others_keep_theirs() -> None:
    assert sources.rewrite_sources(REPO, MIRRORS) == (
        REPO.replace(
            "mirrorlist=https://lists.example.org/mirrorlist",
            "#mirrorlist=https://lists.example.org/mirrorlist",
        ).replace("#baseurl=http://dl.example.org/$contentdir", "baseurl=https://mirror.example.com/rocky")
    )


@pytest.mark.parametrize("text", [DEB822, REPO, ""])
def test_rewriting_twice_changes_nothing(text: str) -> None:
    once = sources.rewrite_sources(text, MIRRORS)
    assert sources.rewrite_sources(once, MIRRORS) == once
    assert sources.rewrite_sources(text, {}) == text


CHRONY = "pool 2.example.pool.org iburst\nsourcedir /run/chrony-dhcp\nmakestep 1 3\n"


def test_chrony_uses_the_given_servers_alone() -> None:
    once = sources.rewrite_chrony(CHRONY, ["ntp1", "ntp2"])
    assert "#pool 2.example.pool.org" in once
    assert "#sourcedir" in once
    assert "makestep 1 3" in once
    assert once.endswith("server ntp1 iburst\nserver ntp2 iburst\n")
    assert sources.rewrite_chrony(once, ["ntp1", "ntp2"]) == once
    other = sources.rewrite_chrony(once, ["ntp3"])
    assert "ntp1" not in other
    assert other.count("#pool") == 1


def test_finds_the_files_of_both_families(tmp_path: Path) -> None:
    apt, dnf = tmp_path / "etc/apt/sources.list.d", tmp_path / "etc/yum.repos.d"
    for folder in (apt, dnf):
        folder.mkdir(parents=True)
    (apt / "a.list").write_text("deb x\n")
    (apt / "b.list.save").write_text("deb y\n")
    (dnf / "c.repo").write_text("[c]\n")
    assert sources.source_files(tmp_path) == {str(apt / "a.list"): "deb x\n", str(dnf / "c.repo"): "[c]\n"}
