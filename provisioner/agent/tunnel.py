"""Whether the tunnel carries both ways, and a new start for one that is up but dead.

The proof is the way that the gateway goes: over the tunnel to this machine's address on the
gateway host, and from there back to its own k3s, whose certificate nobody else has.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from provisioner.agent.http import Endpoint, HTTPProblem, Silence, exchange
from provisioner.agent.keeper import Timekeeper
from provisioner.agent.log import Log

ASK = "restart-b9-tunnel"
# With these a dead tunnel is started anew within 30 s of its last proof.
LOOK_EVERY = 7.0
DEADLINE = 3.0
DEAD_AFTER = 20.0
ASK_AGAIN = 300.0


class Ways(NamedTuple):
    """What is known of a direction: True, False, or None where it can't be known."""

    outward: bool | None
    inward: bool | None


class Reached(enum.Enum):
    """What came of asking somebody."""

    ANSWERED = enum.auto()
    SILENT = enum.auto()
    CLOSED = enum.auto()
    """The connection was ended, or whoever is there is not the one asked for."""
    NOBODY = enum.auto()
    """Nobody listens on this machine: the tunnel is down, and its unit sees to that."""


class Tunnel:
    """`gateway` is the API at the tunnel's near end; `through` leads over the tunnel and back to
    the k3s that is at `k3s`, None where no such way is there. `asks` is where root is asked for a
    new start. `tell` hears of kind `tunnel` when a direction dies or comes back.
    """

    def __init__(
        self,
        gateway: Endpoint,
        k3s: Endpoint,
        through: Endpoint | None,
        asks: Path,
        log: Log,
        tell: Callable[..., None],
        clock: Timekeeper,
    ) -> None:
        self._gateway, self._k3s = gateway, k3s
        self._through = through if k3s.ca else None
        self._asks, self._log, self._tell, self._clock = asks, log, tell, clock
        self.ways = Ways(None, None)
        self._proven = clock.monotonic()
        self._asked = self._proven - ASK_AGAIN

    def watch(self) -> None:
        """Look again and again until the clock is stopped."""
        while not self._clock.stopped:
            self._clock.wait(LOOK_EVERY)
            if not self._clock.stopped:
                self.look()

    def look(self) -> None:
        """Go both ways, and ask for a new start where nothing has come back for too long."""
        before = self.ways
        self.ways, dead = self._find()
        if self.ways != before:
            self._tell("tunnel", **self.ways._asdict())
        now = self._clock.monotonic()
        if not dead:
            self._proven = now
        elif now - self._proven >= DEAD_AFTER and now - self._asked >= ASK_AGAIN:
            self._ask("outward" if self.ways.outward is False else "inward")
            self._asked = now

    def _find(self) -> tuple[Ways, bool]:
        """What carries, and whether the tunnel is there and yet does not."""
        inward: bool | None = None
        if self._through:
            back = reached(self._through, "/livez")
            if back is Reached.ANSWERED:
                return Ways(True, True), False  # which went out, too
            if back is Reached.NOBODY:
                return Ways(False, False), False
            inward = False if reached(self._k3s, "/livez") is Reached.ANSWERED else None
        there = reached(self._gateway, "/api/v1/health")
        # a gateway that is down closes the connection, by the tunnel's other end
        outward = {Reached.ANSWERED: True, Reached.CLOSED: None}.get(there, False)
        dead = inward is False or there is Reached.SILENT
        return Ways(outward, inward), dead and there is not Reached.NOBODY

    def _ask(self, way: str) -> None:
        """Only root may start the unit anew, and does where it watches for this."""
        said = f"the tunnel has carried nothing {way} for {DEAD_AFTER:.0f} s"
        if not self._asks.is_dir():
            self._log.warning(f"{said}; restart it")
            return
        try:
            (self._asks / ASK).touch()
        except OSError as problem:
            self._log.error(f"{said}, and no restart can be asked for: {problem.strerror}")
        else:
            self._log.warning(f"{said}: it is started anew")


def reached(endpoint: Endpoint, path: str) -> Reached:
    """Whether somebody, of the right authority where there is one, answers there; with what does
    not matter."""
    try:
        exchange(endpoint, "GET", path, timeout=DEADLINE)
    except Silence:
        return Reached.SILENT
    except HTTPProblem as problem:
        refused = isinstance(problem.__cause__, ConnectionRefusedError)
        return Reached.NOBODY if refused else Reached.CLOSED
    return Reached.ANSWERED
