# SPDX-License-Identifier: Apache-2.0
"""A web server on loopback that fails as it is told, and archives for it."""

from __future__ import annotations

import functools
import hashlib
import io
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

BIG = 3 * 1024**2


class Site(ThreadingHTTPServer):
    """Serve one file; each request takes the next fault."""

    daemon_threads = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Page)
        self.content = b""
        self.tag = '"one"'
        self.ranges = True
        self.sized = True
        self.faults: list[dict[str, Any]] = []
        self.asked: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.released = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/a/tool.tar.gz"


class Page(BaseHTTPRequestHandler):
    """Answer one request."""

    server: Site

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        site = self.server
        site.asked.append({key.lower(): value for key, value in self.headers.items()})
        site.paths.append(self.path)
        fault = site.faults.pop(0) if site.faults else {}
        if "become" in fault:
            site.content, site.tag = fault["become"]
        if "status" in fault:
            self.send_response(fault["status"])
            for name, value in fault.get("headers", {}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self._send(fault, site)

    def _send(self, fault: dict[str, Any], site: Site) -> None:
        body = site.content[: fault.get("short", len(site.content))]
        body = bytes(len(body)) if fault.get("wrong") else body
        start = self._start(site, len(body))
        if start is None:
            return
        if site.tag:
            self.send_header("ETag", site.tag)
        if site.sized:
            self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        end = len(body) if fault.keys().isdisjoint({"cut", "stall"}) else start + fault.get("cut", 0)
        self.wfile.write(body[start:end])
        if "stall" in fault:
            self.wfile.flush()
            site.released.wait(30)

    def _start(self, site: Site, size: int) -> int | None:
        """Send the status, and return where the answer begins unless that is all."""
        asked = self.headers.get("Range")
        guard = self.headers.get("If-Range")
        if not (asked and site.ranges) or (guard and guard != site.tag):
            self.send_response(200)
            return 0
        start = int(asked.removeprefix("bytes=").removesuffix("-"))
        if start >= size:
            self.send_response(416)
            self.end_headers()
            return None
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        return start


def packed(*members: tuple[str, bytes] | tarfile.TarInfo, mode: str = "w:gz") -> bytes:
    """Return a tar archive of these members; a pair is a file that may be executed."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode=mode) as archive:  # type: ignore[call-overload]  # a parameter
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                archive.addfile(member)
            else:
                info = tarfile.TarInfo(member[0])
                info.size, info.mode = len(member[1]), 0o755
                archive.addfile(info, io.BytesIO(member[1]))
    return made.getvalue()


@functools.cache
def noise() -> bytes:
    """Return an archive with a program and a file that does not compress."""
    digests = (hashlib.sha256(b"%d" % number).digest() for number in range(BIG // 32))
    return packed(("bin/tool", b"#!/bin/sh\n"), ("lib/noise", b"".join(digests)))
