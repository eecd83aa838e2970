# SPDX-License-Identifier: Apache-2.0
"""Serve models over the Hugging Face, ModelScope and Ollama HTTP APIs, and releases, with faults on demand.

Run it beside its siblings hub_*.py: `python3 hub.py --root DIR --host 127.0.0.1 --port 8090`.
A model is in `DIR/<org>/<name>/`; hub_registry.py explains where Ollama's models and the releases are.
`PUT /_faults` takes a list of rules, `GET /_stats` returns the requests and answers; `DELETE` clears each:

    {"path": "org/name/*.safetensors", "kind": "cut", "after": 1000000, "count": 1}

A rule's path is a glob over `org/name/file`, or `org/name` for listings; for Ollama's registry over
`library/name/manifests/tag` and `library/name/blobs/sha256:<hex>`; over `releases/<path>` for the releases.
It applies to GET unless `method` is `HEAD` or `*`, and for ever unless `count` is set; the first rule that
matches applies.
Kinds: `cut` (close the connection after `after` bytes), `truncate` (a complete answer of only `after`
bytes), `wrong` (flip the byte at `after`), `stall` (silence after `after` bytes), `slow` (`rate` bytes
a second), `status` (`status`, optional `retry_after`), `token` (401 unless the bearer token is `token`).
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

try:
    from provisioner.lab import hub_faults, hub_models, hub_registry
except ModuleNotFoundError:  # a lab host gets only these files
    import hub_faults  # type: ignore[import-not-found,no-redef]
    import hub_models  # type: ignore[import-not-found,no-redef]
    import hub_registry  # type: ignore[import-not-found,no-redef]

BLOCK = 64 * 1024


class Hub(ThreadingHTTPServer):
    """The stand-in hub: one thread per connection."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, address: tuple[str, int], root: Path, releases: Path | None = None) -> None:
        self.repositories = hub_models.Repositories(root)
        self.releases = releases
        self.control = hub_faults.Control()
        self.stopping = threading.Event()
        super().__init__(address, Handler)

    def server_close(self) -> None:
        """Close the socket and wake the connections that a fault delays."""
        self.stopping.set()
        super().server_close()


