# SPDX-License-Identifier: Apache-2.0
"""Download files in rounds; each is a process of the hub's client that is ended when it stalls."""

from __future__ import annotations

import contextlib
import os
import re
import time
from pathlib import Path
from typing import Any, Callable

from ..host.fault import Fault
from ..host.follow import note
from ..host.outward import trouble
from ..jobs.patience import Patience
from .files import CLIENT_NOTES, Hashes, RemoteFile, hash_files, mismatch
from .orders import Orders
from .process import answers

HUB_NAMES = {"huggingface": "Hugging Face", "modelscope": "ModelScope"}
# A file that arrives wrong is downloaded again this often before the hub is blamed.
REFETCHES = 2
# A round in which less than this arrived counts as one without progress.
PROGRESS_BYTES = 1024**2
ADDRESS = re.compile(r"https?://[^/]")
TRUST = (
    "set model_store_ca_bundle to a file on the host that contains the certificate authority of the server "
    "or proxy, or add that to host_base_ca_certificates"
)
ALTERED = (
    "a mirror or proxy alters the file, or the revision has changed: try another endpoint, or remove the "
    "model's directory and apply again"
)


def list_files(orders: Orders, revision: str) -> dict[str, Any]:
    """Return the hub's list of files, asking again while the hub answers with temporary errors."""
    failures = Failures(orders)
    while True:
        deadline = time.monotonic() + 4 * orders.stall_seconds
        request = {"action": "list", "revision": revision}
        said = list(answers(orders, request, lambda deadline=deadline: time.monotonic() < deadline))
        if said and said[0]["ok"]:
            return said[0]
        failures.add(said, progressed=False)


class Failures:
    """Wait longer after each round in a row without progress, and give up at last."""

    def __init__(self, orders: Orders) -> None:
        self.orders = orders
        self.hub = f"{HUB_NAMES[orders.source]} at {orders.endpoint}"
        self.patience = Patience(self.hub, orders.attempts)
        if not ADDRESS.match(orders.endpoint):
            # ModelScope's client tries for minutes.
            raise Fault(*self.own("it has no scheme")["address"])

    def add(self, said: list[dict[str, Any]], *, progressed: bool) -> None:
        """Wait before the next round, or give up."""
        reason = f"no data for {2 * self.orders.stall_seconds} s, or its client ended"
        for answer in said:
            known = trouble(answer["error"])
            if known and known.final and answer["kind"] in ("transient", "broken"):
                raise Fault(f"{self.hub}: {known.says} ({answer['error']})", known.step)
            if answer["kind"] != "transient":
                raise self.final(answer)
            reason = ": ".join(filter(None, [answer.get("name"), answer["error"]]))
        asked = max((answer["retry_after"] for answer in said), default=0.0)
        self.patience.wait(reason, progressed=progressed, asked=asked)

    def final(self, answer: dict[str, Any]) -> Fault:
        """Return the failure that trying again cannot fix."""
        hub, wanted, error = self.hub, self.orders.wanted, answer["error"]
        variable = f"model_store_{self.orders.source}_token_file"
        token = "the token does not give access" if self.orders.token_file else "no token is configured"
        texts = {
            "refused": (
                f"{hub} refused {wanted} with HTTP {answer['status']}: {token} ({error})",
                f"accept the model's terms on the hub, if any, and set {variable} to a file with a token",
            ),
            "full": (
                f"the disk became full while {wanted} was being downloaded ({error})",
                "free space and apply again: what has arrived is kept",
            ),
            "wrong": (f"{hub} keeps sending a wrong {answer.get('name')}: {error}", ALTERED),
            "missing": (
                f"{hub} has no {wanted}, or does not show it to this client ({error})",
                f"check serve_model and serve_model_revision; a private model needs {variable}",
            ),
            "broken": (
                f"{hub} cannot deliver {wanted}: HTTP {answer['status']} {error}",
                "check the endpoint and the model's page on the hub",
            ),
        }
        return Fault(*{**texts, **self.own(error)}[answer["kind"]])

    def own(self, error: str) -> dict[str, tuple[str, str]]:
        """Return what is wrong with how the hub is asked, by kind of failure."""
        endpoint = f"model_store_{self.orders.source}_endpoint"
        return {
            "address": (
                f"{self.orders.endpoint} is not the address of a hub ({error})",
                f"set {endpoint} to an address that begins with https:// or http://",
            ),
            "authority": (
                f"the file of certificate authorities is missing on the host, or contains none ({error})",
                "correct model_store_ca_bundle, which is a path on the host, or leave it empty",
            ),
            "untrusted": (
                f"the certificate of {self.hub} cannot be trusted ({error})",
                f"{TRUST}, and check the host's clock",
            ),
        }


