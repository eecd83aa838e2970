# SPDX-License-Identifier: Apache-2.0
"""Run a hub's client as a process: its environment, its request, its answers and its end."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import threading
from pathlib import Path
from typing import Any, Callable, Iterator

from ..host.fault import Fault
from .orders import Orders

HUGGING_FACE = "https://huggingface.co"
LOOK_SECONDS = 0.5


def environment(orders: Orders, *, xet: bool = True) -> dict[str, str]:
    """Return the client's environment: what a mirror needs, no telemetry, time limits, its own home."""
    endpoint, cache = orders.endpoint, orders.cache
    stall, streams = str(orders.stall_seconds), str(orders.streams)
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


def answers(
    orders: Orders, request: dict[str, Any], alive: Callable[..., bool], *, xet: bool = True
) -> Iterator[dict[str, Any]]:
    """Yield a client's answers until it ends, or `alive` returns False because nothing arrives any more."""
    process = subprocess.Popen(
        [orders.client_python, orders.program, "client", "/dev/stdin"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment(orders, xet=xet),
        universal_newlines=True,
    )
    pipe: Any = process.stdin
    lines: queue.Queue[str | None] = queue.Queue()
    try:
        # The token goes through a pipe: neither the command line nor the environment ever holds it.
        about = {"source": orders.source, "model": orders.model, "endpoint": orders.endpoint}
        with pipe:
            json.dump({**about, "token": _token(orders.token_file), **request}, pipe)
        threading.Thread(target=_read, args=(process.stdout, lines), daemon=True).start()
        while alive():
            with contextlib.suppress(queue.Empty):
                line = lines.get(timeout=LOOK_SECONDS)
                if line is None:
                    return
                yield json.loads(line)
    finally:
        process.kill()
        process.wait()


def _read(pipe: Any, lines: queue.Queue[str | None]) -> None:
    with pipe:
        for line in pipe:
            lines.put(line)
    lines.put(None)


def _token(path: str) -> str:
    if not path:
        return ""
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise Fault(f"cannot read the hub's token: {error}", "apply again to copy it again") from error
