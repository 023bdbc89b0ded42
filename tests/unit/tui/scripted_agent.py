"""A control API on loopback that answers as a test scripts it."""

from __future__ import annotations

import contextlib
import json
import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from provisioner.agent.http import Endpoint

STATUS = {
    "state": "ready", "machine_id": "e13daa82", "pool": "gpu", "gateway": "127.0.0.1:1994",
    "hostname": "10.199.0.7", "since": 1.0, "last_keepalive": 997.0, "last_error": "",
    "version": "0.1", "pid": 7, "started": 100.0, "keepalives": 3, "failures": 1, "gpus": 4,
    "metrics": {"cpu_utilization_pct": 12.5, "memory_utilization_pct": 91.0, "free_gpu_count": 3},
    "tunnel": {"outward": True, "inward": None},
}  # fmt: skip
INFERENCE = {
    "status": "running", "backend": "ollama", "endpoint": "127.0.0.1:11434",
    "models": ["gemma3:1b", "llama3.2"], "loaded": ["llama3.2"], "pulls": [], "error": "",
}  # fmt: skip
PODS = [
    {"name": "worker-gpu-1-x", "status": "Running", "ready": 1, "containers": 1, "age": "5m"},
    {"name": "worker-gpu-2-y", "status": "Failed", "ready": 0, "containers": 1, "age": "9m"},
]


@dataclass
class ScriptedAgent:
    """`answers` by path: a status and what is sent as JSON, or bytes. `events` is streamed."""

    answers: dict[str, tuple[int, Any]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    events: queue.Queue[tuple[str, dict[str, Any]] | None] = field(default_factory=queue.Queue)
    last_ids: list[str] = field(default_factory=list)
    port: int = 0

    def __post_init__(self) -> None:
        self.answers = {
            "/health": (200, {"status": "ok"}),
            "/status": (200, dict(STATUS)),
            "/inference/status": (200, dict(INFERENCE)),
            "/pods": (200, {"pods": list(PODS)}),
            "/pods/worker-gpu-1-x/log": (200, b"hello from the pod\n"),
            "/inference/start": (202, dict(INFERENCE)),
            "/inference/stop": (409, {"error": "only root may stop ollama.service"}),
            **self.answers,
        }

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint("127.0.0.1", self.port)


class _Handler(BaseHTTPRequestHandler):
    agent: ScriptedAgent

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        self.agent.asked.append(f"{self.command} {self.path}")
        if path == "/events":
            self._stream()
            return
        status, content = self.agent.answers.get(path, (404, {"error": f"there is no {path}"}))
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET

    def _stream(self) -> None:
        """What the test puts into the queue; None cuts the stream."""
        self.agent.last_ids.append(self.headers.get("Last-Event-ID", ""))
        number = int(self.headers.get("Last-Event-ID", 0))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"retry: 2000\n\n: still here\n\n")
        while (event := self.agent.events.get()) is not None:
            number += 1
            kind, data = event
            self.wfile.write(f"id: {number}\nevent: {kind}\ndata: {json.dumps(data)}\n\n".encode())

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):  # who asked has gone
            super().handle()

    def log_message(self, *_: Any) -> None:
        pass


@contextlib.contextmanager
def serving(agent: ScriptedAgent) -> Iterator[ScriptedAgent]:
    """The agent's control API, on a port of its own."""
    handler = type("Handler", (_Handler,), {"agent": agent})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    agent.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield agent
    finally:
        agent.events.put(None)
        server.shutdown()
        server.server_close()
