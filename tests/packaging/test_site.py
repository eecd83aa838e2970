# SPDX-License-Identifier: Apache-2.0
"""The documentation builds as a site without a broken link, and loads nothing from elsewhere."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.contract import tree

LOADED = re.compile(r"<(?:script|link|img)[^>]+(?:src|href)=\"?(https?://[^\"\s>]+)")


def build(checkout: Path, target: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--site-dir", target],
        cwd=checkout,
        env={"PATH": "/usr/bin:/bin", "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def site(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("site")
    done = build(checkout, target)
    assert done.returncode == 0, done.stdout + done.stderr
    return target


def test_every_page_of_the_repository_is_on_the_site(site: Path) -> None:
    expected = {
        "index.html",
        "architecture/index.html",
        "troubleshooting/index.html",
        "CONTRIBUTING/index.html",
    }
    expected |= {f"roles/{role.name}/index.html" for role in tree.ROLES}
    assert not {page for page in expected if not (site / page).is_file()}


def test_links_between_pages_lead_to_pages_and_links_to_code_become_paths(site: Path) -> None:
    guide = (site / "adding-an-engine/index.html").read_text(encoding="utf-8")
    assert 'href="../roles/engine_common/"' in guide
    assert "](" not in re.sub(r"<pre>.*?</pre>", "", guide, flags=re.DOTALL)


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    pages = [path for path in site.rglob("*.html") if path.name != "404.html"]
    assert not [(page, found) for page in pages for found in LOADED.findall(page.read_text(encoding="utf-8"))]


def test_a_broken_link_ends_the_build(checkout: Path, tmp_path: Path) -> None:
    copy = tmp_path / "checkout"
    for name in ("docs", "roles", "scripts", "provisioner/lab"):
        shutil.copytree(checkout / name, copy / name)
    for path in [*checkout.glob("*.md"), checkout / "mkdocs.yml"]:
        shutil.copy(path, copy)
    page = copy / "docs/architecture.md"
    page.write_text(page.read_text(encoding="utf-8") + "\n[nowhere](nowhere.md)\n", encoding="utf-8")
    done = build(copy, tmp_path / "site")
    assert done.returncode != 0
    assert "nowhere.md" in done.stdout + done.stderr
