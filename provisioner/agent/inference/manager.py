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
    Unsupported,
    is_model_name,
)
from provisioner.agent.inference.servant import Servant
from provisioner.agent.log import Log

MOST_PULLS = 4  # at once
PULLS_KEPT = 20
TELL_EVERY = 0.5  # seconds between two progresses of one pull that are told
READY_SECONDS = 120.0  # that a server may take to answer after its start
_POLL = 0.25


class Busy(BackendError):
    """As many things as may be are being done already."""


class Manager:
    """Thread-safe. `hub` hears of kind `inference` and `pull`."""

    def __init__(self, backend: Backend, servant: Servant, hub: Hub, log: Log) -> None:
        self._backend, self._servant = backend, servant
        self._hub, self._log = hub, log
        self._guard, self._changing = threading.Lock(), threading.Lock()
        self._wanted = ""  # start or stop, while it is on its way
        self._trouble = ""
        self._pulls: dict[str, dict[str, Any]] = {}

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
            "pulls": self._shown_pulls(),
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
        """Begin to fetch a model, unless that is being done; how far it is. Raises BackendError.

        `insecure` allows a registry without TLS.
        """
        if not self._backend.healthy():
            raise BackendError(f"{self._backend.name} does not answer: start it first")
        with self._guard:
            known = self._pulls.get(model)
            if known and known["status"] == "pulling":
                return dict(known)
            if sum(each["status"] == "pulling" for each in self._pulls.values()) >= MOST_PULLS:
                raise Busy(f"{MOST_PULLS} models are being pulled already")
            self._pulls.pop(model, None)
            while len(self._pulls) >= PULLS_KEPT:
                ended = (n for n, each in self._pulls.items() if each["status"] != "pulling")
                del self._pulls[next(ended)]
            pull = {"model": model, "status": "pulling", "detail": "", "completed": 0, "total": 0}
            pull["error"] = ""
            self._pulls[model] = pull
        self._log.info(f"inference: pulling {model}")
        self._hub.tell("pull", **pull)
        threading.Thread(target=self._pull, args=(model, insecure, pull), daemon=True).start()
        return dict(pull)

    def close(self) -> None:
        """End what lives by the agent alone."""
        self._servant.close()

    def _pull(self, model: str, insecure: bool, pull: dict[str, Any]) -> None:
        told = [0.0]

        def progress(detail: str, completed: int, total: int) -> None:
            is_new = detail != pull["detail"]
            with self._guard:
                pull.update(detail=detail, completed=completed, total=total)
            if is_new or time.monotonic() - told[0] >= TELL_EVERY:
                told[0] = time.monotonic()
                self._hub.tell("pull", **pull)

        try:
            self._backend.pull(model, insecure, progress)
            end, trouble = "pulled", ""
        except Unsupported as problem:
            end, trouble = "failed", str(problem)
        except Exception as problem:  # nobody else would hear of it
            end, trouble = "failed", str(problem) or type(problem).__name__
        with self._guard:
            pull.update(status=end, error=trouble)
        self._hub.tell("pull", **pull)
        if trouble:
            self._log.warning(f"inference: {model} could not be pulled: {trouble}")
        else:
            self._log.info(f"inference: {model} was pulled")

    def _change(self, verb: str) -> dict[str, Any]:
        with self._changing:
            self._wanted, self._trouble = verb, ""
            try:
                getattr(self._servant, verb)()
            except BackendError as problem:
                self._trouble, self._wanted = str(problem), ""
                raise
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

    def _shown_pulls(self) -> list[dict[str, Any]]:
        with self._guard:
            return [dict(pull) for pull in self._pulls.values()]
