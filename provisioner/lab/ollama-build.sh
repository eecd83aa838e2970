#!/bin/sh
# Build Ollama from its published sources and pack it like the official archive: ollama-build.sh VERSION ARCHIVE
#
# Runs as root in the lab's builder, a Debian of the suite that the hosts are of, because the programs need
# that suite's glibc. What differs from the official archive stands in lib/ollama/STAND-IN.txt.
set -eu
version=$1
archive=$2
module=github.com/ollama/ollama
# The module proxy leaves out folders named vendor, and with it this header.
header=github.com/gen2brain/malgo@v0.11.24

# A place of its own in a container that is new; always the same, for compilers write down where they were.
stage=/tmp/release
mkdir -p "$stage/bin" "$stage/lib/ollama" "$stage/include/miniaudio"
folder() { go mod download -json "$1" | sed -n 's/^\t"Dir": "\(.*\)",\{0,1\}$/\1/p'; }

sources=$(folder "$module@v$version")
echo "built on a lab host from the sources of $module@v$version with $(go env GOVERSION)" > "$stage/lib/ollama/STAND-IN.txt"
if [ -e "$sources/llm/llama_server.go" ]; then
    # Models are run by llama.cpp's own server, which lies beside the program with all its libraries.
    for program in llama-server llama-quantize; do
        cp "/usr/bin/$program" "$stage/lib/ollama/"
    done
    cp /usr/lib/*/ggml/backends*/libggml-cpu-*.so "$stage/lib/ollama/"
    ldd "$stage"/lib/ollama/llama-* "$stage"/lib/ollama/*.so | awk '$2 == "=>" && $3 ~ /^\// { print $3 }' | sort -u |
        while read -r library; do
            case $(dpkg-query --search "$(readlink -f "$library")" 2>/dev/null) in libc6:*) continue ;; esac
            cp "$library" "$stage/lib/ollama/"
        done
    # As in the official archive, each finds the others beside itself, whoever starts it.
    for file in "$stage"/lib/ollama/llama-* "$stage"/lib/ollama/*.so*; do
        patchelf --set-rpath '$ORIGIN' "$file"
    done
    echo "with llama-server of Debian's package llama.cpp-tools $(dpkg-query -Wf '${Version}' llama.cpp-tools), for processors only" >> "$stage/lib/ollama/STAND-IN.txt"
else
    cp "$(folder "$header")/miniaudio.h" "$stage/include/miniaudio/"
fi

# Most of an older version's time goes into C++ that a tiny model hardly runs: only what computes is worth an optimiser.
cat > /tmp/c++ <<'end'
#!/bin/sh
case $PWD in */ggml-cpu*) exec g++ "$@" -O1 ;; *) exec g++ "$@" -O0 ;; esac
end
chmod +x /tmp/c++
export CXX=/tmp/c++ CGO_CFLAGS="-O2 -g0" CGO_CXXFLAGS="-g0"
# Nor is Go's code: the program hands the work on to the server that runs the model.
GOBIN=$stage/bin CGO_CPPFLAGS="-I$stage/include" nice go install -trimpath -buildvcs=false -gcflags="all=-N -l" \
    -ldflags "-s -w -X $module/version.Version=$version" "$module@v$version"

# Sorted and without times, so that the same files give the same archive.
tar --create --directory="$stage" --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner --mode=u=rwX,go=rX \
    bin lib | zstd --quiet -T0 -6 -o "$archive"
