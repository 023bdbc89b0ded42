"""The server of models as its owner deals with it: one of each thing at a time, all of it told."""

from __future__ import annotations

import threading
import time
from typing import Any

from provisioner.agent.hub import Hub
from provisioner.agent.inference.backend import (
    Backend,
    BackendError,
    Model,
    NotThere,
    is_model_name,
)
from provisioner.agent.inference.pulls import Pulls
from provisioner.agent.inference.servant import Servant
from provisioner.agent.log import Log

READY_SECONDS = 120.0  # that a server may take to answer after its start
_POLL = 0.25


class Manager:
    """Thread-safe. `hub` hears of kind `inference` and `pull`."""

    def __init__(self, backend: Backend, servant: Servant, hub: Hub, log: Log) -> None:
        self._backend, self._servant = backend, servant
        self._hub, self._log = hub, log
        self._pulls = Pulls(backend, hub, log)
        self._changing = threading.Lock()
        self._wanted = ""  # start or stop, while it is on its way
        self._trouble = ""

    def status(self) -> dict[str, Any]:
        """How the server fares; `models` are those on its disk, `loaded` those in memory."""
        models, trouble = self._listed()
        state = self._state(models is not None)
        found = models or []
        return {
            "status": state,
            "backend": self._backend.name,
            "endpoint": str(self._backend.endpoint),
            "models": [model.name for model in found],
            "loaded": [model.name for model in found if model.loaded],
            "pulls": self._pulls.shown(),
            "error": "" if state == "running" else self._trouble or trouble,
        }

    def start(self) -> dict[str, Any]:
        """Have the server started; what `status` says then. Raises BackendError."""
        return self._change("start")

    def stop(self) -> dict[str, Any]:
        """Have the server stopped; what `status` says then. Raises BackendError."""
        return self._change("stop")

    def models(self) -> list[Model]:
        """What the server can serve. Raises BackendError."""
        return self._backend.models()

    def delete(self, name: str) -> None:
        """Remove a model. Raises BackendError."""
        if not is_model_name(name):
            raise NotThere(f"there is no model {name!r}")
        self._backend.delete(name)
        self._hub.tell("inference", status="deleted", model=name)
        self._log.info(f"inference: {name} was deleted")

    def pull(self, model: str, insecure: bool = False) -> dict[str, Any]:
        """Begin to fetch a model; how far it is. Raises BackendError."""
        return self._pulls.begin(model, insecure)

    def close(self) -> None:
        """End what lives by the agent alone."""
        self._servant.close()

    def _change(self, verb: str) -> dict[str, Any]:
        with self._changing:
            is_new, self._wanted, self._trouble = self._wanted != verb, verb, ""
            try:
                getattr(self._servant, verb)()
            except BackendError as problem:
                self._trouble, self._wanted = str(problem), ""
                raise
        if not is_new:  # somebody waits for it already
            return self.status()
        self._log.info(f"inference: {verb} of {self._backend.name}")
        threading.Thread(target=self._follow, args=(verb,), daemon=True).start()
        return self.status()

    def _follow(self, verb: str) -> None:
        """Wait for what was begun, and tell of its end, unless something else is wanted by then."""
        self._hub.tell("inference", status="starting" if verb == "start" else "stopping")
        give_up = time.monotonic() + READY_SECONDS
        done = self._backend.healthy() == (verb == "start")
        while not done and time.monotonic() < give_up and self._wanted == verb:
            if verb == "start" and self._servant.failed:
                break
            time.sleep(_POLL)
            done = self._backend.healthy() == (verb == "start")
        with self._changing:
            if self._wanted != verb:
                return
            self._wanted = ""
            self._trouble = "" if done else f"it did not {verb}; see its own log"
        status = self.status()["status"]
        self._hub.tell("inference", status=status)
        tell = self._log.info if done else self._log.warning
        tell(f"inference: {self._backend.name} is {status}")

    def _listed(self) -> tuple[list[Model] | None, str]:
        try:
            return self._backend.models(), ""
        except BackendError as problem:
            return None, str(problem)

    def _state(self, answers: bool) -> str:
        if self._wanted == "stop":
            return "stopping"
        if answers:
            return "running"
        if self._wanted == "start":
            return "starting"
        return "failed" if self._trouble or self._servant.failed else "stopped"
