"""A client of the control API."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from provisioner.agent.http import Dial, Endpoint, HTTPProblem, exchange, lines

Json = dict[str, Any]
ANSWER_SECONDS = 10.0
IDLE_SECONDS = 40.0  # a stream shows a sign of life every 15 s
LOG_LINES = 1000
LOG_BYTES = 1 << 20


class Trouble(Exception):
    """The agent can't be asked, or did not do what it was asked; the text says why."""


class Event(NamedTuple):
    """One happening, as `/events` tells of it."""

    number: int
    kind: str
    data: Json


class Client:
    """Asks the agent whose control API is at `endpoint`; `dial` is the way there, if not direct."""

    def __init__(self, endpoint: Endpoint, token: str = "", dial: Dial = None) -> None:
        self._endpoint, self._dial = endpoint, dial
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    def status(self) -> Json:
        """How the machine stands at the gateway. Raises Trouble, as all of these."""
        return self._json("GET", "/status")

    def inference(self) -> Json:
        """How the server of models fares."""
        return self._json("GET", "/inference/status")

    def pods(self) -> list[Json]:
        """The pods of the gateway's Jobs."""
        found: list[Json] = self._json("GET", "/pods").get("pods", [])
        return found

    def pod_log(self, name: str) -> str:
        """The end of a pod's log."""
        path = f"/pods/{name}/log?tail={LOG_LINES}"
        return self._ask("GET", path).decode("utf-8", "replace")

    def start_inference(self) -> None:
        """Have the server of models started."""
        self._ask("POST", "/inference/start")

    def stop_inference(self) -> None:
        """Have it stopped."""
        self._ask("POST", "/inference/stop")

    def events(self, after: int = 0) -> Iterator[Event]:
        """What happened after event `after` as far as it is kept, then what happens."""
        headers = {**self._headers, "Last-Event-ID": str(after)}
        stream = lines(
            self._endpoint, "GET", "/events", b"", IDLE_SECONDS, LOG_BYTES, headers, self._dial
        )
        fields: dict[str, str] = {}
        try:
            for status, line in stream:
                if status != 200:
                    raise Trouble(_reason(status, line))
                name, _, value = line.decode("utf-8", "replace").partition(": ")
                if name:
                    fields[name] = value
                    continue
                if "data" in fields:
                    number = int(fields.get("id", "0"))
                    yield Event(number, fields.get("event", ""), json.loads(fields["data"]))
                fields = {}
        except (HTTPProblem, ValueError) as problem:
            raise Trouble(str(problem)) from None

    def _json(self, method: str, path: str) -> Json:
        try:
            found = json.loads(self._ask(method, path))
        except (ValueError, RecursionError):
            raise Trouble(f"{path}: the answer is not JSON") from None
        if not isinstance(found, dict):
            raise Trouble(f"{path}: the answer is not an object")
        return found

    def _ask(self, method: str, path: str) -> bytes:
        try:
            answer = exchange(
                self._endpoint, method, path, self._headers, b"", ANSWER_SECONDS, LOG_BYTES,
                self._dial,
            )  # fmt: skip
        except HTTPProblem as problem:
            raise Trouble(str(problem)) from None
        if answer.status not in (200, 202):
            raise Trouble(_reason(answer.status, answer.body))
        return answer.body


def _reason(status: int, body: bytes) -> str:
    """What an answer that is none says of why."""
    try:
        return str(json.loads(body)["error"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return f"the control API answers with status {status}"
