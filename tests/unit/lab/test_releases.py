# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import hashlib
import http.server
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from provisioner.errors import LabError
from provisioner.lab import builder, controller, official, releases
from provisioner.lab.podman import Podman
from provisioner.lab.process import Result
from provisioner.lab.releases import Release

RELEASE = Release("ollama", "0.33.0")
UNPINNED = Release("ollama", "0.17.4")
CONTENT = b"an archive"
SHA256 = hashlib.sha256(CONTENT).hexdigest()
Make = Callable[[Podman, str, Path], None]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("platform.machine", lambda: "x86_64")


def builds(_: Podman, version: str, target: Path) -> None:
    target.write_bytes(CONTENT + version.encode())


def cannot_build(_: Podman, version: str, target: Path) -> None:
    target.write_bytes(b"half")
    raise LabError(f"no compiler for {version}")


def unreachable(url: str, target: Path, sha256: str) -> None:
    raise LabError(f"{url} cannot be had: {sha256[:4]} {target.name}")


def arrange(monkeypatch: pytest.MonkeyPatch, fetch: Callable[[str, Path, str], None], build: Make) -> None:
    monkeypatch.setattr(official, "fetch", fetch)
    monkeypatch.setattr(builder, "build", build)


def test_the_official_archive_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str]] = []

    def fetch(url: str, target: Path, sha256: str) -> None:
        asked.append((url, sha256))
        target.write_bytes(CONTENT)

    arrange(monkeypatch, fetch, cannot_build)
    outcome = releases.ensure(Podman(), RELEASE)
    assert str(outcome) == "ollama 0.33.0: the official archive"
    url = "https://github.com/ollama/ollama/releases/download/v0.33.0/ollama-linux-amd64.tar.zst"
    assert asked == [(url, "72c4b9d91c317742ffd11b92e0a7fbe6353072c6354d910f1a03fd3ce40403d4")]


def test_a_built_archive_says_that_it_is_a_stand_in_and_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    arrange(monkeypatch, unreachable, builds)
    first = releases.ensure(Podman(), RELEASE)
    assert "stand-in" in str(first)
    monkeypatch.delattr(builder, "build")
    assert releases.ensure(Podman(), RELEASE) == first
    names = sorted(path.name for path in RELEASE.folder.iterdir())
    assert names == ["ollama-linux-amd64.tar.zst", "origin", "sha256", "sha256sum.txt"]
    content = (RELEASE.folder / RELEASE.file).read_bytes()
    sha256 = hashlib.sha256(content).hexdigest()
    assert (RELEASE.folder / "sha256").read_text() == f"{sha256}\n"
    assert (RELEASE.folder / "sha256sum.txt").read_text() == f"{sha256}  ./ollama-linux-amd64.tar.zst\n"


def test_a_version_without_a_known_hash_is_never_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(official, "fetch")
    monkeypatch.setattr(builder, "build", builds)
    assert releases.ensure(Podman(), UNPINNED).origin == releases.BUILT


def test_what_cannot_be_had_leaves_the_reason_until_it_can(monkeypatch: pytest.MonkeyPatch) -> None:
    arrange(monkeypatch, unreachable, cannot_build)
    outcome = releases.ensure(Podman(), RELEASE)
    assert "cannot be had" in outcome.unavailable
    assert "building it: no compiler for 0.33.0" in outcome.unavailable
    assert [path.name for path in RELEASE.folder.iterdir()] == ["unavailable"]
    assert (RELEASE.folder / "unavailable").read_text() == f"{outcome.unavailable}\n"
    arrange(monkeypatch, unreachable, builds)
    assert not releases.ensure(Podman(), RELEASE).unavailable
    assert not (RELEASE.folder / "unavailable").exists()


@pytest.mark.parametrize("word", ["ollama", "ollama=latest", "llama=1.2.3", "ollama=../1.2.3"])
def test_only_a_project_and_a_version_name_a_release(word: str) -> None:
    assert releases.parse(word) is None


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *words: Any) -> None:
            super().__init__(*words, directory=str(tmp_path))

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_fetches_what_has_the_expected_hash(address: str, tmp_path: Path) -> None:
    (tmp_path / "archive").write_bytes(CONTENT)
    official.fetch(f"{address}/archive", tmp_path / "target", SHA256)
    assert (tmp_path / "target").read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("path", "sha256", "reason"),
    [
        ("archive", "0" * 64, f"expected 0{{64}}, got {SHA256}"),
        ("nothing", SHA256, "cannot be downloaded: File not found"),
    ],
)
def test_says_why_an_archive_is_refused(
    address: str, tmp_path: Path, path: str, sha256: str, reason: str
) -> None:
    (tmp_path / "archive").write_bytes(CONTENT)
    with pytest.raises(LabError, match=reason):
        official.fetch(f"{address}/{path}", tmp_path / "target", sha256)


def test_an_archive_that_takes_too_long_is_given_up(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "archive").write_bytes(CONTENT)
    monkeypatch.setattr(official, "TOTAL_SECONDS", -1)
    with pytest.raises(LabError, match="takes more than"):
        official.fetch(f"{address}/archive", tmp_path / "target", SHA256)


def test_an_archive_that_does_not_fit_is_refused(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "archive").write_bytes(CONTENT)
    monkeypatch.setattr(controller, "free_bytes", lambda _: 3)
    with pytest.raises(LabError, match="GB needed"):
        official.fetch(f"{address}/archive", tmp_path / "target", SHA256)


class Recorder(Podman):
    """Answer every call, and write down what it was."""

    calls: list[tuple[str, ...]] = []  # noqa: RUF012 - emptied by the one test that reads it

    def run(self, *words: str, **_: Any) -> Result:
        self.calls.append(words)
        if words[0] == "run":
            raise LabError("the build failed")
        return Result(words, 0, b"", b"")


def test_nothing_of_a_failed_build_goes_on(tmp_path: Path) -> None:
    Recorder.calls.clear()
    with pytest.raises(LabError, match="the build failed"):
        builder.build(Recorder(), "0.33.0", tmp_path / "archive")
    verbs = [(words[0], words[-1]) for words in Recorder.calls]
    assert verbs[-3:] == [
        ("run", "/archive/archive"),
        ("stop", builder.CONTAINER),
        ("rm", builder.CONTAINER),
    ]


def test_a_build_keeps_what_go_fetched_and_uses_this_machines_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOPROXY", "https://modules.example")
    argv = builder.run_argv("builder:1", "0.17.4", tmp_path / "ollama.tar.zst")
    assert "--env=GOPROXY=https://modules.example" in argv
    assert f"--volume={tmp_path}/provision/lab/go:/go" in argv
    assert argv[-5:] == ["builder:1", "sh", "/build.sh", "0.17.4", "/archive/ollama.tar.zst"]
    assert builder.SCRIPT.is_file()
