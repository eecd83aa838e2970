# SPDX-License-Identifier: Apache-2.0
"""Give the tests of Ollama hands: ask for services on its host, and look at what is there."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

from tests.e2e.machines import Done, Machines, phases

HOST = "ol"
# The pinned version, one that runs models in the same way, and one that has a server of its own for them.
NEW, OLD, OLDEST = "0.33.0", "0.32.7", "0.17.4"
MODELS = "/var/lib/provision/models/ollama"
DROP_INS = "/etc/systemd/system/ollama.service.d"
CACHE = "(lookup('env', 'XDG_CACHE_HOME') or lookup('env', 'HOME') ~ '/.cache')"
PINNED = "{{ lookup('file', " + CACHE + " ~ '/provision/lab/releases/ollama/v%s/sha256') }}"


class Ollama:
    """Ask for services on the host, and look at what is there."""

    def __init__(self, machines: Machines, folder: Path) -> None:
        self.machines = machines
        self.folder = folder

    def inventory(self, *services: dict[str, Any], **words: Any) -> str:
        """Write the fleet's inventory with the host's own words, and return its path."""
        folder = self.folder / "inventory"
        folder.mkdir(exist_ok=True)
        (folder / "1.ini").write_text(self.machines.inventory.read_text())
        own: dict[str, Any] = {
            "serve_engine": "ollama",
            "serve_model": "smollm2:135m",
            "serve_model_source": "ollama",
            "serve_verify_expect": "Paris",
            "engine_ollama_version": NEW,
            "engine_ollama_registry": "http://hub.lab:8000",
            "engine_ollama_url": "http://hub.lab:8000/releases/ollama/v{version}/ollama-linux-{arch}.tar.zst",
            "engine_ollama_context_length": 2048,
            **words,
        }
        own.setdefault("engine_ollama_sha256", PINNED % own["engine_ollama_version"])
        if services:
            own["serve_services"] = list(services)
        (folder / "2.json").write_text(json.dumps({"lab": {"hosts": {HOST: own}}}))
        return str(folder)

    def apply(
        self,
        *services: dict[str, Any],
        only: tuple[str, ...] = ("serve", "verify"),
        code: int | None = 0,
        **words: Any,
    ) -> Done:
        """Apply the host's words with consent; all phases have been applied before the first test."""
        options = ("--limit", HOST, "--yes", "--json", *phases(*only))
        return self.machines.provision("apply", self.inventory(*services, **words), *options, code=code)

    def verify(self, *options: str, code: int | None = 0, **words: Any) -> Done:
        """Verify the host against its words."""
        inventory = self.inventory(**words)
        return self.machines.provision("verify", inventory, "--limit", HOST, "--json", *options, code=code)

    def sh(self, script: str) -> str:
        """Run a script on the host as root."""
        return self.machines.sh(HOST, script)

    def ask(self, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return what the service answers on the host itself."""
        content = f"{json.dumps(body)!r}.encode()" if body else "None"
        url = f"http://127.0.0.1:11434{path}"
        code = f"import urllib.request as r; print(r.urlopen({url!r}, {content}).read().decode())"
        found: dict[str, Any] = json.loads(self.sh(f"python3 -c {shlex.quote(code)}"))
        return found

    def pid(self, unit: str = "ollama.service") -> int:
        """Return the main process of a unit."""
        return self.machines.pid(HOST, unit)

    def manifests(self) -> dict[str, str]:
        """Return every model's digest and the time when it was written."""
        lines = self.sh(
            f"cd {MODELS}/manifests && find . -type f | sort | xargs -r -d '\\n' stat -c '%n %Y %i'"
        )
        return {line.split(" ", 1)[0]: line.split(" ", 1)[1] for line in lines.splitlines()}

    def weights(self) -> str:
        """Return the largest blob."""
        return self.sh(f"ls -S {MODELS}/blobs/sha256-* | head -1").strip()
