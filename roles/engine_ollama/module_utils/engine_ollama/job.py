# SPDX-License-Identifier: Apache-2.0
"""Pull, create, hash or remove Ollama's models; runs as the engine's user, in its own unit."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from ansible.module_utils.provision.host.fault import Fault
from ansible.module_utils.provision.jobs.progress import Progress
from ansible.module_utils.provision.models.files import hash_file

from .api import Api, OllamaError, private_server
from .names import Name, Source
from .orders import NamedOrders, Orders
from .pull import Pull, check_disk
from .store import PREFIX, Manifest, Store, Wrong
from .wanted import MODEL, PULL, Wanted, doubt, pinned

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
        self.wrong: dict[str, str] = {}
        self.removed: list[str] = []

    def ensure(self, model: Wanted, entry: dict[str, Any]) -> dict[str, Any]:
        """Pull or create one model, doing no more than necessary, and return its record."""
        name = Name.parse(model.name)
        self.progress.label = f"{model.name}: checking its files"
        before = self.store.manifest(name)
        self._repair(before)
        registry_digest = entry.get("registry_digest", "")
        base = self._base(model)
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
        self._confirm(model, made)
        return {
            "inputs": model.inputs(self.store),
            "digest": made.digest,
            "registry_digest": registry_digest,
            "base": str(base) if base is not None and base != name and model.kind == PULL else "",
            "made": bool(entry.get("made")),
            "text": model.text,
        }

    def _base(self, model: Wanted) -> Name | None:
        if model.kind == PULL:
            return model.pulled_as
        return Name.parse(model.origin) if model.kind == MODEL else None

    def _incomplete(self, base: Name, model: Wanted) -> bool:
        """Return whether the model that another is created from must be pulled, or the rest of it."""
        if model.kind != PULL:
            return False
        found = self.store.manifest(base)
        self._repair(found)
        if found is None or self.store.missing(found):
            return True
        return bool(model.pin) and not pinned(model.pin, [found.digest])

    def _repair(self, manifest: Manifest | None) -> None:
        """Read the blobs that may have changed, and remove the wrong ones, so that they are pulled again."""
        if manifest is None:
            return
        for digest in self.store.unsure(manifest.blobs, self.stamps):
            wrong = self.store.wrong(digest)
            if wrong is None:
                self.stamps[digest] = self.store.stamp(digest)
                continue
            self.wrong.setdefault(digest, str(wrong))
            if wrong.actual:
                self.store.blob(digest).unlink()

    def _confirm(self, model: Wanted, manifest: Manifest) -> None:
        """Read what has arrived and was not read yet: nothing is served whose hash was not checked."""
        for digest in self.store.unsure(manifest.blobs, self.stamps):
            self.progress.label = f"{model.name}: verifying"
            wrong: Wrong | None = self.store.wrong(digest)
            if wrong is not None:
                raise Fault(
                    f"{model.name} was installed, but {wrong}", "apply again; check the health of the disk"
                )
            self.stamps[digest] = self.store.stamp(digest)

    def _pull(self, model: Wanted, target: Name) -> str:
        self.progress.label = model.origin
        source = Source(Name.parse(model.origin), self.orders.registry)
        work = Pull(self.api, self.store, source, self.orders)
        return str(work.into(target, model.pin, self.progress))

    def _make(self, model: Wanted, entry: dict[str, Any], base: Name | None) -> None:
        name = Name.parse(model.name)
        found = self.store.manifest(name)
        same = bool(entry) and entry.get("inputs") == model.inputs(self.store)
        if found and same and entry.get("digest") == found.digest and not self.store.missing(found):
            return
        if not model.changes and base is not None:
            self.api.ask("POST", "/api/copy", {"source": str(base), "destination": model.name})
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

    def _blobs(self, files: Any, *, rewritten: bool) -> dict[str, str]:
        """Put GGUF files among Ollama's blobs and return their names with their digests."""
        found = {}
        for file in files:
            path = Path(file["path"])
            staged = Path(self.orders.staged[file["path"]]) if file["path"] in self.orders.staged else None
            # Ollama itself writes the model again beside its source.
            needed = (0 if staged else file["size"]) + (file["size"] if rewritten else 0)
            check_disk(self.store.root, needed, self.orders.reserve_bytes, path.name)
            found[path.name] = self._place(path, staged, file.get("sha256") or "")
        return found

    def _place(self, path: Path, staged: Path | None, sha256: str) -> str:
        self.store.blobs.mkdir(parents=True, exist_ok=True)
        if sha256 and self.store.blob(PREFIX + sha256).exists() and not self.store.wrong(PREFIX + sha256):
            if staged is not None:
                staged.unlink()
            return f"{PREFIX}{sha256}"
        own = self.store.blobs / f"provision-{os.getpid()}"
        try:
            if staged is None:
                self.progress.label = f"{path.name}: copying"
                self._copy(path, own)
            return self._keep(path, staged or own, sha256)
        finally:
            own.unlink(missing_ok=True)

    def _keep(self, path: Path, staged: Path, sha256: str) -> str:
        """Give a file in the store its name there, once its hash is right."""
        self.progress.label = f"{path.name}: verifying"
        actual = hash_file(staged).sha256
        if sha256 and actual != sha256:
            staged.unlink()
            raise Fault(f"{path} has sha256 {actual}, expected {sha256}", "run `provision apply` again")
        digest = f"{PREFIX}{actual}"
        if self.store.blob(digest).exists() and not self.store.wrong(digest):
            staged.unlink()
        else:
            staged.replace(self.store.blob(digest))
        return digest

    def _copy(self, path: Path, target: Path) -> None:
        try:
            shutil.copyfile(str(path), str(target))
        except OSError as error:
            raise Fault(
                f"{path} cannot be copied into {self.store.blobs}: {error.strerror}",
                "make the file readable for the engine's user, and free space on the disk",
            ) from error


