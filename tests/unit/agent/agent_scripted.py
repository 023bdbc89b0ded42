"""A loopback server that plays scripted answers, and a clock that only moves when waited on."""

from __future__ import annotations

import json
import threading
from collections import deque
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

REGISTER = "/api/v1/machine/register"
KEEPALIVE = "/api/v1/machine/keepalive"
DATABASE_PASSWORD = "database-password-in-the-config"

REGISTERED = (
    200,
    {
        "config": {"database": {"password": DATABASE_PASSWORD}},
        "machine_state": {"machine_id": "e13daa82", "status": "registered", "ttl_seconds": 300},
    },
)
ALIVE = (
    200,
    {
        "status": "ok",
        "machine_state": {
            "machine_id": "e13daa82",
            "status": "ready",
            "last_keepalive": "1795232949",
            "ttl_seconds": 300,
        },
    },
)
GONE = (
    500,
    {
        "message": "Failed to update keepalive: failed to get machine state "
        "<provider:machine:generic:gpu:e13daa82>: machine not found"
    },
)
UNAUTHORIZED = (401, {"message": "Unauthorized"})
BROKEN = (500, {"message": "Internal Server Error"})


@dataclass
class Request:
    """What the server was asked."""

    path: str
    headers: dict[str, str]
    raw: bytes

    @property
    def body(self) -> dict[str, Any]:
        return json.loads(self.raw)


@dataclass
class ScriptedGateway:
    """Answers each request with the next scripted answer, then as a healthy gateway would. That
    it is asked for its health, which agents do for their tunnels, is no part of the script."""

    script: deque[tuple[int, Any]] = field(default_factory=deque)
    requests: list[Request] = field(default_factory=list)
    hold: threading.Event | None = None
    port: int = 0

    def __post_init__(self) -> None:
        self._changed = threading.Condition()

    @property
    def paths(self) -> list[str]:
        return [request.path.rsplit("/", 1)[-1] for request in self.requests]

    def answer(self, request: Request) -> tuple[int, Any]:
        with self._changed:
            self.requests.append(request)
            self._changed.notify_all()
        if self.hold:
            self.hold.wait(60)
        if self.script:
            return self.script.popleft()
        return REGISTERED if request.path == REGISTER else ALIVE

    def wait_for(self, count: int, timeout: float = 20) -> None:
        """Wait until `count` requests came."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.requests) >= count, timeout), self.paths


def serve(gateway: ScriptedGateway, port: int = 0) -> ThreadingHTTPServer:
    """Start `gateway` on a loopback port."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, document = gateway.answer(Request(self.path, dict(self.headers), raw))
            content = document if isinstance(document, bytes) else json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def do_GET(self) -> None:
            if not self.path.endswith("/health"):
                return self.do_POST()
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    gateway.port = server.server_address[1]
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    return server


class ManualClock:
    """Moves on only by waits, which it records; stops after `waits` of them."""

    def __init__(self, waits: int) -> None:
        self.waits: list[float] = []
        self._allowed = waits
        self._now = 1000.0

    @property
    def stopped(self) -> bool:
        return len(self.waits) >= self._allowed

    def wall(self) -> float:
        return 1_795_000_000.0 + self._now

    def monotonic(self) -> float:
        return self._now

    def wait(self, seconds: float) -> bool:
        self.waits.append(seconds)
        self._now += seconds
        return False
