"""The life of a machine at the gateway as one table: (state, answer) gives the next state and pace.

What to send follows from the state alone, so a keepalive can never go out before a registration.
Nothing here does any input or output.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

FIRST_RETRY = 1.0
REGISTER_RETRY_CAP = 60.0  # or the interval, if that is shorter: after an outage it is ready in one
KEEPALIVE_RETRY_CAP = 30.0  # several tries must fit into the 300 s after which a machine expires
REFUSED_RETRY = 300.0
DEFAULT_TTL = 300.0


class State(str, Enum):
    """Where the machine stands, as far as the gateway's answers have told."""

    PENDING = "pending"
    REGISTERED = "registered"
    READY = "ready"
    EXPIRED = "expired"
    REFUSED = "refused"


class Action(Enum):
    """The two things an agent says to a gateway."""

    REGISTER = "register"
    KEEPALIVE = "keepalive"


class Answer(Enum):
    """What came of an action."""

    OK = "ok"
    GONE = "gone"  # the gateway no longer knows the machine
    REFUSED = "refused"  # 401 or 403: the token is wrong, trying faster won't help
    TROUBLE = "trouble"  # everything that may pass: unreachable, 5xx, nonsense
    LAPSED = "lapsed"  # trouble for so long that the gateway must have dropped the machine


class Pace(Enum):
    """How long to wait before the next action."""

    NOW = "now"
    INTERVAL = "interval"
    RETRY = "retry"
    REFUSED = "refused"


ACTIONS: dict[State, Action] = {
    State.PENDING: Action.REGISTER,
    State.REGISTERED: Action.KEEPALIVE,
    State.READY: Action.KEEPALIVE,
    State.EXPIRED: Action.REGISTER,
    State.REFUSED: Action.REGISTER,
}

TRANSITIONS: dict[tuple[State, Answer], tuple[State, Pace]] = {
    (State.PENDING, Answer.OK): (State.REGISTERED, Pace.NOW),
    (State.PENDING, Answer.GONE): (State.PENDING, Pace.RETRY),
    (State.PENDING, Answer.REFUSED): (State.REFUSED, Pace.REFUSED),
    (State.PENDING, Answer.TROUBLE): (State.PENDING, Pace.RETRY),
    (State.PENDING, Answer.LAPSED): (State.PENDING, Pace.RETRY),
    (State.REGISTERED, Answer.OK): (State.READY, Pace.INTERVAL),
    # Gone right after registering is no expiry: registering again at once could go round for ever.
    (State.REGISTERED, Answer.GONE): (State.EXPIRED, Pace.RETRY),
    (State.REGISTERED, Answer.REFUSED): (State.REFUSED, Pace.REFUSED),
    (State.REGISTERED, Answer.TROUBLE): (State.REGISTERED, Pace.RETRY),
    (State.REGISTERED, Answer.LAPSED): (State.EXPIRED, Pace.RETRY),
    (State.READY, Answer.OK): (State.READY, Pace.INTERVAL),
    (State.READY, Answer.GONE): (State.EXPIRED, Pace.NOW),
    (State.READY, Answer.REFUSED): (State.REFUSED, Pace.REFUSED),
    (State.READY, Answer.TROUBLE): (State.READY, Pace.RETRY),
    (State.READY, Answer.LAPSED): (State.EXPIRED, Pace.RETRY),
    (State.EXPIRED, Answer.OK): (State.REGISTERED, Pace.NOW),
    (State.EXPIRED, Answer.GONE): (State.EXPIRED, Pace.RETRY),
    (State.EXPIRED, Answer.REFUSED): (State.REFUSED, Pace.REFUSED),
    (State.EXPIRED, Answer.TROUBLE): (State.EXPIRED, Pace.RETRY),
    (State.EXPIRED, Answer.LAPSED): (State.EXPIRED, Pace.RETRY),
    (State.REFUSED, Answer.OK): (State.REGISTERED, Pace.NOW),
    (State.REFUSED, Answer.GONE): (State.REFUSED, Pace.REFUSED),
    (State.REFUSED, Answer.REFUSED): (State.REFUSED, Pace.REFUSED),
    # An outage of the gateway says nothing new about the token.
    (State.REFUSED, Answer.TROUBLE): (State.REFUSED, Pace.REFUSED),
    (State.REFUSED, Answer.LAPSED): (State.REFUSED, Pace.REFUSED),
}


def delay(
    pace: Pace,
    action: Action,
    failures: int,
    interval: float,
    ttl: float,
    uniform: Callable[[float, float], float],
) -> float:
    """Seconds until `action`, after `failures` failed tries in a row; random parts by `uniform`."""
    if pace is Pace.NOW:
        return 0.0
    if pace is Pace.REFUSED:
        return REFUSED_RETRY
    if pace is Pace.INTERVAL:
        # Three keepalives fit into a life, however short the gateway makes it.
        longest = max(FIRST_RETRY, min(interval, ttl / 3))
        return uniform(0.9 * longest, longest)
    cap = max(FIRST_RETRY, min(REGISTER_RETRY_CAP, interval))
    if action is Action.KEEPALIVE:
        cap = max(FIRST_RETRY, min(KEEPALIVE_RETRY_CAP, ttl / 10))
    return uniform(FIRST_RETRY, min(cap, FIRST_RETRY * 2.0 ** min(failures, 16)))