def ensure(spec: dict[str, Any]) -> None:
    """Pull or create every model in doubt, and report the outcome."""
    orders = Orders.read(spec)
    with Progress(Path(orders.result), orders.title) as progress:
        home = Path(orders.result).parent
        os.environ.update(orders.environment)
        with private_server(orders.binary, Path(orders.root), home) as api:
            work = Work(orders, api, progress)
            done: dict[str, Any] = {}
            models = [Wanted.of(values) for values in orders.models]
            # Twice: creating one may put another in doubt, which it is created from or shares a blob with.
            for model in [*models, *models]:
                entry = done.get(model.name) or orders.entries.get(model.name, {})
                if doubt(work.store, model, entry, work.stamps):
                    done[model.name] = work.ensure(model, entry)
        # One that was removed may be there again, for another model.
        gone = [digest for digest in work.removed if not work.store.blob(digest).exists()]
        outcome = {
            "models": done,
            "stamps": work.stamps,
            "repaired": list(work.wrong.values()),
            "removed": gone,
        }
        progress.finish(**outcome)


def verify(spec: dict[str, Any]) -> None:
    """Read every blob of the listed models."""
    orders = NamedOrders.read(spec)
    store = Store(Path(orders.root))
    with Progress(Path(orders.result), orders.title) as progress:
        manifests = {name: store.manifest(Name.parse(name)) for name in orders.names}
        sizes = {
            digest: size for found in manifests.values() if found for digest, size in found.blobs.items()
        }
        done: list[int] = []
        progress.total, progress.done = sum(sizes.values()), lambda: sum(done)
        wrong, stamps = {}, {}
        for digest, size in sizes.items():
            bad = store.wrong(digest)
            if bad:
                wrong[digest] = str(bad)
            else:
                stamps[digest] = store.stamp(digest)
            done.append(size)
        results = {
            name: [wrong[digest] for digest in found.blobs if digest in wrong] if found else None
            for name, found in manifests.items()
        }
        progress.finish(results=results, stamps=stamps, sizes=sizes, run=orders.run)


def prune(spec: dict[str, Any]) -> None:
    """Remove models, and the blobs that nothing else needs."""
    orders = NamedOrders.read(spec)
    store = Store(Path(orders.root))
    with Progress(Path(orders.result), orders.title) as progress:
        removed: list[str] = []
        for text in orders.names:
            name = Name.parse(text)
            found = store.manifest(name)
            store.drop(name)
            removed += store.clean(found.blobs) if found else []
        progress.finish(removed=removed)


KINDS = {"ensure": ensure, "verify": verify, "prune": prune}
