"""Stands for a worker's k3s where the agent is measured: lists one pod, over TLS."""

from __future__ import annotations

import json
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

COLUMNS = ("Name", "Ready", "Status", "Restarts", "Age")
ROW = ["worker-cpu-1", "1/1", "Running", 0, "5m"]
CERTIFICATE = (
    "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 "
    "-subj /CN=k3s -addext subjectAltName=IP:127.0.0.1 -keyout key.pem -out certificate.pem"
)


class Handler(BaseHTTPRequestHandler):
    """Answers everything with the table of pods."""

    def do_GET(self) -> None:
        table = {
            "columnDefinitions": [{"name": name} for name in COLUMNS],
            "rows": [{"cells": ROW}],
        }
        body = json.dumps(table).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@contextmanager
def serving(room: Path) -> Iterator[tuple[int, str]]:
    """Its port, and the authority of its certificate."""
    subprocess.run(CERTIFICATE.split(), cwd=room, check=True, capture_output=True)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(room / "certificate.pem", room / "key.pem")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, args=(0.2,), daemon=True).start()
    try:
        yield server.server_address[1], (room / "certificate.pem").read_text()
    finally:
        server.shutdown()
        server.server_close()
