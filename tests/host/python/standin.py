# SPDX-License-Identifier: Apache-2.0
"""A stand-in for the installer of conda: a self-extracting shell script, and no conda.

It understands what the real one is asked (`-b -f -p PREFIX`), and makes a prefix whose `bin/conda` is a
stand-in too: its `create` links the Python that this machine has, whatever version is asked for, and lets
it say that version. What conda solves, downloads or checks is not in it.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

INSTALLER = r"""#!/bin/bash
# A stand-in for the installer of conda, for tests.
set -eu
case $0 in *.sh) ;; *) echo 'Please run using "bash" or "sh"' >&2; exit 1 ;; esac
force=0
while getopts bfp: word; do
    case $word in b) ;; f) force=1 ;; p) prefix=$OPTARG ;; *) exit 2 ;; esac
done
if [ "$force" = 0 ] && [ -e "$prefix" ]; then echo "ERROR: already exists: $prefix" >&2; exit 1; fi
mkdir -p "$prefix/bin" "$prefix/conda-meta" "$prefix/pkgs" "$prefix/envs" "$HOME/.conda"
echo "PREFIX=$prefix"
@MIDWAY@
sed '1,/^@@CONDA@@$/d' "$0" > "$prefix/bin/conda"
chmod 0775 "$prefix/bin/conda"
ln -s @PYTHON@ "$prefix/bin/python"
echo "installation finished."
exit 0
@@CONDA@@
#!/bin/bash
# A stand-in for conda, for tests.
set -eu
if [ "${1-}" = --version ]; then echo "conda @VERSION@"; exit 0; fi
[ "${1-}" = create ] || { echo "the stand-in only creates" >&2; exit 2; }
shift
python='' prefix='' channels=''
while [ $# -gt 0 ]; do
    case $1 in
        --prefix) prefix=$2; shift ;;
        --channel) channels="$channels $2"; shift ;;
        python==*) python=${1#python==} ;;
        --yes | --no-default-packages | --override-channels) ;;
        -*) echo "unknown option $1" >&2; exit 2 ;;
    esac
    shift
done
if [ "$python" = 3.99.0 ]; then
    echo "PackagesNotFoundError: python==$python is not in https://user:secret@mirror.example/conda" >&2
    exit 1
fi
mkdir -p -m 0775 "$prefix/bin" "$prefix/conda-meta" "${0%/bin/conda}/pkgs/python-$python"
terms=${CONDA_PLUGINS_AUTO_ACCEPT_TOS-no}
echo "channels:$channels condarc:$CONDARC terms:$terms" > "$prefix/conda-meta/history"
@CREATE@
program=$prefix/bin/python${python%.*}
cat > "$program" <<PROGRAM
#!/bin/bash
# A stand-in for python $python.
case "\$*" in *platform.python_version*) echo $python; exit 0 ;; esac
exec @PYTHON@ "\$@"
PROGRAM
chmod 0755 "$program"
ln -s "${program##*/}" "$prefix/bin/python"
"""


def installer(
    version: str = "26.1.1", *, midway: str = "", create: str = "", python: str = sys.executable
) -> bytes:
    """Return a stand-in; `midway` and `create` are commands that may go wrong in the course of the work."""
    words = {"VERSION": version, "MIDWAY": midway, "CREATE": create, "PYTHON": python}
    text = INSTALLER
    for name, value in words.items():
        text = text.replace(f"@{name}@", value)
    return text.encode()


def place(folder: Path, content: bytes) -> tuple[str, str]:
    """Put a stand-in where a host would find it, and return its address and hash."""
    path = folder / "Miniforge3.sh"
    path.write_bytes(content)
    return path.as_uri(), hashlib.sha256(content).hexdigest()
