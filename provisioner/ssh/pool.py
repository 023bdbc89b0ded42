"""The conversations of one run: one SSH connection per host, opened when first needed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import paramiko
from fabric import Connection

from provisioner.ssh.bootstrap import command
from provisioner.ssh.connect import Target, Unreachable, connect
from provisioner.ssh.conversation import Conversation
from provisioner.ssh.pipes import ChannelPipe, Pipe, ProcessPipe

LOCALHOST = "localhost"


class Pool:
    """Thread-safe. A host that could not be reached stays so for the rest of the run.

    `shared` names hosts that several controllers use side by side: their lock is taken per
    operation, not for the length of the run. `on_connect(host, seconds)` tells of new connections.
    """

    def __init__(
        self,
        host_keys: str = "strict",
        lock_wait: float = 60.0,
        shared: frozenset[str] = frozenset(),
        on_connect: Callable[[str, float], None] = lambda host, seconds: None,
        on_wait: Callable[[str, str], None] = lambda host, holder: None,
    ) -> None:
        self.shared = shared
        self._host_keys = host_keys
        self._lock_wait = lock_wait
        self._on_connect = on_connect
        self._on_wait = on_wait
        self._locks: dict[str, threading.Lock] = {}
        self._guard = threading.Lock()
        self._connections: dict[str, Connection] = {}
        self._conversations: dict[tuple[str, str | None], Conversation] = {}
        self._failures: dict[str, Unreachable] = {}
        self._lent: set[str] = set()
        self._closed = False

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
            try:
                return self._open(target, become_user)
            except Unreachable as error:
                self._failures[target.name] = error
                raise

    def connection(self, target: Target) -> Connection:
        """The verified SSH connection behind the host's conversations. Raises Unreachable."""
        connection = self._connections.get(target.name)
        if connection is None:
            if self._closed:
                raise Unreachable("the run was ended", "")
            started = time.monotonic()
            connection = connect(target, self._host_keys)
            self._connections[target.name] = connection
            if self._closed:
                connection.client.close()
                raise Unreachable("the run was ended", "")
            self._on_connect(target.name, time.monotonic() - started)
        return connection

    def _open(self, target: Target, become_user: str | None) -> Conversation:
        password = target.become_password if become_user else None
        pipe: Pipe
        if target.name == LOCALHOST:
            pipe = ProcessPipe(["/bin/sh", "-c", command(None, False)])
        else:
            pipe = _channel(self.connection(target), command(become_user, bool(password)))
        conversation = Conversation(pipe, self._lock_wait)
        # only root's runner may write the lock's directory
        exclusive = become_user == "root" and target.name not in {*self.shared, LOCALHOST}
        conversation.greet(
            password, exclusive, on_wait=lambda holder: self._on_wait(target.name, holder)
        )
        self._conversations[target.name, become_user] = conversation
        if self._closed:
            conversation.close()
        return conversation

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
        for key in [key for key in self._conversations if key[0] == name]:
            self._conversations.pop(key).close()
        connection = self._connections.pop(name, None)
        if connection is not None:
            connection.client.close()

    def close(self) -> None:
        """End all conversations and connections, in parallel; safe to call more than once."""
        self._closed = True
        threads = [
            threading.Thread(target=thing.close, daemon=True)
            for thing in list(self._conversations.values())
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=2.0)
        for connection in list(self._connections.values()):
            connection.client.close()
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
