# SPDX-License-Identifier: Apache-2.0
"""Pull, create, hash or remove Ollama's models; runs as the engine's user, in its own unit.

On a host it is the program `ollama-models-<digest>.pyz ensure|verify|prune SPEC`.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any, Iterable

from ansible.module_utils.provision.host import proxy
from ansible.module_utils.provision.host.fault import Fault
from ansible.module_utils.provision.jobs.orders import job_of
from ansible.module_utils.provision.jobs.program import Program
from ansible.module_utils.provision.jobs.progress import Progress
from ansible.module_utils.provision.models.files import hash_file

from .api import Api, OllamaError, private_server
from .names import Name, Source
from .orders import NamedOrders, Orders
from .pull import Pull, check_disk
from .store import PREFIX, Manifest, Store
from .wanted import PULL, Wanted, doubt, pinned

# The adapter's identity is the module's note; Ollama gets the blobs.
NOT_SENT = ("adapter", "adapter_files")


class Work:
    """Pull and create one service's models, and remember what was found and done."""

    def __init__(self, orders: Orders, api: Api, progress: Progress) -> None:
        self.orders = orders
        self.api = api
        self.progress = progress
        self.store = Store(Path(orders.root))
        self.stamps: dict[str, Any] = dict(orders.stamps)
        self.repaired: dict[str, str] = {}
        self.removed: list[str] = []

    def ensure(self, model: Wanted, entry: dict[str, Any]) -> dict[str, Any]:
        """Pull or create one model, doing no more than necessary, and return its record."""
        name = Name.parse(model.name)
        self.progress.label = f"{model.name}: checking its files"
        before = self.store.manifest(name)
        self._repair(before)
        registry_digest = entry.get("registry_digest", "")
        base = model.base
        if base is not None and self._incomplete(base, model):
            registry_digest = self._pull(model, base)
        if base is None or base != name:
            self._make(model, entry, base)
        if before is not None:
            self.removed += self.store.clean(before.blobs)
        made = self.store.manifest(name)
        if made is None:
            raise Fault(
                f"Ollama reported that {model.name} was created, but it is not in {self.store.manifests}",
                "run `ollama list` and remove the model whose name differs only in case",
            )
        # Nothing is served whose hash was not checked.
        self.progress.label = f"{model.name}: verifying"
        wrong = "; ".join(self._wrong(made).values())
        if wrong:
            step = "apply again; check the health of the disk"
            raise Fault(f"{model.name} was installed, but {wrong}", step)
        return {
            "inputs": model.inputs(self.store),
            "digest": made.digest,
            "registry_digest": registry_digest,
            "base": str(base) if base is not None and base != name and model.kind == PULL else "",
            "made": bool(entry.get("made")),
            "text": model.text,
        }

    def _incomplete(self, base: Name, model: Wanted) -> bool:
        """Return whether the model that another is created from must be pulled, or the rest of it."""
        if model.kind != PULL:
            return False
        found = self.store.manifest(base)
        self._repair(found)
        if found is None or self.store.missing(found):
            return True
        return bool(model.pin) and not pinned(model.pin, [found.digest])

    def _wrong(self, manifest: Manifest | None) -> dict[str, str]:
        """Read the blobs that may have changed, and return how they are wrong; the right ones get a stamp."""
        wrong = {}
        for digest in self.store.unsure(manifest.blobs, self.stamps) if manifest else ():
            reason = self.store.wrong(digest)
            if reason:
                wrong[digest] = reason
            else:
                self.stamps[digest] = self.store.stamp(digest)
        return wrong

    def _repair(self, manifest: Manifest | None) -> None:
        """Remove the wrong blobs, so that they are pulled again."""
        wrong = self._wrong(manifest)
        self.repaired.update({**wrong, **self.repaired})
        for digest in wrong:
            self.store.blob(digest).unlink(missing_ok=True)

    def _pull(self, model: Wanted, target: Name) -> str:
        self.progress.label = model.origin
        source = Source(Name.parse(model.origin), self.orders.registry)
        return Pull(self.api, self.store, source, self.orders).into(target, model.pin, self.progress)

    def _make(self, model: Wanted, entry: dict[str, Any], base: Name | None) -> None:
        name = Name.parse(model.name)
        found = self.store.manifest(name)
        same = bool(entry) and entry.get("inputs") == model.inputs(self.store)
        if found and same and entry.get("digest") == found.digest and not self.store.missing(found):
            return
        if not model.changes and base is not None:
            self.api.ask("/api/copy", {"source": str(base), "destination": model.name})
            return
        request = {key: value for key, value in model.changes.items() if key not in NOT_SENT}
        blobs: dict[str, str] = {}
        if base is not None:
            request["from"] = str(base)
        else:
            request["files"] = self._blobs(model.files, rewritten=True)
            blobs.update(request["files"])
        if model.changes.get("adapter_files"):
            request["adapters"] = self._blobs(model.changes["adapter_files"], rewritten=False)
            blobs.update(request["adapters"])
        self.progress.label, self.progress.total = f"{model.name}: being created", 0
        try:
            for event in self.api.stream("/api/create", {"model": model.name, **request}):
                self.progress.label = f"{model.name}: {event.get('status', 'being created')[:60]}"
        except OllamaError as error:
            raise Fault(
                f"creating {model.name} failed: {error}",
                "correct the engine_ollama_ variables that it is created with, or choose another GGUF file",
            ) from error
        finally:
            self.removed += self.store.clean(blobs.values())

    def _blobs(self, files: Iterable[dict[str, Any]], *, rewritten: bool) -> dict[str, str]:
        """Put GGUF files among Ollama's blobs and return their names with their digests."""
        self.store.blobs.mkdir(parents=True, exist_ok=True)
        own = self.store.blobs / f"provision-{os.getpid()}"
        found = {}
        for file in files:
            path, staged = Path(file["path"]), Path(self.orders.staged.get(file["path"], own))
            # Ollama itself writes the model again beside its source.
            needed = (0 if staged.exists() else file["size"]) + (file["size"] if rewritten else 0)
            check_disk(self.store.root, path.name, needed, self.orders.reserve_bytes)
            try:
                found[path.name] = self._place(path, staged, file.get("sha256") or "")
            finally:
                staged.unlink(missing_ok=True)
        return found

    def _place(self, path: Path, staged: Path, sha256: str) -> str:
        """Give a file its name among the blobs once its hash is right; it is copied unless it is staged."""
        if sha256 and not self.store.wrong(PREFIX + sha256):
            return PREFIX + sha256
        if not staged.exists():
            self.progress.label = f"{path.name}: copying"
            try:
                shutil.copyfile(str(path), str(staged))
            except OSError as error:
                raise Fault(
                    f"{path} cannot be copied into {self.store.blobs}: {error.strerror}",
                    "make the file readable for the engine's user, and free space on the disk",
                ) from error
        self.progress.label = f"{path.name}: verifying"
        actual = hash_file(staged).sha256
        if sha256 and actual != sha256:
            raise Fault(f"{path} has sha256 {actual}, expected {sha256}", "run `provision apply` again")
        if self.store.wrong(PREFIX + actual):
            staged.replace(self.store.blob(PREFIX + actual))
        return PREFIX + actual


