"""Whether the tunnel carries both ways, and a new start for one that is up but dead.

Outward each keepalive is the proof. Inward the agent goes the way that the gateway does: over the
tunnel to this machine's address on the gateway host, and from there back to its own k3s.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from provisioner.agent.gateway import Verdict
from provisioner.agent.http import Endpoint, HTTPProblem, exchange
from provisioner.agent.keeper import Sender
from provisioner.agent.log import Log
from provisioner.agent.states import Action

ASK = "restart-b9-tunnel"
DEADLINE = 10.0  # seconds
DEAD_AFTER = 2.0  # keepalives' time without a proof, after which the tunnel is started anew
DEAD_AFTER_LEAST = 30.0  # seconds: two keepalives that nobody answers
ASK_AGAIN = 300.0


class Ways(NamedTuple):
    """What is known of a direction: True, False, or None where it can't be known."""

    outward: bool | None
    inward: bool | None


class Tunnel:
    """`through` leads over the tunnel and back to the k3s that is at `k3s`; None where no such way
    is there. `asks` is where root is asked for a new start. `interval` is the keepalives'.

    `tell` hears of kind `tunnel` when a direction dies or comes back. `monotonic` is in seconds.
    """

    def __init__(
        self,
        k3s: Endpoint,
        through: Endpoint | None,
        asks: Path,
        log: Log,
        tell: Callable[..., None],
        monotonic: Callable[[], float],
        interval: float,
    ) -> None:
        self._k3s, self._through = k3s, through
        self._asks, self._log, self._tell, self._now = asks, log, tell, monotonic
        self.ways = Ways(None, None)
        self._proven = [monotonic(), monotonic()]  # when each direction last was
        self._asked = -ASK_AGAIN
        self._dead_after = max(DEAD_AFTER_LEAST, DEAD_AFTER * interval)

    def look(self, outward: bool | None) -> None:
        """Learn from a keepalive whether it was answered, and go the other way."""
        before, now = self.ways, self._now()
        self.ways = Ways(outward, self._inward() if outward else before.inward)
        for place, way in enumerate(self.ways):
            if way is not False:
                self._proven[place] = now
        if self.ways != before:
            self._tell("tunnel", **self.ways._asdict())
        dead = [now - proven >= self._dead_after for proven in self._proven]
        if any(dead) and now - self._asked >= ASK_AGAIN:
            self._ask("outward" if dead[0] else "inward")
            self._asked = now

    def _inward(self) -> bool | None:
        """Whether the k3s answers over the tunnel; None where it does not answer here either."""
        if self._through is None or not self._k3s.ca:
            return None
        if answers(self._through):
            return True
        return False if answers(self._k3s) else None

    def _ask(self, way: str) -> None:
        """Only root may start the unit anew, and does where it watches for this."""
        said = f"the tunnel has carried nothing {way} for {self._dead_after:.0f} s"
        if not self._asks.is_dir():
            self._log.warning(f"{said}; restart it")
            return
        try:
            (self._asks / ASK).touch()
        except OSError as problem:
            self._log.error(f"{said}, and no restart can be asked for: {problem.strerror}")
        else:
            self._log.warning(f"{said}: it is started anew")


class Proven:
    """Sends by `sender`; the keepalives tell `tunnel` how it fares."""

    def __init__(self, sender: Sender, tunnel: Tunnel) -> None:
        self._sender, self._tunnel = sender, tunnel

    def send(self, action: Action, body: dict[str, Any]) -> Verdict:
        """Carry out `action`."""
        verdict = self._sender.send(action, body)
        if action is Action.KEEPALIVE:
            self._tunnel.look(verdict.heard)
        return verdict


def answers(k3s: Endpoint) -> bool:
    """Whether a k3s of the right authority answers there; with what does not matter."""
    try:
        exchange(k3s, "GET", "/livez", timeout=DEADLINE)
    except HTTPProblem:
        return False
    return True
