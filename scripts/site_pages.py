# SPDX-License-Identifier: Apache-2.0
"""Add the repository's own pages to the documentation site: README, CONTRIBUTING, CHANGELOG, roles.

A hook of MkDocs, which by itself sees only `docs/`. Links between all these pages keep working as they do in
a checkout; a link to any other file of the repository becomes its path.
"""

from __future__ import annotations

import os.path
import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
DOCS = "docs/"
HOME = "README.md"
_LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)#\s]+)(#[^)\s]*)?\)")


def pages() -> list[str]:
    """Return the pages outside `docs/`, by their paths in the repository."""
    found = [*ROOT.glob("*.md"), *ROOT.glob("roles/*/README.md"), ROOT / "provisioner/lab/README.md"]
    return sorted(str(path.relative_to(ROOT)) for path in found)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """List every role below its heading, so that a new one needs no other file."""
    heading = next(entry for entry in config.nav or () if "Roles" in entry)
    heading["Roles"] = [path for path in pages() if path.startswith("roles/")]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages under the names by which `mkdocs.yml` and links find them."""
    for path in pages():
        files.append(File.generated(config, address(path), content=(ROOT / path).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001
    """Return the page with its links as they must be on the site."""
    here = source(page.file.src_uri)
    return _LINK.sub(lambda found: _link(found, here), markdown)


def address(path: str) -> str:
    """Return where the site has a file of the repository."""
    if path == HOME:
        return "index.md"
    return path.removeprefix(DOCS)


def source(uri: str) -> str:
    """Return which file of the repository a page of the site is."""
    if uri == "index.md":
        return HOME
    return f"{DOCS}{uri}" if (ROOT / DOCS / uri).exists() else uri


def _link(found: re.Match[str], here: str) -> str:
    mark, text, target, anchor = found[1], found[2], found[3], found[4] or ""
    if "://" in target:
        return found[0]
    path = posixpath.normpath(posixpath.join(posixpath.dirname(here), target))
    if not path.startswith(DOCS) and path not in pages():
        return f"{text} (`{path}`)"
    way = os.path.relpath(address(path), posixpath.dirname(address(here)) or ".")
    return f"{mark}[{text}]({way}{anchor})"
