# SPDX-License-Identifier: Apache-2.0
"""Lay out the CUDA toolkit's packages and the contents of its runfiles; pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from simulated_gpu.vendor.package import Content, Link, Package, Text
from simulated_gpu.vendor.parts import SOURCE

Table = Mapping[str, Any]
ALTERNATIVES = """\
tool=$(command -v update-alternatives || command -v alternatives)
$tool --install /usr/local/cuda cuda /usr/local/cuda-{release} {priority}
$tool --install /usr/local/cuda-{major} cuda-{major} /usr/local/cuda-{release} {priority}
"""
NO_ALTERNATIVES = """\
tool=$(command -v update-alternatives || command -v alternatives)
$tool --remove cuda /usr/local/cuda-{release} || true
$tool --remove cuda-{major} /usr/local/cuda-{release} || true
"""


def nvcc(table: Table, release: str) -> Text:
    """Return the compiler's stand-in."""
    text = (SOURCE / "run/nvcc").read_text()
    known = table["toolkits"][release]["nvcc"]
    return Text(text.replace("@RELEASE@", release).replace("@NVCC@", known), 0o755)


def tree(table: Table, release: str, version: str) -> dict[str, Content]:
    """Return the files below a toolkit's folder."""
    described = f'{{"cuda": {{"name": "CUDA SDK (simulated)", "version": "{version}"}}}}\n'
    return {
        "bin/nvcc": nvcc(table, release),
        "bin/cuda-uninstaller": Text((SOURCE / "run/cuda-uninstaller").read_text(), 0o755),
        "targets/x86_64-linux/include/cuda_runtime.h": Text("/* simulated */\n"),
        "targets/x86_64-linux/lib/libcudart.so": Text("simulated\n"),
        "include": Link("targets/x86_64-linux/include"),
        "lib64": Link("targets/x86_64-linux/lib"),
        "version.json": Text(described),
    }


def packages(table: Table, release: str, version: str, *, redhat: bool) -> list[Package]:
    """Return the packages of one version of a toolkit."""
    dashed, major = release.replace(".", "-"), release.partition(".")[0]
    where, revision = f"/usr/local/cuda-{release}", table["toolkits"][release]["release"]
    at_least = " >= {}" if redhat else " (>= {})"
    words = {"release": release, "major": major, "priority": int(release.replace(".", ""))}
    scripts = ("post", "preun") if redhat else ("postinst", "prerm")
    turned = dict(zip(scripts, (ALTERNATIVES.format(**words), NO_ALTERNATIVES.format(**words)), strict=True))
    if redhat:
        turned["preun"] = f"if [ $1 = 0 ]; then\n{turned['preun']}fi\n"
    files = {
        f"{where}/{path}": one for path, one in tree(table, release, version).items() if "uninst" not in path
    }
    compiler = {path: files.pop(path) for path in list(files) if path.endswith("nvcc")}

    def package(name: str, *depends: str, **more: Any) -> Package:
        return Package(name, version, revision, f"CUDA {release}, {name}", depends=depends, **more)

    needed = [f"cuda-nvcc-{dashed}", *(f"{name}-{dashed}" for name in table["libraries"])]
    common = "cuda-toolkit-config-common"
    found = [
        package(
            f"cuda-toolkit-{dashed}-config-common",
            f"cuda-toolkit-{major}-config-common",
            files=files,
            scripts=turned,
        ),
        package(f"cuda-nvcc-{dashed}", f"cuda-toolkit-{dashed}-config-common", files=compiler),
        *(package(f"{name}-{dashed}", f"cuda-toolkit-{dashed}-config-common") for name in table["libraries"]),
        package(f"cuda-toolkit-{dashed}", *(one + at_least.format(version) for one in needed)),
        package(f"cuda-toolkit-{major}-config-common", common, any_arch=True),
    ]
    if release == table["newest"]:
        found += [
            package(common, any_arch=True),
            package("cuda-toolkit", f"cuda-toolkit-{dashed}"),
            package(f"cuda-toolkit-{major}", f"cuda-toolkit-{dashed}"),
        ]
    # The one that a toolkit must not be mistaken for: it brings a driver.
    driver = f"cuda-drivers{at_least.format('580')}" if not redhat else "cuda-drivers >= 580"
    return [*found, package(f"cuda-{dashed}", f"cuda-toolkit-{dashed}", driver)]
