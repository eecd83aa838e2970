# SPDX-License-Identifier: Apache-2.0
"""Talk to a hub through its client library, in a separate process that can be ended and started again.

It is given one request and writes JSON lines to standard output. It runs on the Python of the environment
that holds the libraries, so they are imported by name only when a request needs them.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import sys
from concurrent.futures import ThreadPoolExecutor, as_completed
from importlib import import_module
from pathlib import Path
from typing import Any, Iterator

from .files import CLIENT_NOTES

# The variables by which the clients find the CA file: httpx of Hugging Face's, requests of ModelScope's.
AUTHORITIES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")
# What no further attempt can mend, by what the libraries say: httpx, requests, and Python's ssl below them.
OWN_FAULTS = {
    "address": r"UnsupportedProtocol|MissingSchema|InvalidSchema|InvalidURL|No scheme supplied",
    "authority": r"suitable TLS CA certificate bundle|no certificate or crl found|PEM lib",
    "untrusted": r"CERTIFICATE_VERIFY_FAILED|certificate verify failed",
}
# What the Hugging Face client holds back before it writes: its own 10 MiB are lost with each connection.
BLOCK = 1024**2


class HuggingFace:
    """The Hugging Face hub, or a mirror with the same API."""

    def __init__(self, request: dict[str, Any]) -> None:
        self.model, self.token = request["model"], request["token"] or False
        self.place = {"revision": request["revision"], "endpoint": request["endpoint"]}
        self.directory = Path(request.get("directory", ""))
        self.library = import_module("huggingface_hub")

    def files(self) -> tuple[str, list[dict[str, Any]]]:
        """Return the commit and the files at the revision."""
        api = self.library.HfApi(endpoint=self.place["endpoint"], token=self.token)
        info = api.model_info(self.model, revision=self.place["revision"], files_metadata=True)
        files = []
        for item in info.siblings or []:
            large = getattr(item, "lfs", None)
            sha256 = getattr(large, "sha256", "") if large else ""
            git = "" if large else item.blob_id or ""
            files.append({"name": item.rfilename, "size": item.size or 0, "sha256": sha256, "git_sha1": git})
        return info.sha, files

    def fetch(self, item: dict[str, Any]) -> None:
        """Download one file into the directory, resuming an earlier attempt."""
        name, size = item["name"], item["size"]
        constants: Any = import_module("huggingface_hub.constants")
        if not constants.HF_HUB_DISABLE_XET:
            into = {"local_dir": str(self.directory), "token": self.token}
            self.library.hf_hub_download(self.model, name, **self.place, **into)
            return
        # The client's own download starts again in every process, so only its transport is used here.
        transport = import_module("huggingface_hub.file_download")
        constants.DOWNLOAD_CHUNK_SIZE = BLOCK
        url = self.library.hf_hub_url(self.model, name, **self.place)
        headers = import_module("huggingface_hub.utils").build_hf_headers(token=self.token)
        partial = partial_file(self.directory, item)
        with partial.open("ab") as stream:
            resume = stream.tell() if stream.tell() <= size else stream.truncate(0)
            transport.http_get(url, stream, headers=headers, resume_size=resume, expected_size=size)
        target = self.directory / name
        target.parent.mkdir(parents=True, exist_ok=True)
        partial.replace(target)


def partial_file(directory: Path, item: dict[str, Any]) -> Path:
    """Return where a file grows; its name holds the hash, so parts of two contents never meet."""
    folder = Path(directory, CLIENT_NOTES, "parts")
    folder.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256(f"{item['name']} {item['hash']}".encode()).hexdigest()
    return folder / digest


class ModelScope:
    """The ModelScope hub."""

    def __init__(self, request: dict[str, Any]) -> None:
        self.model = (request["model"], "model")
        self.revision, self.directory = request["revision"], request.get("directory", "")
        library = import_module("modelscope_hub")
        self.api = library.HubApi(endpoint=request["endpoint"], token=request["token"] or None)

    def files(self) -> tuple[str, list[dict[str, Any]]]:
        """Return no commit, which this hub does not report, and the files at the revision."""
        listed = self.api.list_repo_files(*self.model, revision=self.revision)
        files = [
            {"name": item.path, "size": item.size or 0, "sha256": item.sha256 or "", "git_sha1": ""}
            for item in listed
            if item.type != "tree"
        ]
        return "", files

    def fetch(self, item: dict[str, Any]) -> None:
        """Download one file into the directory, resuming an earlier attempt."""
        place = {"revision": self.revision, "local_dir": self.directory}
        self.api.download_file(*self.model, item["name"], file_size=item["size"], **place)


HUBS: dict[str, type[HuggingFace | ModelScope]] = {"huggingface": HuggingFace, "modelscope": ModelScope}


def describe(error: BaseException) -> dict[str, Any]:
    """Return what a failure was: its kind, text, and the wait that the hub requested."""
    status, wait = 0, 0.0
    for cause in _chain(error):
        response = getattr(cause, "response", None)
        status = status or int(getattr(response, "status_code", 0) or getattr(cause, "status_code", 0) or 0)
        header = getattr(response, "headers", None) or {}
        wait = wait or _seconds(getattr(cause, "retry_after", None) or header.get("Retry-After"))
    lines = [*str(error).strip().splitlines(), "no message"]
    text = f"{type(error).__name__}: {lines[0]}"[:500]
    return {"ok": False, "kind": _kind(error, status), "status": status, "error": text, "retry_after": wait}


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and what caused it; some libraries close the chain into a ring."""
    seen: list[BaseException] = []
    while error is not None and error not in seen:
        seen.append(error)
        yield error
        error = error.__cause__ or error.__context__


def _kind(error: BaseException, status: int) -> str:
    if not status:
        texts = "\n".join(f"{type(cause).__name__}: {cause}" for cause in _chain(error))
        own = next((kind for kind, pattern in OWN_FAULTS.items() if re.search(pattern, texts)), "")
        missing = [name for name in AUTHORITIES if not Path(os.environ.get(name) or "/").exists()]
        if own or missing:
            return "authority" if missing and own != "address" else own
    if any(getattr(cause, "errno", None) == errno.ENOSPC for cause in _chain(error)):
        return "full"
    names = {parent.__name__ for parent in type(error).__mro__}
    if "FileIntegrityError" in names and "FileSizeMismatchError" not in names:
        return "wrong"
    if status in (401, 403) or "GatedRepoError" in names:
        return "refused"
    if status == 404:
        return "missing"
    return "broken" if 400 <= status < 500 and status not in (408, 416, 425, 429) else "transient"


def _seconds(value: Any) -> float:
    try:
        return max(0.0, float(value))
    except (TypeError, ValueError):
        return 0.0


def answers(request: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the answer to a request: the list of files, or one line for each requested file."""
    hub = HUBS[request["source"]](request)
    if request["action"] == "list":
        try:
            commit, files = hub.files()
        except Exception as error:  # noqa: BLE001 - whatever the library raises is the answer
            yield describe(error)
        else:
            yield {"ok": True, "commit": commit, "files": files}
        return
    with ThreadPoolExecutor(max_workers=request["workers"]) as pool:
        asked = {pool.submit(hub.fetch, item): item["name"] for item in request["files"]}
        for future in as_completed(asked):
            fault = future.exception()
            yield {"name": asked[future], **(describe(fault) if fault else {"ok": True})}


def client(request: dict[str, Any]) -> None:
    """Answer one request."""
    # A library that prints would spoil the answer; what it says belongs to the journal.
    answer, sys.stdout = sys.stdout, sys.stderr
    for line in answers(request):
        answer.write(json.dumps(line) + "\n")
        answer.flush()
