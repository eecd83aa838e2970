# SPDX-License-Identifier: Apache-2.0
"""Run a hub's client as a process: its environment, its request, its answers and its end."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import threading
from pathlib import Path
from typing import Any, Iterator

from ..host.fault import Fault
from .orders import Orders

HUGGING_FACE = "https://huggingface.co"
LOOK_SECONDS = 0.5


def environment(orders: Orders, *, xet: bool = True) -> dict[str, str]:
    """Return the client's environment: what a mirror needs, no telemetry, time limits, its own home."""
    endpoint, stall = orders.endpoint, str(orders.stall_seconds)
    cache = orders.cache
    streams = str(orders.streams)
    own = {
        "HOME": cache,
        "HF_HOME": f"{cache}/huggingface",
        "HF_ENDPOINT": endpoint,
        "HF_HUB_DOWNLOAD_TIMEOUT": stall,
        "HF_HUB_ETAG_TIMEOUT": stall,
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_UPDATE_CHECK": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1",
        # Chunks would be kept a second time beside the files.
        "HF_XET_CHUNK_CACHE_SIZE_BYTES": "0",
        "DO_NOT_TRACK": "1",
        "MODELSCOPE_CACHE": f"{cache}/modelscope",
        "MODELSCOPE_HOME": f"{cache}/modelscope",
        "MODELSCOPE_ENDPOINT": endpoint,
        "MODELSCOPE_DOMAIN": endpoint.split("://")[-1].rstrip("/"),
        "MODELSCOPE_DOWNLOAD_PARALLEL_WORKERS": streams,
        "MODELSCOPE_DOWNLOAD_PARALLELS": streams,
        "MODELSCOPE_DOWNLOAD_TIMEOUT": stall,
        # One file of a large model takes longer than the client's hour; this store watches for stalls itself.
        "MODELSCOPE_DOWNLOAD_TOTAL_TIMEOUT": str(30 * 24 * 3600),
        "MODELSCOPE_DOWNLOAD_MAX_RETRIES": "1",
        # It asks an address that only one cloud has, and files from there have been empty.
        "MODELSCOPE_DOWNLOAD_INTRA_CLOUD": "false",
        "INTRA_CLOUD_ACCELERATION": "false",
        "TQDM_DISABLE": "1",
        "PYTHONUNBUFFERED": "1",
    }
    if not xet or endpoint.rstrip("/") != HUGGING_FACE:
        # The Xet protocol goes to its own servers, whatever the endpoint says.
        own["HF_HUB_DISABLE_XET"] = "1"
    return {**own, **os.environ}


class Client:
    """One process of the hub's client and the lines it answers."""

    def __init__(self, orders: Orders, request: dict[str, Any], *, xet: bool = True) -> None:
        self.process = subprocess.Popen(
            [orders.client_python, orders.program, "client"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment(orders, xet=xet),
            universal_newlines=True,
        )
        asked = {"source": orders.source, "model": orders.model, "endpoint": orders.endpoint}
        token = _token(orders.token_file)
        # The token goes through a pipe: neither the command line nor the environment ever holds it.
        pipe: Any = self.process.stdin
        with pipe:
            json.dump({**asked, "token": token, **request}, pipe)
        self._lines: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        pipe: Any = self.process.stdout
        with pipe:
            for line in pipe:
                self._lines.put(line)
        self._lines.put(None)

    def answers(self, alive: Any) -> Iterator[dict[str, Any]]:
        """Yield answers until the process ends or `alive` returns False because nothing arrives any more."""
        try:
            while alive():
                try:
                    line = self._lines.get(timeout=LOOK_SECONDS)
                except queue.Empty:
                    continue
                if line is None:
                    return
                yield json.loads(line)
        finally:
            self.process.kill()
            self.process.wait()


def _token(path: str) -> str:
    if not path:
        return ""
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise Fault(f"cannot read the hub's token: {error}", "apply again to copy it again") from error