def ensure(orders: Orders, progress: Progress) -> dict[str, Any]:
    """Pull or create every model in doubt."""
    proxy.adopt(more=orders.environment)
    with private_server(orders.binary, Path(orders.root), progress.path.parent) as api:
        work = Work(orders, api, progress)
        done: dict[str, Any] = {}
        models = [Wanted(**values) for values in orders.models]
        # Twice: creating one may put another in doubt, which it is created from or shares a blob with.
        for model in [*models, *models]:
            entry = done.get(model.name) or orders.entries.get(model.name, {})
            if doubt(work.store, model, entry, work.stamps):
                done[model.name] = work.ensure(model, entry)
    # One that was removed may be there again, for another model.
    gone = [digest for digest in work.removed if not work.store.blob(digest).exists()]
    return {"models": done, "stamps": work.stamps, "repaired": list(work.repaired.values()), "removed": gone}


def verify(orders: NamedOrders, progress: Progress) -> dict[str, Any]:
    """Read every blob of the listed models."""
    store = Store(Path(orders.root))
    manifests = {name: store.manifest(Name.parse(name)) for name in orders.names}
    sizes = {digest: size for found in manifests.values() if found for digest, size in found.blobs.items()}
    done: list[int] = []
    progress.total, progress.done = sum(sizes.values()), lambda: sum(done)
    wrong, stamps = {}, {}
    for digest, size in sizes.items():
        reason = store.wrong(digest)
        if reason:
            wrong[digest] = reason
        else:
            stamps[digest] = store.stamp(digest)
        done.append(size)
    results = {
        name: [wrong[digest] for digest in found.blobs if digest in wrong] if found else None
        for name, found in manifests.items()
    }
    return {"results": results, "stamps": stamps, "sizes": sizes}


def prune(orders: NamedOrders, _progress: Progress) -> dict[str, Any]:
    """Remove models, and the blobs that nothing else needs."""
    store = Store(Path(orders.root))
    removed: list[str] = []
    for name in map(Name.parse, orders.names):
        found = store.manifest(name)
        store.drop(name)
        removed += store.clean(found.blobs) if found else []
    return {"removed": removed}


JOBS = {
    "ensure": job_of(Orders, ensure),
    "verify": job_of(NamedOrders, verify, "run"),
    "prune": job_of(NamedOrders, prune, "run"),
}
PROGRAM = Program("ollama-models", __name__, JOBS)
install, main = PROGRAM.install, PROGRAM.main
