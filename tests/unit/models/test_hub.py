# SPDX-License-Identifier: Apache-2.0
"""The stand-in hub: what it says of models, how it misbehaves when told to."""

from __future__ import annotations

import hashlib
import http.client
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from provisioner.lab import hub, tiny_model

ONE = "model-00001-of-00002.safetensors"


class Caller:
    """Ask a running hub over one connection at a time."""

    def __init__(self, port: int, model: Path) -> None:
        self.port = port
        self.model = model

    def ask(self, path: str, method: str = "GET", body: Any = None, **headers: str) -> tuple[Any, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            response = connection.getresponse()
            return response, response.read()
        finally:
            connection.close()

    def read(self, path: str) -> Any:
        return json.loads(self.ask(path)[1])


@pytest.fixture
def caller(tmp_path: Path) -> Iterator[Caller]:
    model = tiny_model.make(tmp_path, "org/name", shard_bytes=300_000)
    with hub.Hub(("127.0.0.1", 0), tmp_path) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield Caller(server.server_port, model)
        server.shutdown()
        thread.join()


def test_says_that_it_is_a_stand_in(caller: Caller) -> None:
    response, _ = caller.ask("/api/models/org/name")
    assert "stand-in" in response.headers["Server"]


def test_describes_a_model_as_hugging_face_does(caller: Caller) -> None:
    info = caller.read("/api/models/org/name/revision/main?blobs=true")
    files = {item["rfilename"]: item for item in info["siblings"]}
    assert files[ONE]["lfs"]["sha256"] == hashlib.sha256((caller.model / ONE).read_bytes()).hexdigest()
    config = (caller.model / "config.json").read_bytes()
    git = subprocess.run(["git", "hash-object", "--stdin"], input=config, capture_output=True, check=True)
    assert files["config.json"]["blobId"] == git.stdout.decode().strip()
    assert "lfs" not in files["config.json"]
    assert caller.read(f"/api/models/org/name/revision/{info['sha']}")["sha"] == info["sha"]


def test_describes_a_model_as_modelscope_does(caller: Caller) -> None:
    listed = caller.read("/api/v1/models/org/name/repo/files?Revision=master&Recursive=True")
    files = {item["Path"]: item for item in listed["Data"]["Files"]}
    assert files[ONE]["Sha256"] == hashlib.sha256((caller.model / ONE).read_bytes()).hexdigest()
    assert files["config.json"]["Size"] == (caller.model / "config.json").stat().st_size


@pytest.mark.parametrize(
    "path", [f"/org/name/resolve/main/{ONE}", f"/api/v1/models/org/name/repo?Revision=master&FilePath={ONE}"]
)
def test_sends_the_range_that_is_asked_for(caller: Caller, path: str) -> None:
    content = (caller.model / ONE).read_bytes()
    response, body = caller.ask(path, Range="bytes=1000-")
    assert response.status == 206
    assert response.headers["Content-Range"] == f"bytes 1000-{len(content) - 1}/{len(content)}"
    assert body == content[1000:]
    assert caller.ask(path, Range=f"bytes={len(content)}-")[0].status == 416
    assert caller.read("/_stats")[f"org/name/{ONE}"] == {"requests": 2, "bytes": len(content) - 1000}


def test_tells_size_and_hash_without_a_body(caller: Caller) -> None:
    response, body = caller.ask(f"/org/name/resolve/main/{ONE}", "HEAD")
    assert body == b""
    assert int(response.headers["X-Linked-Size"]) == (caller.model / ONE).stat().st_size
    assert response.headers["X-Repo-Commit"] == caller.read("/api/models/org/name")["sha"]
    assert len(response.headers["ETag"].strip('"')) == 64


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/api/models/org/other", "RepoNotFound"),
        ("/api/models/org/..", "RepoNotFound"),
        ("/api/models/org/name/revision/v9", "RevisionNotFound"),
        ("/org/name/resolve/main/nothing.json", "EntryNotFound"),
        ("/org/name/resolve/main/../../secret", "EntryNotFound"),
    ],
)
def test_refuses_what_is_not_there(caller: Caller, path: str, code: str) -> None:
    response, _ = caller.ask(path)
    assert response.status == 404
    assert response.headers["X-Error-Code"] == code


def test_a_rule_holds_for_its_path_and_its_count(caller: Caller) -> None:
    caller.ask(
        "/_faults",
        "PUT",
        [{"path": f"*/{ONE}", "kind": "status", "status": 429, "retry_after": 7, "count": 1}],
    )
    assert caller.ask("/org/name/resolve/main/config.json")[0].status == 200
    response, _ = caller.ask(f"/org/name/resolve/main/{ONE}")
    assert (response.status, response.headers["Retry-After"]) == (429, "7")
    assert caller.ask(f"/org/name/resolve/main/{ONE}")[0].status == 200


def test_a_cut_ends_in_the_middle(caller: Caller) -> None:
    caller.ask("/_faults", "PUT", [{"kind": "cut", "after": 1000}])
    with pytest.raises(http.client.IncompleteRead) as caught:
        caller.ask(f"/org/name/resolve/main/{ONE}")
    assert len(caught.value.partial) == 1000


def test_a_truncated_answer_looks_complete(caller: Caller) -> None:
    caller.ask("/_faults", "PUT", [{"kind": "truncate", "after": 1000}])
    response, body = caller.ask(f"/org/name/resolve/main/{ONE}")
    assert (response.status, len(body)) == (200, 1000)


def test_wrong_bytes_differ_in_one(caller: Caller) -> None:
    caller.ask("/_faults", "PUT", [{"kind": "wrong", "after": 70_000}])
    _, body = caller.ask(f"/org/name/resolve/main/{ONE}")
    content = (caller.model / ONE).read_bytes()
    assert [at for at in range(len(content)) if body[at] != content[at]] == [70_000]


def test_a_token_is_asked_for(caller: Caller) -> None:
    caller.ask("/_faults", "PUT", [{"kind": "token", "token": "right"}])
    assert caller.ask("/api/models/org/name")[0].status == 401
    assert caller.ask("/api/models/org/name", Authorization="Bearer wrong")[0].status == 401
    assert caller.ask("/api/models/org/name", Authorization="Bearer right")[0].status == 200
    caller.ask("/_faults", "DELETE")
    assert caller.ask("/api/models/org/name")[0].status == 200


def test_notices_a_file_that_changed(caller: Caller) -> None:
    before = caller.read("/api/models/org/name")["sha"]
    (caller.model / "config.json").write_text("{}")
    assert caller.read("/api/models/org/name")["sha"] != before


def test_runs_with_its_siblings_away_from_the_package(tmp_path: Path) -> None:
    for path in Path(hub.__file__).parent.glob("hub*.py"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    argv = [sys.executable, "-S", str(tmp_path / "hub.py"), "--root", str(tmp_path), "--port", "0"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, cwd="/", text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        process.kill()
    assert "stand-in" in line
    assert "http://127.0.0.1:" in line
