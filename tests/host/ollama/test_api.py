# SPDX-License-Identifier: Apache-2.0
"""What the private server of a job is started with; it writes its environment to the journal."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible.module_utils.engine_ollama.api import private_server

SERVER = """\
#!/usr/bin/env python3
import http.server, os
open(os.environ["HOME"] + "/environment", "w").write(repr(dict(os.environ)))
port = int(os.environ["OLLAMA_HOST"].rpartition(":")[2])
http.server.HTTPServer(("127.0.0.1", port), http.server.SimpleHTTPRequestHandler).serve_forever()
"""


def test_it_gets_no_proxy_with_a_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    binary = tmp_path / "ollama"
    binary.write_text(SERVER)
    binary.chmod(0o755)
    (tmp_path / "api").mkdir()
    (tmp_path / "api/version").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("https_proxy", "http://me:s3cret@proxy:1")
    monkeypatch.setenv("HTTPS_PROXY", "http://open:1")
    with private_server(str(binary), tmp_path, tmp_path):
        pass
    given = (tmp_path / "environment").read_text()
    assert "s3cret" not in given
    assert "http://open:1" in given
