# SPDX-License-Identifier: Apache-2.0
"""How a host that `provision doctor` examines goes out: a real proxy, and none."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from typing import ClassVar

import pytest
from ansible.module_utils.provision.day_two import doctor
from ansible.module_utils.provision.host import proxy


class Proxy(http.server.BaseHTTPRequestHandler):
    """Answer every request as a proxy that wants a password."""

    asked: ClassVar[list[str]] = []

    def do_HEAD(self) -> None:
        self.asked.append(self.path)
        self.send_error(407 if "Proxy-Authorization" not in self.headers else 204)

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@pytest.fixture
def port() -> Iterator[int]:
    """Give the port of a proxy that wants a password."""
    with http.server.HTTPServer(("127.0.0.1", 0), Proxy) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def test_goes_out_as_the_inventory_says(port: int) -> None:
    target = {"what": "packages", "url": "http://deb.invalid/debian"}
    refused = doctor.reach(target, proxy.environment({"http": f"http://127.0.0.1:{port}"}))
    assert (refused["resolves"], refused["proxy"]) == (True, f"127.0.0.1:{port}")
    assert refused["error"].startswith("the proxy answered HTTP 407")
    way = proxy.environment({"http": f"http://me:s3cret@127.0.0.1:{port}"})
    taken = doctor.reach(target, way)
    assert taken["error"] == ""
    assert "s3cret" not in str(taken)
    # The role's own proxy wins, whatever its spelling, and what is around the proxy is asked directly.
    own = {**target, "environment": {"HTTP_PROXY": "http://proxy.invalid:1"}}
    assert not doctor.reach(own, way)["resolves"]
    around = doctor.reach(target, {**way, "no_proxy": "deb.invalid"})
    assert (around["resolves"], around["proxy"]) == (False, "")
