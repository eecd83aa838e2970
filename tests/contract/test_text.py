# SPDX-License-Identifier: Apache-2.0
"""The repository names no package registry: each machine is set up for its own, and the code uses that."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.contract import tree

# Hosts that a text may name: documentation, standards, loopback, and the hubs, installers and vendors'
# repositories that are the product's subject.
HOSTS = {
    "bugs.launchpad.net",
    "bugs.rockylinux.org",
    "help.ubuntu.com",
    "resf.org",
    "rockylinux.org",
    "www.ubuntu.com",
    "127.0.0.1",
    "[::1]",
    "choosealicense.com",
    "developer.download.nvidia.com",
    "dl.rockylinux.org",
    "docs.ansible.com",
    "docs.nvidia.com",
    "docs.ollama.com",
    "docs.vllm.ai",
    "download.docker.com",
    "example.com",
    "example.org",
    "github.com",
    "huggingface.co",
    "json-schema.org",
    "keepachangelog.com",
    "localhost",
    "modelscope.cn",
    "nvidia.github.io",
    "registry.ollama.ai",
    "repo.anaconda.com",
    "semver.org",
    "us.download.nvidia.com",
    "www.apache.org",
    "www.modelscope.cn",
    "www.w3.org",
}
RESERVED = (".example", ".example.com", ".example.org", ".invalid", ".test", ".localhost", ".lab")
URL = re.compile(r"\bhttps?://([^\s/:\"'`<>{}()\\|,;]+)")

# Spelled apart, so that this file passes its own test.
REGISTRIES = re.compile(
    "|".join(
        re.escape(".".join(parts))
        for parts in (
            ("pypi", "org"),
            ("pythonhosted", "org"),
            ("deb", "debian", "org"),
            ("security", "debian", "org"),
            ("snapshot", "debian", "org"),
            ("archive", "ubuntu", "com"),
            ("npmjs", "org"),
            ("crates", "io"),
            ("proxy", "golang", "org"),
            ("repo1", "maven", "org"),
        )
    )
)
BINARY = {".svg", ".png", ".gz", ".whl", ".gguf", ".safetensors", ".deb", ".rpm"}
TEXTS = [path for path in tree.tracked() if path.suffix not in BINARY and path.name != "LICENSE"]


@pytest.mark.parametrize("path", TEXTS, ids=tree.relative)
def test_names_no_registry_and_no_stray_host(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    hosts = {host.rstrip(".").lower() for host in URL.findall(text)}
    stray = {host for host in hosts if host not in HOSTS and "." in host and not host.endswith(RESERVED)}
    assert not stray
    assert not REGISTRIES.findall(text)


def test_every_file_ends_with_one_newline() -> None:
    wrong = [
        tree.relative(path)
        for path in TEXTS
        if not path.is_relative_to(tree.ROOT / "tests/data")  # some of it is broken on purpose
        and (text := path.read_text(encoding="utf-8"))
        and (not text.endswith("\n") or text.endswith("\n\n"))
    ]
    assert not wrong
