"""An HTTP server for what playbooks fetch and ask; both sides get the same answers."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class _Handler(BaseHTTPRequestHandler):
    """`/files/NAME`, `/status/CODE`, `/json`, `/echo`, `/flaky/N` which fails N times a client
    and playbook before it goes well."""

    files: Path
    asked: Counter[str]

    def do_GET(self) -> None:
        """Answer, as for every method."""
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        what, _, rest = self.path.lstrip("/").partition("/")
        match what:
            case "files" if (self.files / rest).is_file():
                self._answer(200, (self.files / rest).read_bytes())
            case "status":
                self._answer(int(rest), f"status {rest}\n".encode())
            case "json":
                self._json({"name": "oracle", "numbers": [1, 2, 3]})
            case "echo":
                kept = ("Content-Type", "X-Oracle", "Authorization")
                headers = {name: self.headers[name] for name in kept if name in self.headers}
                said = {"method": self.command, "body": body.decode(), "headers": headers}
                self._json(said)
            case "flaky":
                key = f"{self.client_address[0]} {rest}"
                self.asked[key] += 1
                fails = self.asked[key] % (int(rest.partition("/")[0]) + 1) != 0
                self._answer(503 if fails else 200, b"flaky\n")
            case _:
                self._answer(404, b"not here\n")

    do_POST = do_PUT = do_DELETE = do_PATCH = do_HEAD = do_GET

    def _json(self, data: object) -> None:
        self._answer(200, json.dumps(data, sort_keys=True).encode(), "application/json")

    def _answer(self, code: int, body: bytes, kind: str = "text/plain") -> None:
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Keep quiet."""


@contextmanager
def serving(address: str, files: Path) -> Iterator[str]:
    """The server's URL while it runs."""
    handler = type("Handler", (_Handler,), {"files": files, "asked": Counter()})
    with ThreadingHTTPServer((address, 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://{address}:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()
