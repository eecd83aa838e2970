#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Guess:    a file of authorities that pip accepts for a company's package index is good for uv too.
# Seen:     not where the index has a certificate that signs itself, as `openssl req -x509` makes it (it may also sign others): pip 25.3
#           takes the very certificate as its own authority, uv 0.11.8 with the same file in SSL_CERT_FILE says "invalid peer certificate"
#           (CaUsedAsEndEntity). A certificate that an authority has signed is accepted by both.
# Matters:  a mirror works for years with pip and curl, and fails with uv, although the file of authorities is there and is read.
set -eu
work=$(mktemp -d)
trap 'kill "$server" 2> /dev/null || true; rm -rf "$work"' EXIT
server=
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet pip==25.3 uv==0.11.8
cd "$work"
subject="-subj /CN=localhost -addext subjectAltName=DNS:localhost"
# shellcheck disable=SC2086  # several words
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 $subject -keyout itself.key -out itself.pem 2> /dev/null
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 -subj /CN=authority -keyout authority.key -out authority.pem 2> /dev/null
# shellcheck disable=SC2086  # several words
openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes $subject -keyout signed.key -out signed.csr 2> /dev/null
openssl x509 -req -in signed.csr -CA authority.pem -CAkey authority.key -days 1 -copy_extensions copy -out signed.pem 2> /dev/null
cat > serve.py <<'END'
import http.server
import ssl
import sys


class Index(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


server = http.server.HTTPServer(("127.0.0.1", 0), Index)
server.handle_error = lambda *_: None
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(f"{sys.argv[1]}.pem", f"{sys.argv[1]}.key")
server.socket = context.wrap_socket(server.socket, server_side=True)
open("port", "w").write(str(server.server_port))
server.serve_forever()
END
verdict() {
    if grep -qi "no matching distribution\|not found" "$1"; then echo accepted; elif grep -q "certificate" "$1"; then echo refused; else echo unclear; fi
}
for name in itself signed; do
    rm -f port
    python3 serve.py "$name" & server=$!
    until [ -s port ]; do sleep 0.1; done
    authorities=itself.pem
    [ "$name" = itself ] || authorities=authority.pem
    index=https://localhost:$(cat port)/simple
    env -u PIP_FIND_LINKS venv/bin/pip install --isolated --cert "$PWD/$authorities" --retries 0 --index-url "$index" made-up > pip.log 2>&1 || true
    env -u UV_FIND_LINKS -u SSL_CERT_DIR SSL_CERT_FILE="$PWD/$authorities" venv/bin/uv --no-config --no-cache pip install --target t --index-url "$index" made-up > uv.log 2>&1 || true
    kill "$server"
    echo "$name: pip $(verdict pip.log), uv $(verdict uv.log)"
done > seen
cat seen
cat > expected <<'END'
itself: pip accepted, uv refused
signed: pip accepted, uv accepted
END
diff expected seen && echo "still so"
