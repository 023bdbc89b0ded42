"""A stand-in that speaks recorded answers of Ollama; the real one is asked in tests/real."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from provisioner.agent.http import Endpoint

PULL = [
    {"status": "pulling manifest"},
    {"status": "pulling 8934d96d3f08", "digest": "sha256:8934d96d3f08", "total": 3},
    {"status": "pulling 8934d96d3f08", "digest": "sha256:8934d96d3f08", "total": 3, "completed": 3},
    {"status": "verifying sha256 digest"},
    {"status": "writing manifest"},
    {"status": "success"},
]


@dataclass
class ScriptedOllama:
    """`models` are name and size; `loaded` are in memory. A pull waits for `go` before its end."""

    models: dict[str, int] = field(default_factory=lambda: {"gemma3:1b": 815319791})
    loaded: set[str] = field(default_factory=set)
    pull: list[dict[str, Any]] = field(default_factory=lambda: list(PULL))
    go: threading.Event = field(default_factory=threading.Event)
    asked: list[tuple[str, str]] = field(default_factory=list)
    port: int = 0

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint("127.0.0.1", self.port)


@contextmanager
def serve(script: ScriptedOllama) -> Iterator[ScriptedOllama]:
    """The stand-in at a free port."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            pass

        def _json(self, content: Any, status: int = 200) -> None:
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def _body(self) -> Any:
            script.asked.append((self.command, self.path))
            return json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or "{}")

        def do_GET(self) -> None:
            self._body()
            if self.path == "/api/version":
                return self._json({"version": "0.9.6"})
            names = script.loaded if self.path == "/api/ps" else script.models
            models = [{"name": name, "size": script.models.get(name, 0)} for name in names]
            return self._json({"models": models})

        def do_DELETE(self) -> None:
            name = self._body()["model"]
            if script.models.pop(name, None) is None:
                return self._json({"error": f"model '{name}' not found"}, 404)
            return self._json(None)

        def do_POST(self) -> None:
            name = self._body()["model"]
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for number, told in enumerate(script.pull):
                if number == len(script.pull) - 1:
                    script.go.wait(20)
                line = json.dumps(told).encode() + b"\n"
                self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
            self.wfile.write(b"0\r\n\r\n")
            if script.pull and script.pull[-1] == {"status": "success"}:
                script.models[name] = 3

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    script.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield script
    finally:
        script.go.set()
        server.shutdown()
        server.server_close()
