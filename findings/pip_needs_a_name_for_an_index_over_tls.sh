#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Guess:    an index at https://ADDRESS/simple works with pip if its certificate is for that address and its authority is given.
# Seen:     pip 25.3 ends with a traceback, "ValueError: check_hostname requires server_hostname", before it looks at the certificate:
#           its truststore wants a name, and its urllib3 passes none for an address. --use-deprecated=legacy-certs gets through, and so
#           does the same server under a name.
# Matters:  mirrors inside a lab are often addresses, because there is no DNS. What pip says points at no certificate and at no setting.
set -eu
work=$(mktemp -d)
trap 'kill "$server" 2> /dev/null || true; rm -rf "$work"' EXIT
server=
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet pip==25.3
cd "$work"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 -subj /CN=index \
    -addext subjectAltName=IP:127.0.0.1,DNS:localhost -keyout index.key -out index.pem 2> /dev/null
cat > serve.py <<'END'
import http.server
import ssl


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
context.load_cert_chain("index.pem", "index.key")
server.socket = context.wrap_socket(server.socket, server_side=True)
open("port", "w").write(str(server.server_port))
server.serve_forever()
END
python3 serve.py & server=$!
until [ -s port ]; do sleep 0.1; done
look() {
    what=$1 host=$2
    shift 2
    env -u PIP_FIND_LINKS venv/bin/pip install --isolated --cert "$PWD/index.pem" --retries 0 "$@" \
        --index-url "https://$host:$(cat port)/simple" made-up > log 2>&1 || true
    if grep -q "No matching distribution" log; then said="the index was read"; else said=$(grep -E '^[A-Za-z]+Error' log | tail -1); fi
    echo "$what: $said"
}
{
    look "by its name" localhost
    look "by its address" 127.0.0.1
    look "by its address, as before" 127.0.0.1 --use-deprecated=legacy-certs
} > seen
cat seen
cat > expected <<'END'
by its name: the index was read
by its address: ValueError: check_hostname requires server_hostname
by its address, as before: the index was read
END
diff expected seen && echo "still so"
