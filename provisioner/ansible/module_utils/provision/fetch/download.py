# SPDX-License-Identifier: Apache-2.0
"""Download one file over HTTP until it is complete: attempts, resumption, and when to give up."""

from __future__ import annotations

import errno
import hashlib
import re
from http.client import HTTPException
from pathlib import Path
from typing import Any, Callable

from ..host.fault import Fault
from ..host.files import read_json, write_json
from ..host.follow import note
from ..jobs.patience import Patience
from ..jobs.progress import Progress
from .source import Passing, Source, network_fault

BLOCK = 1024**2
# An attempt in which less than this arrived counts as one without progress.
PROGRESS_BYTES = 1024**2
CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")


class Download:
    """One file on its way; what has arrived is kept with a note of the file's version."""

    def __init__(
        self,
        source: Source,
        part: Path,
        spec: dict[str, Any],
        progress: Progress,
        check_room: Callable[[int | None], None],
    ) -> None:
        self.source = source
        self.part = part
        self.notes = part.with_name(part.name + ".json")
        self.spec = spec
        self.progress = progress
        self.check_room = check_room

    def run(self) -> None:
        """Download until the file is complete and has the right hash."""
        note(f"downloading {self.source}")
        self.progress.done = self.arrived
        patience = Patience(self.source, self.spec["attempts"])
        refetched, most = False, self.arrived()
        while True:
            try:
                self._attempt()
            except Passing as passing:
                arrived, total = self.arrived(), self._noted().get("total")
                of = f" of {total}" if total is not None else ""
                reason = f"{passing}; {arrived}{of} bytes have arrived"
                # Compared with the most that ever arrived, or one without resumption would be tried for ever.
                progressed = arrived - most >= PROGRESS_BYTES
                patience.wait(reason, progressed=progressed, asked=passing.retry_after)
                most = max(most, arrived)
                continue
            wrong = self._wrong()
            if not wrong:
                return
            notes = self._noted()
            self.drop()
            # Parts of two files may be mixed, or the end was not seen: one complete answer decides.
            if refetched or (notes.get("pieces") == 1 and notes.get("total") is not None):
                raise wrong
            refetched = True
            note(f"{wrong}; downloading it once more from the beginning")

    def arrived(self) -> int:
        """Return how many bytes have arrived."""
        return self.part.stat().st_size if self.part.exists() else 0

    def drop(self) -> None:
        """Delete what has arrived."""
        self.part.unlink(missing_ok=True)
        self.notes.unlink(missing_ok=True)

    def _noted(self) -> dict[str, Any]:
        return dict(read_json(self.notes, {}))

    def _attempt(self) -> None:
        notes, have = self._noted(), self.arrived()
        if have and notes.get("total") == have:
            return
        if have and not notes:
            self.drop()
            have = 0
        headers = {}
        if have:
            headers["Range"] = f"bytes={have}-"
            if notes.get("validator"):
                headers["If-Range"] = notes["validator"]
        with self.source.open(headers, self.spec["stall_seconds"]) as response:
            if response.getcode() == 416:
                self.drop()
                raise Passing(f"the file changed on the server: HTTP 416 after {have} bytes")
            start, total = self._placed(response, have, notes)
            if have and not start:
                self.drop()
            self.check_room(None if total is None else total - start)
            self._receive(response, start, total, notes)

    def _placed(self, response: Any, have: int, notes: dict[str, Any]) -> tuple[int, int | None]:
        """Return where in the file the answer begins and how long the file is, if the server reports it."""
        if response.getcode() != 206:
            length = response.headers.get("Content-Length", "")
            return 0, int(length) if length.isdigit() else None
        given = CONTENT_RANGE.match(response.headers.get("Content-Range", ""))
        total = int(given.group(2)) if given and given.group(2).isdigit() else None
        if not given or int(given.group(1)) != have or notes.get("total") not in (None, total):
            self.drop()
            raise Passing(f"the file changed on the server after {have} bytes: starting over")
        return have, total

    def _receive(self, response: Any, start: int, total: int | None, notes: dict[str, Any]) -> None:
        pieces = notes.get("pieces", 1) + 1 if start else 1
        # What identifies this version of the file; a weak tag does not.
        tag = response.headers.get("ETag", "")
        strong = tag if tag and not tag.startswith("W/") else response.headers.get("Last-Modified", "")
        about = {"validator": strong, "total": total, "pieces": pieces}
        self.progress.total, self.progress.label = total or 0, self.spec["title"]
        with self.part.open("ab" if start else "wb") as stream:
            write_json(self.notes, about, 0o600)
            for block in iter(lambda: self._block(response), b""):
                self._write(stream, block)
        arrived = self.arrived()
        if total is not None and arrived < total:
            raise Passing(f"the connection ended after {arrived} of {total} bytes")

    def _block(self, response: Any) -> bytes:
        try:
            return bytes(response.read1(BLOCK))
        except (OSError, HTTPException) as error:
            raise network_fault(error, self.source, self.spec["stall_seconds"]) from error

    def _write(self, stream: Any, block: bytes) -> None:
        try:
            stream.write(block)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise Fault(
                f"the disk became full at {self.part.parent} after {self.arrived()} bytes of {self.source}",
                "free space and apply again: what has arrived is kept",
            ) from error

    def _wrong(self) -> Fault | None:
        self.progress.label = f"{self.spec['title']}: checking its hash"
        digest = hashlib.sha256()
        with self.part.open("rb") as stream:
            for block in iter(lambda: stream.read(BLOCK), b""):
                digest.update(block)
        if digest.hexdigest() == self.spec["sha256"]:
            return None
        return Fault(
            f"{self.source} has sha256 {digest.hexdigest()} ({self.arrived()} bytes), expected "
            f"{self.spec['sha256']}: the download was deleted and nothing was unpacked",
            "compare the hash with the one that the project publishes; a mirror or proxy may alter the file, "
            "or the URL is that of another version",
        )
