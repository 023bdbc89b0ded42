"""Keeps the machine ready: does what its state asks for, and learns from the answer."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from provisioner.agent.gateway import Verdict
from provisioner.agent.log import Log, mask
from provisioner.agent.states import (
    ACTIONS,
    DEFAULT_TTL,
    TRANSITIONS,
    Action,
    Answer,
    Pace,
    State,
    delay,
)

STEP_LIMIT = 75.0  # a step: one request, the slowest of name servers, and a hung nvidia-smi


class Sender(Protocol):
    """Where requests go."""

    def send(self, action: Action, body: dict[str, Any]) -> Verdict:
        """Carry out `action`; never raises for what the other side does."""
        ...


class Timekeeper(Protocol):
    """Clocks and waits, as `Clock` has them."""

    @property
    def stopped(self) -> bool: ...
    def wall(self) -> float: ...
    def monotonic(self) -> float: ...
    def wait(self, seconds: float) -> bool: ...


class Standing(NamedTuple):
    """What the keeper knows after a step."""

    state: State
    since: float
    last_keepalive: float | None
    last_error: str
    next_in: float


def uniform(low: float, high: float) -> float:
    """A random number; the `random` module would be a megabyte for this one."""
    return low + (high - low) * int.from_bytes(os.urandom(4), "big") / 2**32


class Keeper:
    """Drives the table of states with the answers of a gateway."""

    def __init__(
        self,
        sender: Sender,
        bodies: dict[Action, Callable[[], dict[str, Any]]],
        clock: Timekeeper,
        log: Log,
        interval: float,
        publish: Callable[[Standing], None] = lambda standing: None,
    ) -> None:
        self._sender = sender
        self._bodies = bodies
        self._clock = clock
        self._log = log
        self._interval = interval
        self._publish = publish
        self._failures = 0
        self._ttl = DEFAULT_TTL
        self._heard = clock.monotonic()  # when the gateway last did what was asked
        self._alive_until = self._heard + STEP_LIMIT
        self.standing = Standing(State.PENDING, clock.wall(), None, "", 0.0)

    @property
    def healthy(self) -> bool:
        """Whether the loop still turns as fast as it means to."""
        return self._clock.monotonic() < self._alive_until

    def run(self) -> None:
        """Keep the machine ready until the clock is stopped."""
        self._publish(self.standing)
        while not self._clock.stopped:
            self._alive_until = self._clock.monotonic() + STEP_LIMIT
            pause = self.step()
            self._alive_until = self._clock.monotonic() + pause + STEP_LIMIT
            if self._clock.wait(pause):
                self._log.info("the clock leapt ahead, as after a suspend: reporting at once")

    def step(self) -> float:
        """Send what the state asks for; the seconds until the next step."""
        before = self.standing
        action = ACTIONS[before.state]
        verdict = self._send(action)
        answer = self._weigh(action, verdict)
        state, pace = TRANSITIONS[before.state, answer]
        if pace is Pace.INTERVAL:
            self._failures = 0
        elif pace is not Pace.NOW:
            self._failures += 1
        pause = delay(pace, ACTIONS[state], self._failures, self._interval, self._ttl, uniform)
        now = self._clock.wall()
        kept_alive = action is Action.KEEPALIVE and answer is Answer.OK
        self.standing = Standing(
            state=state,
            since=before.since if state is before.state else now,
            last_keepalive=now if kept_alive else before.last_keepalive,
            last_error="" if kept_alive else mask(verdict.reason) or before.last_error,
            next_in=pause,
        )
        self._tell(before, action, verdict)
        self._publish(self.standing)
        return pause

    def _send(self, action: Action) -> Verdict:
        try:
            verdict = self._sender.send(action, self._bodies[action]())
        except Exception as problem:  # whatever it is, a later try may do better
            return Verdict(Answer.TROUBLE, f"{action.value}: {type(problem).__name__}: {problem}")
        return verdict

    def _weigh(self, action: Action, verdict: Verdict) -> Answer:
        """Turn lasting trouble with keepalives into the expiry that it must have led to."""
        now = self._clock.monotonic()
        if verdict.answer is Answer.OK:
            self._heard = now
            self._ttl = verdict.ttl
        elif verdict.answer is Answer.TROUBLE and action is Action.KEEPALIVE:
            return Answer.LAPSED if now - self._heard > self._ttl else Answer.TROUBLE
        return verdict.answer

    def _tell(self, before: Standing, action: Action, verdict: Verdict) -> None:
        after = self.standing
        if verdict.answer is Answer.OK:
            if action is Action.REGISTER:
                self._log.trouble("gateway", verdict.doubt)
            if after.state is not before.state or before.last_error:
                self._log.info(f"the machine is {after.state.value}")
            else:
                self._log.debug(f"{action.value}: ok")
            return
        line = f"{verdict.reason}; next try in {after.next_in:.0f} s"
        if verdict.answer is Answer.REFUSED:
            self._log.error(f"the gateway refuses this machine's token: {line}")
        elif after.last_error != before.last_error or after.state is not before.state:
            self._log.warning(line)
        else:
            self._log.debug(line)