class Download:
    """Files on their way into a staging directory."""

    def __init__(self, orders: Orders, staging: Path, revision: str, files: list[RemoteFile]) -> None:
        self.orders = orders
        self.staging = staging
        self.revision = revision
        self.pending = {remote.name: remote for remote in files}
        self.good: dict[str, Hashes] = {}
        self._wrong: dict[str, int] = {}
        self._xet = True

    def bytes_on_disk(self) -> int:
        """Return the size of all that has arrived, complete or not."""
        return sum(self._census().values())

    def bytes_to_fetch(self) -> int:
        """Return how many bytes are still to be downloaded."""
        total = sum(one.size for one in self.pending.values()) + sum(one.size for one in self.good.values())
        return max(0, total - self.bytes_on_disk())

    def _census(self) -> dict[Path, int]:
        found = {}
        for folder, _, names in os.walk(str(self.staging)):
            for path in (Path(folder, name) for name in names):
                with contextlib.suppress(OSError):  # the client has just moved it
                    found[path] = path.stat().st_size
        return found

    def run(self) -> dict[str, Hashes]:
        """Download until every file is present and correct."""
        failures = Failures(self.orders)
        while self.pending:
            before, waiting = self.bytes_on_disk(), len(self.pending)
            said = self._round()
            self.accept([answer["name"] for answer in said if answer["ok"]])
            progressed = len(self.pending) < waiting or self.bytes_on_disk() - before >= PROGRESS_BYTES
            bad = [answer for answer in said if not answer["ok"]]
            if self.pending and (bad or not said):
                # Where Xet stalls, plain HTTP has been seen to work.
                self._xet = False
                failures.add(bad, progressed=progressed)
        return self.good

    def _round(self) -> list[dict[str, Any]]:
        for orphan in (self.staging / CLIENT_NOTES / "huggingface").rglob("*.incomplete"):
            orphan.unlink()  # of a process that was ended; its successor starts the file again
        files = [
            {"name": remote.name, "size": remote.size, "hash": remote.sha256 or remote.git_sha1}
            for remote in self.pending.values()
        ]
        request = {
            "action": "download",
            "revision": self.revision,
            "directory": str(self.staging),
            "workers": self.orders.workers,
            "files": files,
        }
        return list(answers(self.orders, request, self._movement(), xet=self._xet))

    def _movement(self) -> Callable[[], bool]:
        """Return a function that returns whether anything has arrived lately."""
        census, changed = self._census(), time.monotonic()

        def alive() -> bool:
            nonlocal census, changed
            before, census = census, self._census()
            if census != before:
                changed = time.monotonic()
            # The client has its own limit; this is for one that does not keep it.
            return time.monotonic() - changed < 2 * self.orders.stall_seconds

        return alive

    def accept(self, names: list[str]) -> None:
        """Verify files that are reported as complete; drop a wrong one so that it is downloaded again."""
        for name, found in hash_files(self.staging, names).items():
            reason = mismatch(self.pending[name], found)
            if found is not None and not reason:
                self.good[name] = found
                del self.pending[name]
                continue
            (self.staging / name).unlink(missing_ok=True)
            notes = self.staging / CLIENT_NOTES / "huggingface" / "download"
            (notes / f"{name}.metadata").unlink(missing_ok=True)
            self._wrong[name] = self._wrong.get(name, 0) + 1
            note(f"{name} {reason}: dropped")
            if self._wrong[name] > REFETCHES:
                raise Fault(
                    f"{name} of {self.orders.wanted} {reason}; {self.orders.endpoint} sent a wrong one "
                    f"{self._wrong[name]} times",
                    ALTERED,
                )
