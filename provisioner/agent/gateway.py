"""The worker's half of the gateway's machine API, and how its answers are to be understood.

An answer's body is never shown: a registration's holds database passwords. What is kept of it
is the `message` field of an error.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from provisioner.agent.http import Dial, Endpoint, HTTPProblem, Response, exchange
from provisioner.agent.log import one_line
from provisioner.agent.states import DEFAULT_TTL, Action, Answer

PATHS = {
    Action.REGISTER: "/api/v1/machine/register",
    Action.KEEPALIVE: "/api/v1/machine/keepalive",
}
# Registering takes the gateway 5 s when it waits for Tailscale first.
TIMEOUTS = {Action.REGISTER: 30.0, Action.KEEPALIVE: 15.0}
# So says a gateway that can't come to its workers.
NO_WAY = "it gave no configuration: it has neither Tailscale nor a direct host to come by"


class Verdict(NamedTuple):
    """An answer as the state machine takes it, and as a person reads it.

    `doubt` is what a registration that went well tells of a gateway that can still do nothing.
    """

    answer: Answer
    reason: str = ""
    ttl: float = DEFAULT_TTL
    doubt: str = ""


class Gateway:
    """Sends requests with one machine's token; `dial` connects in place of a plain socket."""

    def __init__(self, endpoint: Endpoint, token: str, dial: Dial = None) -> None:
        self.endpoint = endpoint
        self._token, self._dial = token, dial

    def send(self, action: Action, body: dict[str, Any]) -> Verdict:
        """Carry out `action`; whatever happens comes back as a verdict."""
        try:
            response = exchange(
                self.endpoint,
                "POST",
                PATHS[action],
                {"Authorization": f"Bearer {self._token}"},
                json.dumps(body, separators=(",", ":"), allow_nan=False).encode(),
                TIMEOUTS[action],
                dial=self._dial,
            )
        except HTTPProblem as problem:
            return Verdict(Answer.TROUBLE, f"{action.value}: {problem}")
        return judge(action, response)


def judge(action: Action, response: Response) -> Verdict:
    """What an answer to `action` means."""
    document = _document(response.body)
    if response.status == 200:
        state = document.get("machine_state")
        if isinstance(state, dict):
            blind = action is Action.REGISTER and document.get("config", True) is None
            ttl = _ttl(state.get("ttl_seconds"))
            return Verdict(Answer.OK, ttl=ttl, doubt=NO_WAY if blind else "")
        return Verdict(Answer.TROUBLE, f"{action.value}: 200, but not an answer of a gateway")
    message = document.get("message")
    shown = one_line(message) if isinstance(message, str) else ""
    if not shown and 300 <= response.status < 400:
        shown = "sends elsewhere, which no gateway does"
    reason = f"{action.value}: HTTP {response.status}" + (f" {shown}" if shown else "")
    if response.status in (401, 403):
        return Verdict(Answer.REFUSED, reason)
    if action is Action.KEEPALIVE and _is_gone(document):
        return Verdict(Answer.GONE, reason)
    return Verdict(Answer.TROUBLE, reason)


def _document(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _is_gone(document: dict[str, Any]) -> bool:
    """The gateway says `machine not found` in a message; its documents promise a code."""
    fields = [str(document.get(name, "")) for name in ("message", "code", "error")]
    return any("machine not found" in text or "machine_not_found" in text for text in fields)


def _ttl(value: Any) -> float:
    usable = isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0
    return float(value) if usable else DEFAULT_TTL
