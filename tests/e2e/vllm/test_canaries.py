# SPDX-License-Identifier: Apache-2.0
"""Secrets stay where they belong: planted words must turn up nowhere else."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from provisioner.runs import rundir
from tests.e2e.machines import Machines, inventory_with

CANARY = "canary-8d1f"
VAULT, BECOME, KEY, TOKEN = (f"{CANARY}-{name}" for name in ("vault", "become", "key", "token"))


def test_no_secret_turns_up_anywhere(serving: Machines, tmp_path: Path) -> None:
    """Give a vault password, a become password, an API key and a hub token; then search every output."""
    arguments = planted(serving, tmp_path)
    with watched_processes() as seen:
        applied = serving.provision("apply", *arguments, "--yes", "--diff", "-vvv")
        kept = evidence(arguments[0])
        checked = serving.provision("verify", *arguments, "--json", "-vvv")
    assert "Paris" in json.loads(checked.out)["answers"][0]["text"]
    for said in (applied.out, applied.err, checked.out, checked.err, *kept):
        assert CANARY not in said
    assert seen == set()
    assert KEY in serving.sh("hf", "cat /etc/provision/*.key")
    readable = f"find / -xdev -type f -perm -o=r -not -path '/proc/*' -exec grep -l {CANARY} {{}} +"
    assert serving.sh("hf", readable, check=False) == ""
    assert CANARY not in serving.sh(
        "hf", "systemctl show vllm.service; journalctl -o cat --no-pager | tail -n 4000"
    )


def evidence(inventory: str) -> list[str]:
    """Return what the newest run on an inventory has kept; tests of other hosts run at the same time."""
    run = next(run for run in rundir.runs() if run.plan.exists() and inventory in run.plan.read_text())
    return [path.read_text(errors="replace") for path in run.path.iterdir()]


def planted(serving: Machines, folder: Path) -> list[str]:
    """Write the secrets as a careful user would, and return the arguments that use them."""
    password = folder / "vault-password"
    password.write_text(VAULT)
    for name, text in (
        ("api.key", KEY),
        ("hub.token", TOKEN),
        ("secrets.yml", f"ansible_become_password: {BECOME}\n"),
    ):
        (folder / name).write_text(text)
        argv = ["ansible", "vault", "encrypt", "--vault-password-file", str(password), str(folder / name)]
        subprocess.run([sys.executable, "-m", *argv], check=True, capture_output=True)
    words = f"serve_api_key_file={folder}/api.key model_store_huggingface_token_file={folder}/hub.token"
    inventory = inventory_with(
        folder, serving.inventory, [("hf ansible_port=2241", f"hf ansible_port=2241 {words}")]
    )
    secrets = ["-e", f"@{folder}/secrets.yml", "--vault-password-file", str(password)]
    return [str(inventory), "--limit", "hf", *secrets]


@contextmanager
def watched_processes() -> Iterator[set[str]]:
    """Collect every command line with a planted word; processes of lab hosts are seen from here too."""
    seen: set[str] = set()
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(0.02):
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    text = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
                except OSError:
                    continue
                if CANARY in text:
                    seen.add(text)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield seen
    finally:
        stop.set()
        watcher.join()
