#!/usr/bin/python3 -IS
# SPDX-License-Identifier: Apache-2.0
"""Stand-ins for apt-get, dpkg-query, apt-mark and update-alternatives, and for NVIDIA's installer; no CUDA.

They keep what is installed in a JSON file, and know of dependencies, of holds and of nothing else. A shell
starts this one file under several names; what host code starts itself is run in the process of the test.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
from pathlib import Path
from typing import Any

PROGRAMS = ("apt-get", "apt-mark", "dpkg", "dpkg-query", "ldconfig", "update-alternatives")
NVCC = '#!/bin/sh\necho "Cuda compilation tools, release {}, V{}.88"\n'
INSTALLER = r"""#!/bin/sh
# A stand-in for NVIDIA's installer of CUDA, for tests.
set -eu
override=no
for word in "$@"; do
    case $word in
        --toolkitpath=*) path=${word#*=} ;;
        --tmpdir=*) tmp=${word#*=} ;;
        --override) override=yes ;;
        --silent | --toolkit | --no-man-page | --no-drm) ;;
        *) echo "unknown option $word" >&2; exit 2 ;;
    esac
done
echo "unpacking to $tmp, override $override"
test -d "$tmp"
mkdir -p "$path/bin"
@MIDWAY@
cat > "$path/bin/nvcc" <<'PROGRAM'
@NVCC@PROGRAM
chmod 0755 "$path/bin/nvcc"
"""


def installer(version: str, midway: str = "") -> tuple[bytes, str]:
    """Return a stand-in of an installer and its hash; `midway` may go wrong."""
    release = ".".join(version.split(".")[:2])
    text = INSTALLER.replace("@MIDWAY@", midway).replace("@NVCC@", NVCC.format(release, release))
    return text.encode(), hashlib.sha256(text.encode()).hexdigest()


class Machine:
    """What the stand-ins know: a repository, what is installed, held and linked."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.state: dict[str, Any] = json.loads(path.read_text())

    def save(self) -> None:
        """Keep the state."""
        self.path.write_text(json.dumps(self.state))

    def missing(self, names: list[str]) -> dict[str, str]:
        """Return the packages with their versions that installing these would bring."""
        found: dict[str, str] = {}
        for word in names:
            name, _, version = word.partition("=")
            offered = self.state["repository"].get(name)
            if offered is None:
                sys.exit(f"E: Unable to locate package {name}")
            fits = [one for one in offered["versions"] if not version or one.startswith(version[:-1])]
            if not fits:
                sys.exit(f"E: Version '{version}' for '{name}' was not found")
            if self.state["installed"].get(name) != fits[-1] and (
                version or name not in self.state["installed"]
            ):
                found[name] = fits[-1]
            found = {**self.missing(offered["depends"]), **found}
        return found

    def needing(self, names: list[str]) -> list[str]:
        """Return what goes when these go."""
        going = [name for name in names if name in self.state["installed"]]
        for name in self.state["installed"]:
            depends = self.state["repository"].get(name, {}).get("depends", [])
            if name not in going and set(depends) & set(going):
                return self.needing([*going, name])
        return going


def install(machine: Machine, names: list[str], *, dry: bool) -> None:
    """Be `apt-get install`."""
    found = machine.missing(names)
    if set(found) & set(machine.state["held"]):
        sys.exit("E: Held packages were changed and -y was used without --allow-change-held-packages.")
    for name, version in found.items():
        print(f"Inst {name} ({version} Stand-in [amd64])")  # noqa: T201 - it is a program
        if dry:
            continue
        machine.state["installed"][name] = version
        release = re.fullmatch(r"cuda-toolkit-(\d+)-(\d+)", name)
        if release:
            text = ".".join(release.groups())
            program = Path(machine.state["root"]) / f"cuda-{text}/bin/nvcc"
            program.parent.mkdir(parents=True, exist_ok=True)
            program.write_text(NVCC.format(text, text))
            program.chmod(0o755)
    if not dry and machine.state.pop("break", None):
        del machine.state["installed"][next(reversed(found))]
        machine.save()
        sys.exit("E: Sub-process dpkg returned an error code (1)")


def purge(machine: Machine, names: list[str], *, dry: bool) -> None:
    """Be `apt-get purge`."""
    for name in machine.needing(names):
        print(f"Purg {name} [1]")  # noqa: T201 - it is a program
        if dry:
            continue
        if name in machine.state["held"]:
            sys.exit("E: Held packages were changed and -y was used without --allow-change-held-packages.")
        del machine.state["installed"][name]
        if name.startswith("cuda-toolkit-1"):
            release = ".".join(name.split("-")[2:4])
            # As rpm does, which leaves directories.
            Path(machine.state["root"], f"cuda-{release}/bin/nvcc").unlink(missing_ok=True)


def be(program: str, state: Path, words: list[str]) -> None:
    """Be one of the programs."""
    machine = Machine(state)
    machine.state["log"].append([program, *words])
    names = words[words.index("--") + 1 :] if "--" in words else []
    if program == "dpkg-query":
        for name, version in machine.state["installed"].items():
            print(f"ii |{name}|{version}")  # noqa: T201 - it is a program
    elif program == "apt-mark" and words[0] == "showhold":
        print("\n".join(machine.state["held"]))  # noqa: T201 - it is a program
    elif program == "apt-mark":
        others = [name for name in machine.state["held"] if name not in words[1:]]
        machine.state["held"] = others + (words[1:] if words[0] == "hold" else [])
    elif program == "apt-get" and "install" in words:
        install(machine, names, dry="-s" in words)
    elif program == "apt-get" and "purge" in words:
        purge(machine, names, dry="-s" in words)
    elif program == "update-alternatives":
        sys.exit(2)
    machine.save()


if __name__ == "__main__":
    be(Path(sys.argv[0]).name, Path(os.environ["STANDIN_STATE"]), sys.argv[1:])
