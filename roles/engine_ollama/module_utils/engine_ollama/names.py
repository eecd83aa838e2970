# SPDX-License-Identifier: Apache-2.0
"""Parse Ollama's names of models, and find the manifest of a name."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from ansible.module_utils.provision.host.fault import Fault

REGISTRY = "https://registry.ollama.ai"
HOST = "registry.ollama.ai"
# Where what a changed model was made from is kept under its own name. No such host can be pulled from.
BASE_HOST = "provision.base"
_PART = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}"
_NAME = re.compile(
    r"(((?P<host>[A-Za-z0-9_][A-Za-z0-9_.:-]{0,349})/)?(?P<namespace>[A-Za-z0-9_][A-Za-z0-9_-]{0,79})/)?"
    rf"(?P<model>{_PART})(:(?P<tag>{_PART}))?"
)
EXAMPLE = "write it as Ollama does, such as smollm2:135m or owner/name:tag"


@dataclass(frozen=True)
class Name:
    """The full name of a model."""

    host: str
    namespace: str
    model: str
    tag: str

    @classmethod
    def parse(cls, text: str) -> Name:
        """Read a name, filling in what Ollama does."""
        found = _NAME.fullmatch(text)
        if not found:
            raise Fault(f"{text!r} is not the name of an Ollama model", EXAMPLE)
        host, namespace = found["host"] or HOST, found["namespace"] or "library"
        return cls(host, namespace, found["model"], found["tag"] or "latest")

    @property
    def path(self) -> str:
        """Return the manifest's place below `manifests`."""
        return f"{self.host}/{self.namespace}/{self.model}/{self.tag}"

    @property
    def base(self) -> Name:
        """Return the name under which this model is kept while a changed one has its own."""
        return replace(self, host=BASE_HOST)

    def __str__(self) -> str:
        """Return the name as Ollama lists it."""
        short = f"{self.model}:{self.tag}"
        if self.host != HOST:
            return f"{self.host}/{self.namespace}/{short}"
        return short if self.namespace == "library" else f"{self.namespace}/{short}"


@dataclass(frozen=True)
class Source:
    """Where one model is pulled from: its registry, and its name for Ollama."""

    name: Name
    registry: str

    @property
    def pulled(self) -> Name:
        """Return the name under which Ollama stores what it has pulled."""
        if self.registry == REGISTRY or self.name.host != HOST:
            return self.name
        return replace(self.name, host=urlsplit(self.registry).netloc)

    @property
    def insecure(self) -> bool:
        """Return whether the registry uses HTTP."""
        return urlsplit(self.url).scheme == "http"

    @property
    def asked(self) -> str:
        """Return the name with which the pull is requested."""
        return f"http://{self.pulled}" if self.insecure else str(self.pulled)

    @property
    def url(self) -> str:
        """Return the registry's address."""
        return self.registry if self.name.host == HOST else f"https://{self.name.host}"

    @property
    def manifest_url(self) -> str:
        """Return where the registry has the model's manifest."""
        name = self.name
        return f"{self.url}/v2/{name.namespace}/{name.model}/manifests/{name.tag}"


def plain(text: str) -> str:
    """Return a hub's name for a model as a name that Ollama accepts; it is the same wherever it can be."""
    owner, slash, model = text.strip("/").rpartition("/")
    model = re.sub(r"[^A-Za-z0-9_.:-]", "-", model).lstrip(".-:") or "model"
    owner = re.sub(r"[^A-Za-z0-9_-]", "-", owner).lstrip("-")
    return f"{owner}/{model}" if slash and owner else model
