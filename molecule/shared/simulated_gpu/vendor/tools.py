# SPDX-License-Identifier: Apache-2.0
"""Write packages and indexes with the real tools; this runs in the builder's container."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from simulated_gpu.vendor.package import Content, Copy, Link, Package, Text, control, deb_file, spec

# Whether it is built today or tomorrow, a package of one version is the same file.
EPOCH = "1767225600"
ENVIRONMENT = {**os.environ, "SOURCE_DATE_EPOCH": EPOCH, "LC_ALL": "C.UTF-8"}
RPM_SETTINGS = {
    "debug_package": "%{nil}",
    "__os_install_post": "%{nil}",
    "_binary_payload": "w1.gzdio",
    "_build_id_links": "none",
    "use_source_date_epoch_as_buildtime": "1",
    "_unpackaged_files_terminate_build": "1",
}


def call(argv: Sequence[str | Path], *, cwd: Path | None = None, text: str | None = None) -> str:
    """Run a program and return what it prints; its complaint becomes the error."""
    done = subprocess.run(
        [str(word) for word in argv],
        cwd=cwd,
        input=text,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, argv))}\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
    return done.stdout


def put(root: Path, path: str, content: Content) -> None:
    """Write one file of a package below `root`."""
    target = root / path.lstrip("/")
    target.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, Link):
        if not target.is_symlink():
            target.symlink_to(content.target)
        return
    if isinstance(content, Copy):
        shutil.copyfile(content.source, target)
    else:
        target.write_text(content.content)
    target.chmod(content.mode)


def build_debs(packages: Sequence[Package], work: Path, folder: Path) -> None:
    """Write a .deb file for each package into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(lambda package: _deb(package, work, folder), packages))


def _deb(package: Package, work: Path, folder: Path) -> None:
    root = work / "debs" / folder.name / deb_file(package)
    for path, content in package.content.items():
        put(root, path, content)
    put(root, "/DEBIAN/control", Text(control(package)))
    conffiles = [path for path in package.files if path.startswith("/etc/")]
    if conffiles:
        put(root, "/DEBIAN/conffiles", Text("".join(f"{path}\n" for path in conffiles)))
    for name, script in package.scripts.items():
        put(root, f"/DEBIAN/{name}", Text(f"#!/bin/sh\nset -e\n{script}", 0o755))
    call(["dpkg-deb", "--root-owner-group", "-Zgzip", "-z1", "--build", root, folder / deb_file(package)])


def build_rpms(
    group: str, packages: Sequence[Package], work: Path, folder: Path, key: str | None = None
) -> None:
    """Write and sign .rpm files into `folder`; no two packages of a group may hold the same path."""
    top = work / "rpms" / group
    stage = top / "stage"
    for package in packages:
        for path, content in package.content.items():
            put(stage, path, content)
    top.mkdir(parents=True, exist_ok=True)
    (top / "simulated.spec").write_text(spec(group, list(packages), stage))
    settings = {
        **RPM_SETTINGS,
        "_topdir": str(top),
        "_rpmdir": str(top / "out"),
        "_rpmfilename": "%%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm",
    }
    call(["rpmbuild", "-bb", "--target=x86_64", *_defines(settings), top / "simulated.spec"])
    built = sorted((top / "out").glob("*.rpm"))
    if key:
        call(["rpmsign", *_defines({"_gpg_name": key}), "--addsign", *built])
    folder.mkdir(parents=True, exist_ok=True)
    for file in built:
        file.replace(folder / file.name)


def _defines(settings: dict[str, str]) -> list[str]:
    return [f"--define={name} {value}" for name, value in settings.items()]
