# SPDX-License-Identifier: Apache-2.0
"""Write the runfiles: a shell program with its archive behind the last line; runs in the container."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from simulated_gpu.vendor import cuda
from simulated_gpu.vendor.package import Content, Copy, Link, Text
from simulated_gpu.vendor.parts import LICENSES, SOURCE, Driver, module_source, program


def pack(files: Mapping[str, Content]) -> bytes:
    """Return the files as a compressed archive that depends on nothing else."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for path, content in sorted(files.items()):
            info = tarfile.TarInfo(path)
            if isinstance(content, Link):
                info.type, info.linkname = tarfile.SYMTYPE, content.target
                archive.addfile(info)
                continue
            data = content.source.read_bytes() if isinstance(content, Copy) else content.content.encode()
            info.size, info.mode = len(data), content.mode
            archive.addfile(info, io.BytesIO(data))
    return gzip.compress(packed.getvalue(), mtime=0)


def runfile(program_text: str, words: Mapping[str, str], files: Mapping[str, Content]) -> bytes:
    """Return the whole runfile."""
    for name, value in words.items():
        program_text = program_text.replace(f"@{name}@", value)
    return program_text.encode() + base64.encodebytes(pack(files))


def driver(version: str, built: Path) -> bytes:
    """Return the driver's runfile of one version."""
    files: dict[str, Content] = {
        "libnvidia-ml.so": Copy(built / "libnvidia-ml.so"),
        "libcuda.so": Copy(built / "libcuda.so"),
        "nvidia-smi": Copy(built / "nvidia-smi", 0o755),
        "nvidia-uninstall": Text((SOURCE / "run/nvidia-uninstall").read_text(), 0o755),
    }
    for name in ("nvidia-persistenced", "nvidia-modprobe"):
        files[name] = program(name, version)[f"/usr/bin/{name}"]
    for flavour in LICENSES:
        files |= module_source(Driver(version, "runfile", flavour), f"source-{flavour}")
    return runfile((SOURCE / "run/driver.sh").read_text(), {"VERSION": version}, files)


def toolkit(table: Mapping[str, Any], release: str) -> tuple[str, bytes]:
    """Return the name and the content of a toolkit's runfile."""
    row = table["toolkits"][release]
    name: str = row["runfile"]
    version = name.split("_")[1]
    words = {"RELEASE": release, "VERSION": version, "GCC": str(row["gcc"])}
    return name, runfile((SOURCE / "run/cuda.sh").read_text(), words, cuda.tree(table, release, version))


def write(path: Path, content: bytes) -> None:
    """Write a runfile with its hash beside it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(0o755)
    digest = hashlib.sha256(content).hexdigest()
    path.with_name(f"{path.name}.sha256").write_text(f"{digest}  {path.name}\n")
