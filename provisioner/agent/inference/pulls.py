"""Models on their way to this machine: each once, a few at a time, all of it told."""

from __future__ import annotations

import threading
import time
from typing import Any

from provisioner.agent.hub import Hub
from provisioner.agent.inference.backend import Backend, BackendError, Busy
from provisioner.agent.log import Log

MOST = 4  # at once
KEPT = 20  # of which it is known how they went
TELL_EVERY = 0.5  # seconds between two progresses of one pull that are told

Pull = dict[str, Any]


class Pulls:
    """Thread-safe. `hub` hears of kind `pull`."""

    def __init__(self, backend: Backend, hub: Hub, log: Log) -> None:
        self._backend, self._hub, self._log = backend, hub, log
        self._guard = threading.Lock()
        self._pulls: dict[str, Pull] = {}

    def begin(self, model: str, insecure: bool) -> Pull:
        """Begin to fetch a model, unless that is being done; how far it is. Raises BackendError.

        `insecure` allows a registry without TLS.
        """
        if not self._backend.healthy():
            raise BackendError(f"{self._backend.name} does not answer: start it first")
        with self._guard:
            known = self._pulls.get(model)
            if known and known["status"] == "pulling":
                return dict(known)
            pull = self._add(model)
        self._log.info(f"inference: pulling {model}")
        self._hub.tell("pull", **pull)
        threading.Thread(target=self._fetch, args=(pull, insecure), daemon=True).start()
        return dict(pull)

    def shown(self) -> list[Pull]:
        """Those under way, and how the last ones went."""
        with self._guard:
            return [dict(pull) for pull in self._pulls.values()]

    def _add(self, model: str) -> Pull:
        if sum(each["status"] == "pulling" for each in self._pulls.values()) >= MOST:
            raise Busy(f"{MOST} models are being pulled already")
        self._pulls.pop(model, None)
        while len(self._pulls) >= KEPT:
            ended = (name for name, each in self._pulls.items() if each["status"] != "pulling")
            del self._pulls[next(ended)]
        pull = {"model": model, "status": "pulling", "detail": "", "completed": 0, "total": 0}
        self._pulls[model] = {**pull, "error": ""}
        return self._pulls[model]

    def _fetch(self, pull: Pull, insecure: bool) -> None:
        """Fetch it, and tell how that goes and ends."""
        told = [0.0]

        def progress(detail: str, completed: int, total: int) -> None:
            is_new = detail != pull["detail"]
            self._note(pull, detail=detail, completed=completed, total=total)
            if is_new or time.monotonic() - told[0] >= TELL_EVERY:
                told[0] = time.monotonic()
                self._hub.tell("pull", **pull)

        model, trouble = pull["model"], ""
        try:
            self._backend.pull(model, insecure, progress)
        except Exception as problem:  # nobody else would hear of it
            trouble = str(problem) or type(problem).__name__
        self._note(pull, status="failed" if trouble else "pulled", error=trouble)
        self._hub.tell("pull", **pull)
        if trouble:
            self._log.warning(f"inference: {model} could not be pulled: {trouble}")
        else:
            self._log.info(f"inference: {model} was pulled")

    def _note(self, pull: Pull, **news: Any) -> None:
        with self._guard:
            pull.update(news)
