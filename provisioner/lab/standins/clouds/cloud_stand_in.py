"""What the stand-ins of clouds share: machines that are not rented, and faults on demand.

They speak real HTTP on loopback. What a machine is when it is powered on is for a `Power` to say:
nothing at all, or a host of a lab.
"""

from __future__ import annotations

import json
import threading
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Protocol
from urllib.parse import parse_qsl, urlsplit

Json = dict[str, Any]
Answer = tuple[int, Json]


@dataclass
class Machine:
    """A machine as its provider's stand-in has it. `user_data` is what it boots with, `looks` how
    often it was listed since it was ordered."""

    name: str
    type: str
    region: str
    login_key: str
    user_data: str
    tags: list[Json] = field(default_factory=list)
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    address: str | None = None
    ended: bool = False
    looks: int = 0


class Power(Protocol):
    """Where machines come from."""

    def on(self, machine: Machine) -> None:
        """Power it on, and give it an address, at once or later."""

    def off(self, machine: Machine) -> None:
        """Power it off for good."""


class NoPower:
    """Machines that are but names, with addresses that lead nowhere."""

    def on(self, machine: Machine) -> None:
        """An address of the network for documentation."""
        machine.address = f"192.0.2.{1 + int(machine.id[:2], 16) % 250}"

    def off(self, machine: Machine) -> None:
        """Nothing is to be done."""


@dataclass
class Faults:
    """What is to go wrong. `too_many` requests are answered with 429, `failing` with 500; of the
    next launch the answer is lost when `lose_answer`; addresses are shown from the
    `late_address`-th look on; machines are ended by the provider at the look `ended_at`."""

    unauthorized: bool = False
    forbidden: bool = False
    too_many: int = 0
    failing: int = 0
    out_of_stock: bool = False
    never_boots: bool = False
    late_address: int = 0
    ended_at: int = 0
    lose_answer: bool = False
    sparse: bool = False
    """leave out what may be absent"""


class LoseAnswer(Exception):
    """The connection is to break where the answer should be."""


class CloudStandIn(ABC):
    """A provider's API. `asked` are the requests so far."""

    prefix = ""

    def __init__(self, power: Power | None = None) -> None:
        self.power: Power = power or NoPower()
        self.faults = Faults()
        self.machines: dict[str, Machine] = {}
        self.asked: list[tuple[str, str]] = []
        self.times: list[float] = []
        self._lock = threading.RLock()

    @abstractmethod
    def answer(self, method: str, path: str, query: dict[str, str], body: Json) -> Answer:
        """The answer to a request that has passed `authorized`."""

    @abstractmethod
    def authorized(self, method: str, target: str, headers: Any) -> bool:
        """Whether who asks may ask."""

    @abstractmethod
    def refusal(self, status: int, code: str, message: str) -> Json:
        """An error as this provider writes it."""

    def boot(self, machine: Machine) -> Machine:
        """Take an order; the machine comes up beside."""
        with self._lock:
            self.machines[machine.id] = machine
        if not self.faults.never_boots:
            threading.Thread(target=self.power.on, args=(machine,), daemon=True).start()
        return machine

    def end(self, machine: Machine) -> None:
        """End a machine, at whosever wish."""
        if not machine.ended:
            machine.ended = True
            self.power.off(machine)

    def running(self) -> list[Machine]:
        """Those that would cost money."""
        return [each for each in self.machines.values() if not each.ended]

    def looked_at(self, machine: Machine) -> str | None:
        """The address that is shown this time."""
        machine.looks += 1
        if self.faults.ended_at and machine.looks >= self.faults.ended_at:
            self.end(machine)
        return machine.address if machine.looks > self.faults.late_address else None

    def respond(
        self, method: str, target: str, headers: Any, content: bytes
    ) -> tuple[int, Json, dict[str, str]]:
        """Status, body and headers of the answer to any request."""
        parts = urlsplit(target)
        with self._lock:
            self.asked.append((method, parts.path.removeprefix(self.prefix)))
            self.times.append(time.monotonic())
            if self.faults.too_many > 0:
                self.faults.too_many -= 1
                refusal = self.refusal(429, "too-many", "Too many requests")
                return 429, refusal, {"Retry-After": "1"}
            if self.faults.failing > 0:
                self.faults.failing -= 1
                return 500, {}, {}
            if self.faults.unauthorized or not self.authorized(method, target, headers):
                return 401, self.refusal(401, "global/invalid-api-key", "Bad credentials."), {}
            if self.faults.forbidden:
                return 403, self.refusal(403, "global/quota-exceeded", "Quota exceeded."), {}
            body = json.loads(content) if content else {}
            query = dict(parse_qsl(parts.query))
            status, answer = self.answer(method, parts.path.removeprefix(self.prefix), query, body)
            return status, answer, {}

    @contextmanager
    def serving(self) -> Iterator[str]:
        """Listen on loopback; yields the API's base URL."""
        stand_in = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args: object) -> None:
                return

            def handle_any(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                content = self.rfile.read(length)
                try:
                    answer = stand_in.respond(self.command, self.path, self.headers, content)
                except LoseAnswer:
                    self.close_connection = True
                    return
                status, body, headers = answer
                shown = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(shown)))
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(shown)

            do_GET = do_POST = do_DELETE = handle_any

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            server.daemon_threads = True
            thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
            thread.start()
            try:
                yield f"http://127.0.0.1:{server.server_address[1]}{self.prefix}"
            finally:
                server.shutdown()
                thread.join()
