"""Waits for a port or a path. Ansible's `wait_for`: host, port, path, state, timeout, regex…"""

from __future__ import annotations

import os
import re
import socket
import time
from pathlib import Path
from typing import Any

from provisioner.remote import files, sockets
from provisioner.remote.arguments import Argument
from provisioner.remote.module import Context, ModuleFailed, Result

STATES = ("started", "stopped", "present", "absent", "drained")
ARGUMENTS = {
    "host": Argument("str", default="127.0.0.1"),
    "port": Argument("int"),
    "path": Argument("str"),
    "state": Argument("str", default="started", choices=STATES),
    "timeout": Argument("int", default=300),
    "connect_timeout": Argument("int", default=5),
    "delay": Argument("int", default=0),
    "sleep": Argument("int", default=1),
    "search_regex": Argument("str"),
    "msg": Argument("str"),
}

# the states of a connection that `drained` waits to see the end of, see include/net/tcp_states.h
ACTIVE = frozenset({1, 2, 3, 4, 5, 6})


def run(arguments: dict[str, Any], context: Context) -> Result:
    """Look again and again, soon at first, until it is so or `timeout` is over."""
    port, path, state = arguments["port"], arguments["path"], arguments["state"]
    if port and path:
        raise ModuleFailed("port and path parameter can not both be passed to wait_for", elapsed=0)
    if path and state in ("stopped", "drained"):
        raise ModuleFailed(f"state={state} should only be used for checking a port", elapsed=0)
    if state == "drained" and not port:
        raise ModuleFailed("state=drained needs a port", elapsed=0)
    if context.check:
        msg = "remote module (wait_for) does not support check mode"
        return {"changed": False, "skipped": True, "msg": msg}
    wait = _Wait(arguments)
    time.sleep(arguments["delay"])
    if port or path:
        wait.until_done()
    else:  # Ansible's way to say: sleep
        time.sleep(max(0, wait.left()))
    return {
        "changed": False,
        "state": state,
        "port": port,
        "path": path,
        "search_regex": arguments["search_regex"],
        "match_groups": list(wait.match.groups()) if wait.match else [],
        "match_groupdict": wait.match.groupdict() if wait.match else {},
        "elapsed": int(wait.elapsed()),
    }


class _Wait:
    def __init__(self, arguments: dict[str, Any]) -> None:
        self.arguments = arguments
        self.started = time.monotonic()
        self.match: re.Match[str] | None = None
        self.host = arguments["host"]
        self.port = arguments["port"]
        self.path = files.expand(arguments["path"]) if arguments["path"] else None
        try:
            regex = arguments["search_regex"]
            self.regex = re.compile(regex, re.MULTILINE) if regex else None
        except re.error as error:
            raise ModuleFailed(f"Invalid regular expression: {error}") from None

    def elapsed(self) -> float:
        return time.monotonic() - self.started

    def left(self) -> float:
        return float(self.arguments["timeout"]) - self.elapsed()

    def until_done(self) -> None:
        pause = 0.05
        while not self._holds():
            left = self.left()
            if left <= 0:
                msg = self.arguments["msg"] or self._complaint()
                raise ModuleFailed(msg, elapsed=int(self.elapsed()))
            # nothing tells of another program's port, so it is asked, at most every `sleep`
            time.sleep(min(pause, left))
            pause = min(pause * 1.5, max(float(self.arguments["sleep"]), 0.05))

    def _holds(self) -> bool:
        state = self.arguments["state"]
        if state == "drained":
            return not self._connections()
        if self.path:
            found = os.path.exists(self.path) and (self.regex is None or self._file_matches())
        else:
            found = self._port_answers()
        return not found if state in ("absent", "stopped") else found

    def _file_matches(self) -> bool:
        assert self.regex is not None and self.path is not None
        try:
            text = Path(self.path).read_text("utf-8", "replace")
        except OSError:
            return False
        self.match = self.regex.search(text)
        return self.match is not None

    def _port_answers(self) -> bool:
        patience = max(0.1, min(float(self.arguments["connect_timeout"]), self.left()))
        try:
            with socket.create_connection((self.host, self.port), timeout=patience) as connection:
                return self.regex is None or self._says(connection)
        except OSError:
            return False

    def _says(self, connection: socket.socket) -> bool:
        assert self.regex is not None
        said = b""
        while self.left() > 0 and len(said) < 1 << 20:
            connection.settimeout(max(0.1, self.left()))
            data = connection.recv(4096)
            if not data:
                break
            said += data
            self.match = self.regex.search(said.decode("utf-8", "replace"))
            if self.match:
                return True
        return False

    def _connections(self) -> list[sockets.Socket]:
        try:
            found = socket.getaddrinfo(self.host, None)
        except OSError as error:
            raise ModuleFailed(f"cannot resolve {self.host}: {error}") from None
        addresses = {str(entry[4][0]) for entry in found}
        anywhere = addresses & {"0.0.0.0", "::"}  # noqa: S104 — compared, not bound
        return [
            s
            for s in sockets.tcp()
            if s.port == self.port and s.state in ACTIVE and (anywhere or s.address in addresses)
        ]

    def _complaint(self) -> str:
        state, regex = self.arguments["state"], self.arguments["search_regex"]
        what = self.path or f"{self.host}:{self.port}"
        if state == "absent" or state == "stopped":
            return f"Timeout when waiting for {what} to {'be absent' if self.path else 'stop'}."
        if state == "drained":
            return f"Timeout when waiting for {what} to drain"
        if regex:
            return f"Timeout when waiting for search string {regex} in {what}"
        return f"Timeout when waiting for {'file ' if self.path else ''}{what}"
