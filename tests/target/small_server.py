"""Commands of small servers for targets."""

from __future__ import annotations

import sys

NODE = (
    "const http = require('http');"
    "http.createServer((q, r) => { r.setHeader('content-type', 'application/json'); r.end('{\"ok\":true}'); })"
    ".listen(Number(process.argv[1]), '127.0.0.1', () => console.log('listening'));"
)
_HTTP = """
import http.server, os, pathlib, sys
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        body = b'{"ok": true}' if self.path != "/echo" else os.environ.get("ECHO", "").encode()
        self.send_response(200 if self.path != "/missing" else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def do_POST(self):
        length = int(self.headers["Content-Length"])
        body = self.rfile.read(length)
        self.send_response(201)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *arguments): pass
class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
server = Server(("127.0.0.1", int(sys.argv[1])), Handler)
starts = pathlib.Path(sys.argv[2]) / "starts"
starts.write_text(starts.read_text() + "x" if starts.exists() else "x")
print("\\x1b[32mserving\\x1b[0m on", sys.argv[1], flush=True)
server.serve_forever()
"""


def serving() -> list[str]:
    """A Python server that counts its starts in its data folder."""
    return [sys.executable, "-c", _HTTP, "{port}", "{data}"]
