# SPDX-License-Identifier: Apache-2.0
"""Download files in rounds; each is a process of the hub's client that is ended when it stalls."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any, Iterator

from ..host.fault import Fault
from ..jobs.patience import LONGEST_WAIT, Patience
from .files import CLIENT_NOTES, Hashes, RemoteFile, hash_files, mismatch
from .orders import Orders
from .process import Client

HUB_NAMES = {"huggingface": "Hugging Face", "modelscope": "ModelScope"}
# A file that arrives wrong is downloaded again this often before the hub is blamed.
REFETCHES = 2
# A round in which less than this arrived counts as one without progress.
PROGRESS_BYTES = 1024**2
ALTERED = (
    "a mirror or proxy alters the file, or the revision has changed: try another endpoint, or remove the "
    "model's directory and apply again"
)


def list_files(orders: Orders, revision: str) -> dict[str, Any]:
    """Return the hub's list of files, asking again while the hub answers with temporary errors."""
    failures = Failures(orders)
    while True:
        deadline = time.monotonic() + 4 * orders.stall_seconds
        client = Client(orders, {"action": "list", "revision": revision})
        answers = list(client.answers(lambda deadline=deadline: time.monotonic() < deadline))
        if answers and answers[0]["ok"]:
            return dict(answers[0])
        failures.add(answers, progressed=False)


def text_of(answer: dict[str, Any]) -> str:
    """Return a failure with the file it is about."""
    return ": ".join(filter(None, [answer.get("name"), answer["error"]]))


class Failures:
    """Count the rounds in a row without progress, and wait longer after each."""

    def __init__(self, orders: Orders) -> None:
        self.orders = orders
        self.patience = Patience(orders.attempts)

    def add(self, answers: list[dict[str, Any]], *, progressed: bool) -> None:
        """Wait before the next round, or give up."""
        where = f"{HUB_NAMES[self.orders.source]} at {self.orders.endpoint}"
        for answer in answers:
            if answer["kind"] != "transient":
                raise self.final(answer, where)
        stalled = f"no data for {2 * self.orders.stall_seconds} s, or its client ended"
        reason = text_of(answers[-1]) if answers else stalled
        wait = max([0.0, *(answer["retry_after"] for answer in answers)])
        pause = self.patience.pause(progressed=progressed, asked=wait)
        if pause is None:
            asked = f"; the hub asks for a wait of {wait:.0f} s" if wait > LONGEST_WAIT else ""
            times = self.patience.in_a_row
            raise Fault(
                f"{where} failed {times} times in a row, the last time with: {reason}{asked}",
                "check that this host reaches it (endpoint, proxy, DNS), then apply again: "
                "what has arrived is kept and only the rest is downloaded",
            )
        sys.stderr.write(f"{where}: {reason}; again in {pause:.0f} s\n")
        time.sleep(pause)

    def final(self, answer: dict[str, Any], where: str) -> Fault:
        """Return the failure that trying again cannot fix."""
        wanted = self.orders.wanted
        variable = f"model_store_{self.orders.source}_token_file"
        if answer["kind"] == "refused":
            given = "the token does not give access" if self.orders.token_file else "no token is configured"
            return Fault(
                f"{where} refused {wanted} with HTTP {answer['status']}: {given} ({answer['error']})",
                "accept the model's terms on the hub if there are any, and set "
                f"{variable} to a file with a token",
            )
        if answer["kind"] == "full":
            return Fault(
                f"the disk became full while {wanted} was being downloaded ({answer['error']})",
                "free space and apply again: what has arrived is kept",
            )
        if answer["kind"] == "wrong":
            return Fault(f"{where} keeps sending a wrong {answer['name']}: {answer['error']}", ALTERED)
        if answer["kind"] == "missing":
            return Fault(
                f"{where} has no {wanted}, or does not show it to this client ({answer['error']})",
                f"check serve_model and serve_model_revision; a private model needs {variable}",
            )
        return Fault(
            f"{where} cannot deliver {wanted}: HTTP {answer['status']} {answer['error']}",
            "check the endpoint and the model's page on the hub",
        )


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

    def check_present(self) -> None:
        """Keep the files that an earlier run completed."""
        self.accept([name for name in self.pending if (self.staging / name).is_file()])

    def bytes_on_disk(self) -> int:
        """Return the size of all that has arrived, complete or not."""
        return int(sum(size for _, size in self._census()))

    def bytes_to_fetch(self) -> int:
        """Return how many bytes are still to be downloaded."""
        total = sum(r.size for r in self.pending.values()) + sum(found.size for found in self.good.values())
        return max(0, int(total) - self.bytes_on_disk())

    def _census(self) -> list[tuple[str, int]]:
        found = []
        for folder, _, names in os.walk(str(self.staging)):
            for name in names:
                path = Path(folder, name)
                try:
                    found.append((str(path), path.stat().st_size))
                except OSError:
                    continue  # the client has just moved it
        return sorted(found)

    def run(self) -> dict[str, Hashes]:
        """Download until every file is present and correct."""
        failures = Failures(self.orders)
        while self.pending:
            before, waiting = self.bytes_on_disk(), len(self.pending)
            answers = list(self._round())
            self.accept([answer["name"] for answer in answers if answer["ok"]])
            progressed = len(self.pending) < waiting or self.bytes_on_disk() - before >= PROGRESS_BYTES
            bad = [answer for answer in answers if not answer["ok"]]
            if self.pending and (bad or not answers):
                # Where Xet stalls, plain HTTP has been seen to work.
                self._xet = False
                failures.add(bad, progressed=progressed)
        return self.good

    def _round(self) -> Iterator[dict[str, Any]]:
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
        yield from Client(self.orders, request, xet=self._xet).answers(self._movement())

    def _movement(self) -> Any:
        """Return a function that returns whether anything has arrived lately."""
        seen: dict[str, Any] = {"census": None, "at": time.monotonic()}

        def alive() -> bool:
            census = self._census()
            if census != seen["census"]:
                seen.update(census=census, at=time.monotonic())
            # The client has its own limit; this is for one that does not keep it.
            return bool(time.monotonic() - seen["at"] < 2 * self.orders.stall_seconds)

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
            sys.stderr.write(f"{name} {reason}: dropped\n")
            if self._wrong[name] > REFETCHES:
                raise Fault(
                    f"{name} of {self.orders.wanted} {reason}; {self.orders.endpoint} sent a wrong one "
                    f"{self._wrong[name]} times",
                    ALTERED,
                )
