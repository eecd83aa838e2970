# SPDX-License-Identifier: Apache-2.0
"""Describe a stand-in package once, for dpkg and for rpm; pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

# Below these every folder belongs to packages, the first level included.
OWNED = ("/usr/local/", "/usr/src/")
NOTICE = "A stand-in for tests: it has the vendor's name and version and drives nothing.\n"


@dataclass(frozen=True)
class Text:
    """A file with this content."""

    content: str
    mode: int = 0o644


@dataclass(frozen=True)
class Copy:
    """A file that was built before."""

    source: Path
    mode: int = 0o644


@dataclass(frozen=True)
class Link:
    """A symbolic link."""

    target: str


Content = Text | Copy | Link


@dataclass(frozen=True)
class Package:
    """One package; `scripts` are named as dpkg (postinst) or rpm (post) calls them."""

    name: str
    version: str
    release: str
    summary: str
    epoch: str = ""
    any_arch: bool = False
    files: Mapping[str, Content] = field(default_factory=dict)
    scripts: Mapping[str, str] = field(default_factory=dict)
    depends: tuple[str, ...] = ()
    recommends: tuple[str, ...] = ()
    provides: tuple[str, ...] = ()
    conflicts: tuple[str, ...] = ()
    replaces: tuple[str, ...] = ()

    @property
    def full_version(self) -> str:
        """Return epoch, version and release in one."""
        release = f"-{self.release}" if self.release else ""
        return f"{self.epoch}:{self.version}{release}" if self.epoch else f"{self.version}{release}"

    @property
    def content(self) -> Mapping[str, Content]:
        """Return the files with the one that says what this is."""
        return {**self.files, f"/usr/share/doc/{self.name}/STAND-IN.txt": Text(NOTICE)}


def deb_file(package: Package) -> str:
    """Return the file's name as an archive has it: without the epoch."""
    version = package.full_version.partition(":")[2] if package.epoch else package.full_version
    return f"{package.name}_{version}_{'all' if package.any_arch else 'amd64'}.deb"


def control(package: Package) -> str:
    """Return the text of DEBIAN/control."""
    relations = {
        "Depends": package.depends,
        "Recommends": package.recommends,
        "Provides": package.provides,
        "Conflicts": package.conflicts,
        "Replaces": package.replaces,
    }
    lines = [
        f"Package: {package.name}",
        f"Version: {package.full_version}",
        f"Architecture: {'all' if package.any_arch else 'amd64'}",
        "Maintainer: The tests of provision <nobody@example.invalid>",
        "Section: misc",
        "Priority: optional",
        *(f"{name}: {', '.join(values)}" for name, values in relations.items() if values),
        f"Description: {package.summary} (stand-in for tests)",
        f" {NOTICE.strip()}",
    ]
    return "".join(f"{line}\n" for line in lines)


def spec(group: str, packages: list[Package], stage: Path) -> str:
    """Return one spec file for packages whose files do not collide; the files lie in `stage`."""
    head = f"""\
Name: simulated-{group}
Version: 1
Release: 1
Summary: {NOTICE.strip()}
License: Apache-2.0
AutoReqProv: no
%description
{NOTICE}
%prep
%build
%install
mkdir -p %{{buildroot}}
cp -a {stage}/. %{{buildroot}}/
"""
    return head + "".join(_section(package) for package in packages)


def own_folders(package: Package) -> list[str]:
    """Return the folders that go with the package when it is removed: rpm takes only what it was told of."""
    found = set()
    for path in package.files:
        parts = path.split("/")
        if path.startswith(OWNED):
            found |= {"/".join(parts[:depth]) for depth in range(4, len(parts))}
    return sorted(found)


def _section(package: Package) -> str:
    tags = [
        f"Version: {package.version}",
        f"Release: {package.release}",
        f"Summary: {package.summary} (stand-in for tests)",
        "AutoReqProv: no",
        *([f"Epoch: {package.epoch}"] if package.epoch else []),
        *(["BuildArch: noarch"] if package.any_arch else []),
        *(f"Requires: {one}" for one in package.depends),
        *(f"Recommends: {one}" for one in package.recommends),
        *(f"Provides: {one}" for one in package.provides),
        *(f"Conflicts: {one}" for one in package.conflicts),
        *(f"Obsoletes: {one}" for one in package.replaces),
    ]
    scripts = "".join(
        f"%{name} -n {package.name}\n{_escaped(text)}\n" for name, text in package.scripts.items()
    )
    folders = "".join(f'%dir "{path}"\n' for path in own_folders(package))
    files = folders + "".join(f'"{path}"\n' for path in sorted(package.content))
    body = "".join(f"{line}\n" for line in tags)
    described = f"%description -n {package.name}\n{NOTICE}"
    return f"%package -n {package.name}\n{body}{described}{scripts}%files -n {package.name}\n{files}\n"


def _escaped(text: str) -> str:
    # rpm's own language uses the sign, the shell does too.
    return text.strip().replace("%", "%%")
