#!/bin/sh
# A stand-in for NVIDIA's CUDA runfile: it unpacks the simulated toolkit that follows the last line.
set -e
silent= toolkit= driver= override= path=/usr/local/cuda-@RELEASE@ tmpdir=${TMPDIR:-/tmp} links=1
while [ $# -gt 0 ]; do
    case $1 in
        --silent) silent=1 ;;
        --toolkit) toolkit=1 ;;
        --driver) driver=1 ;;
        --override) override=1 ;;
        --toolkitpath=* | --installpath=*) path=${1#*=} ;;
        --toolkitpath) shift; path=$1 ;;
        --tmpdir=*) tmpdir=${1#*=} ;;
        --tmpdir) shift; tmpdir=$1 ;;
        --no-opengl-libs | --no-man-page | --no-drm | --defaultroot=*) ;;
        --help | -h) echo "Options: --silent --toolkit --driver --override --toolkitpath=<path> --tmpdir=<path>"; exit 0 ;;
        --version) echo "@VERSION@"; exit 0 ;;
        *) echo "Unknown option: $1" >&2; exit 1 ;;
    esac
    shift
done
log=/var/log/cuda-installer.log
[ "$(id -u)" = 0 ] || { echo "The installer must be run as root" >&2; exit 1; }
[ -n "$silent" ] || { echo "The simulated installer only runs with --silent" >&2; exit 1; }
[ -n "$toolkit$driver" ] || { echo "Nothing to install: give --toolkit" >&2; exit 1; }
[ -z "$driver" ] || { echo "The simulated installer has no driver" >&2; exit 1; }
if ! ldconfig -p | grep -q 'libxml2\.so\.2 '; then
    echo "./cuda-installer: error while loading shared libraries: libxml2.so.2: cannot open shared object file:" \
        "No such file or directory" >&2
    exit 127
fi
found=$(gcc -dumpversion 2>/dev/null | cut -d. -f1)
if [ -z "$found" ]; then
    echo "[ERROR]: Missing gcc. gcc is required to continue." >"$log"
    echo "Installation failed. See log at $log for details." >&2
    exit 1
fi
if [ -z "$override" ] && [ "$found" -gt @GCC@ ]; then
    echo "[ERROR]: unsupported compiler version: $found. Use --override to override this check." >"$log"
    echo " Failed to verify gcc version. See log at $log for details." >&2
    exit 1
fi
work=$(mktemp -d "$tmpdir/cuda-installer.XXXXXX")
mkdir -p "$path"
tail -n +"$(($(sed -n '/^# The archive/=' "$0" | tail -n 1) + 1))" "$0" | base64 -d >"$work/toolkit.tar.gz"
tar -xzf "$work/toolkit.tar.gz" -C "$path"
rm -rf "$work"
[ "$path" != "/usr/local/cuda-@RELEASE@" ] || ln -sfn "$path" /usr/local/cuda
echo "[INFO]: Toolkit: installed in $path (simulated)" >"$log"
exit 0
# The archive follows.
