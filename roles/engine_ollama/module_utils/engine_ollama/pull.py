# SPDX-License-Identifier: Apache-2.0
"""Let Ollama pull a model, patiently, and with its size known before the first byte."""

from __future__ import annotations

import contextlib
import http.client
import ssl
import time
import urllib.error
import urllib.request
from pathlib import Path

from ansible.module_utils.provision.host.fault import Fault
from ansible.module_utils.provision.host.paths import require_room
from ansible.module_utils.provision.jobs.patience import Patience
from ansible.module_utils.provision.jobs.progress import Progress

from .api import Api, OllamaError, settle
from .names import Name, Source
from .orders import Orders
from .store import Manifest, Store
from .wanted import pinned

ACCEPT = "application/vnd.docker.distribution.manifest.v2+json"
SECONDS = 30
MANIFEST_BYTES = 1 << 22
# What trying again cannot fix, by Ollama's message.
HOPELESS = {
    "no space left on device": "free space on the disk of the models directory and apply again",
    "disk quota exceeded": "free space on the disk of the models directory and apply again",
    "permission denied": "give the models directory to the engine's user",
    "no Location header": (
        "the registry serves files in a way that Ollama does not support: it must redirect to them"
    ),
    "requires a newer version": "set engine_ollama_version to a newer one",
}


def ask_registry(source: Source, attempts: int) -> Manifest:
    """Return the manifest that the registry has under a name."""
    request = urllib.request.Request(source.manifest_url, headers={"Accept": ACCEPT})  # noqa: S310 - a registry's URL
    patience = Patience(f"asking {source.url} for {source.name}", attempts)
    while True:
        try:
            with urllib.request.urlopen(request, timeout=SECONDS) as answer:  # noqa: S310 - as above
                return Manifest.read(answer.read(MANIFEST_BYTES))
        except (OSError, http.client.HTTPException, ValueError) as error:  # noqa: PERF203 - a pause follows
            patience.wait(_reason(source, error))


def _reason(source: Source, error: Exception) -> str:
    """Return what went wrong, without urllib's brackets; raises Fault where trying again cannot help."""
    if isinstance(error, urllib.error.HTTPError):
        error.close()
        if error.code == 404:
            raise Fault(
                f"{source.url} has no model {source.name}",
                "check name and tag in serve_model, which a registry may want in lower case",
            )
        if error.code in (401, 403):
            raise Fault(
                f"{source.url} refuses {source.name} ({error.code})",
                "Ollama's registry gives private models only to accounts: use one where everyone may read it",
            )
        return str(error)  # with its number
    cause = getattr(error, "reason", "") or error
    if isinstance(cause, ssl.SSLCertVerificationError):
        raise Fault(
            f"the certificate of {source.url} is not trusted: {getattr(cause, 'verify_message', cause)}",
            "add the certificate authority of the registry or proxy to host_base_ca_certificates, "
            "check the host's clock, and apply again",
        )
    return str(getattr(cause, "strerror", "") or cause) or type(error).__name__


def needed_bytes(store: Store, manifest: Manifest) -> int:
    """Return how much of a model is still to be pulled."""
    needed = 0
    for digest in store.missing(manifest):
        blob = store.blob(digest)
        needed += manifest.blobs[digest]
        with contextlib.suppress(OSError):  # nothing of it has arrived
            needed -= blob.with_name(blob.name + "-partial").stat().st_blocks * 512
    return max(0, needed)


def check_disk(root: Path, what: str, needed: int, reserve: int) -> None:
    """Refuse what does not fit, before its first byte."""
    advice = ", or set engine_ollama_models_dir to a larger disk"
    require_room(what, [(root, needed)] if needed else [], reserve, advice)


class Pull:
    """Pull one model from its registry."""

    def __init__(self, api: Api, store: Store, source: Source, orders: Orders) -> None:
        self.api = api
        self.store = store
        self.source = source
        self.orders = orders

    def into(self, target: Name, pin: str, progress: Progress) -> str:
        """Pull the model under the name `target` and return the digest that the registry gave it."""
        store, source = self.store, self.source
        manifest = ask_registry(source, self.orders.attempts)
        if pin and not pinned(pin, [manifest.digest]):
            raise Fault(
                f"serve_model_revision is {pin}, but {source.url} has {manifest.digest} as {source.name}",
                "set serve_model_revision to the model you want, or pull from a registry that has it",
            )
        check_disk(store.root, str(source.name), needed_bytes(store, manifest), self.orders.reserve_bytes)
        known_before = store.manifest(source.pulled)
        self._repeat(progress, manifest)
        if target != source.pulled:
            self.api.ask("/api/copy", {"source": str(source.pulled), "destination": str(target)})
            # The name of the mirror is removed again, unless it was there before.
            if known_before is None:
                store.drop(source.pulled)
        return manifest.digest

    def _repeat(self, progress: Progress, manifest: Manifest) -> None:
        source = self.source
        patience = Patience(f"pulling {source.name} from {source.url}", self.orders.attempts)
        done: dict[str, int] = {}
        progress.total, progress.done = sum(manifest.blobs.values()), lambda: sum(done.values())
        most = 0
        while True:
            try:
                self._once(done, manifest)
                return
            except OllamaError as error:  # noqa: PERF203 - a pause follows
                for said, step in HOPELESS.items():
                    if said in str(error):
                        raise Fault(f"pulling {source.name} failed: {error}", step) from error
                arrived = sum(done.values())
                patience.wait(error, progressed=arrived > most)
                most = max(most, arrived)

    def _once(self, done: dict[str, int], manifest: Manifest) -> None:
        done.clear()
        body = {"model": self.source.asked, "insecure": self.source.insecure}
        try:
            # Closed before anything else happens, so that Ollama notes how much has arrived.
            with contextlib.closing(self.api.stream("/api/pull", body, self.orders.stall_seconds)) as events:
                for event in events:
                    if event.get("digest") in manifest.blobs:
                        done[event["digest"]] = int(event.get("completed") or 0)
        except BaseException:
            # Also when this job is stopped: what has arrived counts the next time only once it is noted.
            settle(self.store.blobs, time.time())
            raise
