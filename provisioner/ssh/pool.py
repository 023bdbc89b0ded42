"""The conversations of one run: one SSH connection per host, opened when first needed."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable

import paramiko
from fabric import Connection

from provisioner.ssh.bootstrap import command
from provisioner.ssh.connect import Target, Unreachable, connect, hang_up
from provisioner.ssh.conversation import Conversation
from provisioner.ssh.pipes import ChannelPipe, Pipe, ProcessPipe

LOCALHOST = "localhost"


class Pool:
    """Thread-safe. A host that could not be reached stays so for the rest of the run.

    `shared` names hosts that several controllers use side by side: their lock is taken per
    operation, not for the length of the run. `on_connect(host, seconds)` tells of new connections,
    `on_wait(host, holder)` of a lock that somebody else has; who uses the pool may set them.
    """

    def __init__(
        self,
        host_keys: str = "strict",
        lock_wait: float = 60.0,
        shared: frozenset[str] = frozenset(),
    ) -> None:
        self.shared = shared
        self.on_connect: Callable[[str, float], None] = lambda host, seconds: None
        self.on_wait: Callable[[str, str], None] = lambda host, holder: None
        self._host_keys = host_keys
        self._lock_wait = lock_wait
        self._locks: dict[str, threading.Lock] = {}
        self._guard = threading.Lock()
        self._connections: dict[str, Connection] = {}
        self._connecting: dict[str, float] = {}  # seconds that it took, until that is told
        self._begun: dict[tuple[str, str | None], Conversation] = {}
        self._conversations: dict[tuple[str, str | None], Conversation] = {}
        self._failures: dict[str, Unreachable] = {}
        self._lent: set[str] = set()
        self._closed = False

    def call(self, target: Target, become_user: str | None) -> None:
        """Begin to connect to a host that is soon worked on, beside whatever else is done now.

        A runner is started there, and waits. What goes wrong comes to light in `conversation`.
        """

        def dial() -> None:
            with self._lock(target), contextlib.suppress(Exception):
                key = (target.name, become_user)
                if key not in self._conversations and target.name not in self._failures:
                    self._reached(target, lambda: self._begin(target, become_user))

        threading.Thread(target=dial, daemon=True).start()

    def conversation(
        self, target: Target, become_user: str | None, lend: bool = False
    ) -> Conversation:
        """The conversation with the host as that user (None: the login user).

        `lend` it to who works on another host: then it stays open when `release` is called.
        Raises Unreachable.
        """
        with self._lock(target):
            if lend:
                self._lent.add(target.name)
            known = self._conversations.get((target.name, become_user))
            if known:
                return known
            if target.name in self._failures:
                raise self._failures[target.name]
            return self._reached(target, lambda: self._open(target, become_user))

    def _reached(self, target: Target, reach: Callable[[], Conversation]) -> Conversation:
        try:
            return reach()
        except Unreachable as error:
            self._failures[target.name] = error
            raise

    def _open(self, target: Target, become_user: str | None) -> Conversation:
        conversation = self._begin(target, become_user)
        if target.name in self._connecting:
            self.on_connect(target.name, self._connecting.pop(target.name))
        # only root's runner may write the lock's directory
        exclusive = become_user == "root" and target.name not in {*self.shared, LOCALHOST}
        key = (target.name, become_user)
        del self._begun[key]
        conversation.greet(exclusive, on_wait=lambda holder: self.on_wait(target.name, holder))
        self._conversations[key] = conversation
        if self._closed:
            conversation.close()
        return conversation

    def _begin(self, target: Target, become_user: str | None) -> Conversation:
        key = (target.name, become_user)
        if key not in self._begun:
            password = target.become_password if become_user else None
            pipe: Pipe
            if target.name == LOCALHOST:
                pipe = ProcessPipe(["/bin/sh", "-c", command(None, False)])
            else:
                pipe = _channel(self._connection(target), command(become_user, bool(password)))
            conversation = Conversation(pipe, self._lock_wait)
            conversation.begin(password.reveal() if password else None)
            self._begun[key] = conversation
        return self._begun[key]

    def _connection(self, target: Target) -> Connection:
        """The verified SSH connection behind the host's conversations."""
        connection = self._connections.get(target.name)
        if connection is None:
            if self._closed:
                raise Unreachable("the run was ended", "")
            started = time.monotonic()
            connection = connect(target, self._host_keys)
            self._connections[target.name] = connection
            if self._closed:
                hang_up(connection)
                raise Unreachable("the run was ended", "")
            self._connecting[target.name] = time.monotonic() - started
        return connection

    def drop(self, target: Target) -> None:
        """End what leads to the host, so that it is connected anew when next needed."""
        with self._lock(target):
            self._end(target.name)
            self._failures.pop(target.name, None)

    def release(self, target: Target) -> None:
        """End what leads to a host that is done with, so that a fleet needs no more connections
        than hosts are worked on at once."""
        with self._lock(target):
            if target.name not in self._lent:
                self._end(target.name)

    def _lock(self, target: Target) -> threading.Lock:
        with self._guard:
            return self._locks.setdefault(target.name, threading.Lock())

    def _end(self, name: str) -> None:
        for known in (self._begun, self._conversations):
            for key in [key for key in known if key[0] == name]:
                known.pop(key).close()
        connection = self._connections.pop(name, None)
        if connection is not None:
            hang_up(connection)

    def close(self) -> None:
        """End all conversations and connections, in parallel; safe to call more than once."""
        self._closed = True
        threads = [
            threading.Thread(target=thing.close, daemon=True)
            for thing in [*self._begun.values(), *self._conversations.values()]
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=2.0)
        for connection in list(self._connections.values()):
            hang_up(connection)
        self._begun.clear()
        self._conversations.clear()
        self._connections.clear()


def _channel(connection: Connection, command: str) -> ChannelPipe:
    try:
        return ChannelPipe(connection, command)
    except (paramiko.SSHException, EOFError, OSError) as error:
        raise Unreachable(
            f"SSH let us in but opens no session: {str(error) or type(error).__name__}",
            "check MaxSessions and ForceCommand of its sshd, and the user's login shell",
        ) from None
