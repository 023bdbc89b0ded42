"""Serves the page on this machine's loopback, to whoever has the link.

Other users of the machine have no link: it holds a token, which a cookie keeps from then on. Pages
of other sites can't reach it by a name that leads here, for it answers only to the names that are
this machine's own. There is nothing but GET, and nothing that changes anything.
"""

from __future__ import annotations

import hmac
import json
import secrets
import threading
from collections.abc import Callable, Iterator
from http import HTTPStatus
from http.cookies import CookieError, SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

from provisioner.report.html.page import asset, environment
from provisioner.web.fleet import Fleet, now
from provisioner.web.rows import COLUMNS

LOOPBACK = "127.0.0.1"
CLIENTS = 32  # at once; each has a thread
LOOK_UP = 0.1  # seconds between looks whether it is to end
BEAT = 10.0  # seconds between signs of life
TIMEOUT = 15.0  # seconds that a client may keep us waiting
OWN_NAMES = frozenset(("127.0.0.1", "localhost", "[::1]"))
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
NO_LINK = "Open the link that b9prov web has printed: it is good as long as that runs.\n"
FOLDER = Path(__file__).parent


class Server:
    """Serves a fleet until it is closed. Raises OSError when the port can't be had."""

    def __init__(self, fleet: Fleet, port: int = 0) -> None:
        self.token = secrets.token_urlsafe(24)
        self._http = _Http((LOOPBACK, port), _Handler)
        self._http.fleet, self._http.token = fleet, self.token
        self._http.page = environment(FOLDER).get_template("page.html.j2").render
        self.port: int = self._http.server_address[1]

    @property
    def url(self) -> str:
        """The link to open."""
        return f"http://{LOOPBACK}:{self.port}/?token={self.token}"

    def begin(self) -> None:
        """Serve, in threads of its own."""
        threading.Thread(target=self._http.serve_forever, args=(LOOK_UP,), daemon=True).start()

    def close(self) -> None:
        """Serve no more."""
        self._http.shutdown()
        self._http.server_close()


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 32
    fleet: Fleet
    token: str
    page: Callable[..., str]

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self._room = threading.BoundedSemaphore(CLIENTS)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Give it a thread, if there is room for one more."""
        if self._room.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """The whole life of a client."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that left in the middle is nothing to tell."""


class _Handler(BaseHTTPRequestHandler):
    server: _Http
    timeout = TIMEOUT
    server_version, sys_version = "b9prov", ""
    _TYPES: ClassVar = {".css": "text/css", ".js": "text/javascript"}
    _FILES: ClassVar = {
        "/base.css": lambda: asset("base.css"),
        "/web.css": lambda: (FOLDER / "web.css").read_text("utf-8"),
        "/web.js": lambda: (FOLDER / "web.js").read_text("utf-8"),
    }

    def do_GET(self) -> None:
        """The one thing that can be asked."""
        asked = urlsplit(self.path)
        if not _is_own(self.headers.get("Host", "")):
            self._answer(HTTPStatus.MISDIRECTED_REQUEST, "This is not that host.\n")
        elif asked.path == "/" and self._is_token(*parse_qs(asked.query).get("token", [""])):
            cookie = f"{self._cookie}={self.server.token}; HttpOnly; SameSite=Strict; Path=/"
            self._answer(HTTPStatus.SEE_OTHER, "", {"Location": "/", "Set-Cookie": cookie})
        elif not self._is_token(self._shown_cookie()):
            self._answer(HTTPStatus.FORBIDDEN, NO_LINK)
        elif asked.path == "/":
            self._answer(HTTPStatus.OK, self._page(), {"Content-Type": "text/html; charset=utf-8"})
        elif asked.path in self._FILES:
            kind = self._TYPES[Path(asked.path).suffix]
            headers = {"Content-Type": f"{kind}; charset=utf-8"}
            self._answer(HTTPStatus.OK, self._FILES[asked.path](), headers)
        elif asked.path == "/events":
            self._stream()
        else:
            self._answer(HTTPStatus.NOT_FOUND, "There is nothing here.\n")

    def log_message(self, format: str, *values: Any) -> None:
        """Nothing: a log of requests would hold the token."""

    @property
    def _cookie(self) -> str:
        """Its name; browsers keep cookies by host, whatever the port."""
        return f"b9prov_{self.server.server_address[1]}"

    def _shown_cookie(self) -> str:
        try:
            morsel = SimpleCookie(self.headers.get("Cookie", "")).get(self._cookie)
        except CookieError:
            return ""
        return morsel.value if morsel else ""

    def _is_token(self, given: str, *more: str) -> bool:
        return not more and hmac.compare_digest(given.encode(), self.server.token.encode())

    def _page(self) -> str:
        _, rows = self.server.fleet.rows()
        return self.server.page(columns=COLUMNS, rows=rows, now=now())

    def _answer(self, status: HTTPStatus, body: str, headers: dict[str, str] | None = None) -> None:
        content = body.encode("utf-8", "replace")
        told = {"Content-Type": "text/plain; charset=utf-8", **HEADERS, **(headers or {})}
        self.send_response(status)
        for name, value in {**told, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def _stream(self) -> None:
        """Server-sent events: all rows, then each that changes, and signs of life."""
        self.send_response(HTTPStatus.OK)
        for name, value in {**HEADERS, "Content-Type": "text/event-stream"}.items():
            self.send_header(name, value)
        self.end_headers()
        for event, data in self._events():
            text = json.dumps({"now": now(), **data}, separators=(",", ":"))
            self.wfile.write(f"event: {event}\ndata: {text}\n\n".encode())

    def _events(self) -> Iterator[tuple[str, dict[str, Any]]]:
        fleet = self.server.fleet
        version, rows = fleet.rows()
        yield "all", {"rows": rows}
        while not fleet.closed:
            version, rows = fleet.news(version, BEAT)
            kind = "rows" if rows else "end" if fleet.closed else "beat"
            yield kind, {"rows": rows}


def _is_own(host: str) -> bool:
    """Whether a Host header names this machine's loopback, at whatever port: there may be a
    forward in between."""
    name, _, port = host.rpartition(":")
    return (name if name and port.isdigit() else host).lower() in OWN_NAMES