class Handler(BaseHTTPRequestHandler):
    """Answer one connection."""

    server: Hub
    protocol_version = "HTTP/1.1"
    server_version = "provision-lab-hub-stand-in/1"
    sys_version = ""
    # A block must leave at once: counted bytes are bytes on the wire.
    disable_nagle_algorithm = True

    def log_message(self, *_: Any) -> None:
        """Print nothing: the counters show what happened."""

    def do_GET(self) -> None:
        """Route a read by its path."""
        url = urlsplit(self.path)
        path, query = unquote(url.path), parse_qs(url.query, keep_blank_values=True)
        asked = query.get("Revision", ["main"])[0]
        for pattern, shape in hub_models.LISTINGS.items():
            if match := re.fullmatch(pattern, path):
                model = self._model(match["repo"], match.groupdict().get("revision") or asked, match["repo"])
                if model is not None:
                    self._json(shape(model))
                return
        for pattern in hub_models.FILES:
            if match := re.fullmatch(pattern, path):
                found = {"revision": asked, "file": query.get("FilePath", [""])[0], **match.groupdict()}
                self._file(found["repo"], found["revision"], found["file"])
                return
        if download := hub_registry.find(path, self.server.repositories.root, self.server.releases):
            self._download(download, stored_here="storage" in query)
            return
        with self.server.control.lock:
            control = self.server.control
            state = json.loads(json.dumps({"/_faults": control.rules, "/_stats": control.stats}.get(path)))
        self._json(
            {"error": f"no such path: {path}"} if state is None else state, 404 if state is None else 200
        )

    do_HEAD = do_GET  # noqa: N815 - the name that http.server calls

    def do_PUT(self) -> None:
        """Replace the fault rules."""
        rules = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))))
        if self.path != "/_faults":
            self._json({"error": "only /_faults can be set"}, 404)
            return
        with self.server.control.lock:
            self.server.control.rules[:] = rules
        self._json({"ok": True})

    def do_DELETE(self) -> None:
        """Clear the fault rules or the counters."""
        with self.server.control.lock:
            (self.server.control.rules if self.path == "/_faults" else self.server.control.stats).clear()
        self._json({"ok": True})

    def _model(self, repo: str, revision: str, key: str) -> hub_models.Model | None:
        """Find a model at a revision, or answer with the error of a real hub."""
        if self._refused(key):
            return None
        if key == repo and self._failed(self.server.control.take(key, self.command, "status") or {}):
            return None
        model = self.server.repositories.model(repo)
        if model is None:
            self._json({"error": f"no model {repo}"}, 404, {"X-Error-Code": "RepoNotFound"})
        elif not model.has(revision):
            self._json({"error": f"no revision {revision}"}, 404, {"X-Error-Code": "RevisionNotFound"})
            return None
        return model

    def _refused(self, key: str, counted: str = "requests") -> bool:
        """Count the request and answer for a `token` rule; return whether one refused it."""
        control = self.server.control
        control.count(key, "heads" if self.command == "HEAD" else counted)
        if rule := control.take(key, self.command, "token"):
            if self.headers.get("Authorization") != f"Bearer {rule['token']}":
                refusal = "a valid token is needed"
                self._json({"error": refusal}, 401, {"X-Error-Message": refusal})
                return True
            control.count(key, "authorized")
        return False

    def _failed(self, rule: dict[str, Any]) -> bool:
        """Answer for a `status` rule; return whether this is one."""
        if rule.get("kind") != "status":
            return False
        after = {"Retry-After": str(rule["retry_after"])} if "retry_after" in rule else {}
        self._json({"error": "planted"}, rule["status"], after)
        return True

    def _file(self, repo: str, revision: str, file: str) -> None:
        key = f"{repo}/{file}"
        model = self._model(repo, revision, key)
        if model is None:
            return
        entry = model.find(file)
        if entry is None:
            self._json({"error": f"no file {file}"}, 404, {"X-Error-Code": "EntryNotFound"})
            return
        headers = {
            "ETag": f'"{entry.etag}"',
            "X-Linked-Etag": f'"{entry.etag}"',
            "X-Linked-Size": str(entry.size),
            "X-Repo-Commit": model.commit,
            "Accept-Ranges": "bytes",
            "Content-Type": "application/octet-stream",
        }
        self._send(key, self.server.repositories.root / repo / file, headers)

    def _download(self, found: hub_registry.Download, *, stored_here: bool) -> None:
        """Answer for a file of the registry or of a release."""
        elsewhere = found.stored_elsewhere and not stored_here
        redirected = elsewhere and self.command == "GET" and "Range" not in self.headers
        if self._refused(found.key, "redirects" if redirected else "requests"):
            return
        if not found.path.is_file():
            self._json({"errors": [{"code": "NOT_FOUND", "message": f"no {found.key}"}]}, 404)
        elif not redirected:
            self._send(found.key, found.path, found.headers)
        elif not self._failed(self.server.control.take(found.key, self.command, "status") or {}):
            local = str(self.connection.getsockname()[0])
            other = hub_registry.storage(self.headers.get("Host", local), local)
            location = f"http://{other}{urlsplit(self.path).path}?storage"
            self._headers(307, {"Location": location, "Content-Length": "0"})

    def _send(self, key: str, path: Path, headers: dict[str, str]) -> None:
        """Send a file or the requested range of it, unless a rule changes that."""
        rule = self.server.control.take(key, self.command, *hub_faults.KINDS) or {}
        if self._failed(rule):
            return
        size = path.stat().st_size
        size = min(size, rule.get("after", 0)) if rule.get("kind") == "truncate" else size
        span = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        start, end = (int(span[1]), min(int(span[2] or size), size - 1)) if span else (0, size - 1)
        if span and start >= size:
            self._headers(416, {"Content-Range": f"bytes */{size}", "Content-Length": "0"})
            return
        if span:
            headers = {**headers, "Content-Range": f"bytes {start}-{end}/{size}"}
        self._headers(206 if span else 200, {**headers, "Content-Length": str(end - start + 1)})
        if self.command != "HEAD":
            self._body(path, start, end + 1, rule, key)

    def _body(self, path: Path, start: int, end: int, rule: dict[str, Any], key: str) -> None:
        """Send bytes `start` to `end` of a file, with the fault of the rule."""
        kind, after = rule.get("kind"), rule.get("after", 0)
        stop = min(end, start + after) if kind in ("cut", "stall") else end
        with path.open("rb") as stream:
            stream.seek(start)
            while start < stop:
                block = bytearray(stream.read(min(BLOCK, stop - start)))
                if kind == "wrong" and start <= after < start + len(block):
                    block[after - start] ^= 0xFF
                # Counted first, so that a client that has the bytes finds them counted.
                self.server.control.count(key, "bytes", len(block))
                try:
                    self.wfile.write(block)
                except OSError:  # the client went away
                    self.close_connection = True
                    return
                start += len(block)
                if kind == "slow":
                    self.server.stopping.wait(len(block) / rule.get("rate", BLOCK))
        if kind == "stall":
            self.server.stopping.wait(rule.get("seconds", 600))
        if kind in ("cut", "stall"):
            self.close_connection = True

    def _json(self, body: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        data = json.dumps(body).encode()
        kind = {"Content-Type": "application/json", "Content-Length": str(len(data))}
        self._headers(status, {**kind, **(headers or {})})
        if self.command != "HEAD":
            self.wfile.write(data)

    def _headers(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()


def main() -> None:
    """Serve until the process is ended."""
    parser = argparse.ArgumentParser(description="a stand-in for model hubs and release servers")
    parser.add_argument("--root", type=Path, required=True, help="directory that holds <org>/<name>/ folders")
    parser.add_argument("--releases", type=Path, help="directory that is served as /releases/")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8090, help="0 takes a free one; the first line shows it")
    options = parser.parse_args()
    with Hub((options.host, options.port), options.root, options.releases) as hub:
        where = f"http://{options.host}:{hub.server_port}"
        sys.stdout.write(f"{Handler.server_version} serves {options.root} at {where}\n")
        sys.stdout.flush()
        hub.serve_forever()


if __name__ == "__main__":
    main()
