"""Where the owner of a machine meets its agent: the control API, and the server of models."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from provisioner.agent.control.server import CannotListen, Server
from provisioner.agent.hub import Hub
from provisioner.agent.log import Log
from provisioner.agent.settings import Settings

if TYPE_CHECKING:
    from provisioner.agent.control.desk import Desk
    from provisioner.agent.inference.manager import Manager

Told = Callable[[], dict[str, Any]]


class Front:
    """One per process; it follows the settings, as they are read anew.

    `asks` is where an agent that is not root asks for what only root may do. What callers need is
    loaded when the first of them comes.
    """

    def __init__(self, asks: Path, log: Log) -> None:
        self.hub = Hub()
        self._asks = asks
        self._log = log
        log.hear = lambda level, line: self.hub.tell("log", level=level, text=line)
        self._guard = threading.Lock()
        self._settings: Settings | None = None
        self._status: Told = dict
        self._server: Server | None = None
        self._manager: Manager | None = None

    def follow(self, settings: Settings, status: Told) -> None:
        """Serve by these settings. Where that can't be, it is said, and nothing else suffers."""
        with self._guard:
            before, self._settings = self._settings, settings
            self._status = status
            if before and _models(before) != _models(settings):
                self._close_manager()
            if before and _door(before) == _door(settings):
                return
            self._close_server()
            if settings.control.port:
                self._listen(settings)

    def close(self) -> None:
        """End all of it."""
        with self._guard:
            self._close_server()
            self._close_manager()

    def _listen(self, settings: Settings) -> None:
        try:
            self._server = Server(settings.control, settings.control_token, self._desk, self._log)
        except CannotListen as problem:
            self._log.error(f"no control API: {problem}")
        else:
            self._log.info(f"the control API is at {self._server.endpoint}")

    def _desk(self) -> Desk:
        from provisioner.agent.control.desk import Desk
        from provisioner.agent.inference import backend_of
        from provisioner.agent.inference.manager import Manager
        from provisioner.agent.inference.servant import servant_for
        from provisioner.agent.pods import Pods

        with self._guard:
            assert self._settings
            if self._manager is None:
                backend = backend_of(self._settings)
                servant = servant_for(backend, self._asks)
                self._manager = Manager(backend, servant, self.hub, self._log)
            pods = Pods(self._settings.k3s, self._settings.k3s_token, self._log)
            return Desk(self._status, self._manager, self.hub, pods)

    def _close_server(self) -> None:
        if self._server:
            self._server.stop()
        self._server = None

    def _close_manager(self) -> None:
        if self._manager:
            self._manager.close()
        self._manager = None


def _models(settings: Settings) -> tuple[object, ...]:
    return settings.backend, settings.inference, settings.model


def _door(settings: Settings) -> tuple[object, ...]:
    return settings.control, settings.control_token
