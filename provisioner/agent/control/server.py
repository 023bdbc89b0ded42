"""Listens for the control API. Until the first request comes, it is one thread in `accept`."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from provisioner.agent.http import Endpoint
from provisioner.agent.log import Log, one_line

if TYPE_CHECKING:
    from provisioner.agent.control.desk import Desk
    from provisioner.agent.control.guard import Guard
    from provisioner.agent.control.routes import Stream

MOST = 16  # connections at once
MOST_STREAMS = 8  # of them; the others can still ask
REQUEST_SECONDS = 10.0
ANSWER_SECONDS = 30.0  # that a piece of an answer may take to be taken


class CannotListen(Exception):
    """The address can't be listened on; the text says why."""


class Server:
    """Serves what `desk` gives at `endpoint` until it is stopped. Raises CannotListen."""

    def __init__(self, endpoint: Endpoint, token: str, desk: Callable[[], Desk], log: Log) -> None:
        self._desk, self._token, self._log = desk, token, log
        self._guard: Guard | None = None
        self._connections: set[socket.socket] = set()
        self._changing = threading.Lock()
        self._streams = threading.BoundedSemaphore(MOST_STREAMS)
        self._stopped = False
        self._listener = _listen(endpoint)
        self.endpoint = Endpoint(endpoint.host, self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def stop(self) -> None:
        """Listen no more, and end what is being answered."""
        with self._changing:
            self._stopped = True
            open_ones = [self._listener, *self._connections]
        for each in open_ones:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                if self._stopped:
                    return
                threading.Event().wait(0.1)  # out of descriptors: some may be free again soon
                continue
            with self._changing:
                room = len(self._connections) < MOST and not self._stopped
                if room:
                    self._connections.add(connection)
            if room:
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()
            else:
                connection.close()

    def _serve(self, connection: socket.socket) -> None:
        try:
            with connection:
                self._answer(connection)
        except OSError:
            pass  # who asked has gone
        except Exception as problem:
            self._log.error(f"control API: {type(problem).__name__}: {problem}")
        finally:
            with self._changing:
                self._connections.discard(connection)

    def _answer(self, connection: socket.socket) -> None:
        # an agent that nobody asks anything needs none of these
        from provisioner.agent.control import routes, web

        try:
            request = web.read_request(connection, REQUEST_SECONDS)
            self._guarded().admit(request, routes.changes(request))
            reply = routes.answer(self._desk(), request)
        except web.Refused as problem:
            reply = web.error_answer(problem)
        except OSError:
            raise
        except Exception as problem:
            self._log.error(f"control API: {type(problem).__name__}: {one_line(str(problem))}")
            reply = web.error_answer(web.Refused(500, "an error of the agent's; see its log"))
        connection.settimeout(ANSWER_SECONDS)
        if isinstance(reply, routes.Stream):
            if self._streams.acquire(blocking=False):
                self._stream(connection, reply)
                return
            reply = web.error_answer(web.Refused(429, "too many listeners", Retry_After="30"))
        connection.sendall(reply.encoded())
        _drain(connection)

    def _stream(self, connection: socket.socket, stream: Stream) -> None:
        from provisioner.agent.control import routes, web

        try:
            connection.sendall(web.head(200, routes.STREAM_TYPE, {}))
            for piece in stream.pieces:
                connection.sendall(piece)
        finally:
            self._streams.release()

    def _guarded(self) -> Guard:
        from provisioner.agent.control.guard import Guard

        with self._changing:
            if self._guard is None:
                self._guard = Guard(self._token)
            return self._guard


def _listen(endpoint: Endpoint) -> socket.socket:
    family = socket.AF_INET6 if ":" in endpoint.host else socket.AF_INET
    try:
        return socket.create_server((endpoint.host, endpoint.port), family=family, backlog=MOST)
    except OSError as problem:
        reason = problem.strerror or str(problem)
        raise CannotListen(f"cannot listen at {endpoint}: {reason}") from None


def _drain(connection: socket.socket) -> None:
    """Take in what else was sent: closing over it would reset the connection, answer and all."""
    connection.shutdown(socket.SHUT_WR)
    connection.settimeout(1.0)
    with contextlib.suppress(OSError):
        for _ in range(64):
            if not connection.recv(65536):
                return
