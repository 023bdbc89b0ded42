"""The table of states, row by row, and the waits between actions."""

from __future__ import annotations

import pytest

from provisioner.agent.states import (
    ACTIONS,
    TRANSITIONS,
    Action,
    Answer,
    Pace,
    State,
    delay,
)

ROWS = [
    # state, answer -> next state, pace
    ("pending", "ok", "registered", "now"),
    ("pending", "gone", "pending", "retry"),
    ("pending", "refused", "refused", "refused"),
    ("pending", "trouble", "pending", "retry"),
    ("pending", "lapsed", "pending", "retry"),
    ("registered", "ok", "ready", "interval"),
    ("registered", "gone", "expired", "retry"),
    ("registered", "refused", "refused", "refused"),
    ("registered", "trouble", "registered", "retry"),
    ("registered", "lapsed", "expired", "retry"),
    ("ready", "ok", "ready", "interval"),
    ("ready", "gone", "expired", "now"),
    ("ready", "refused", "refused", "refused"),
    ("ready", "trouble", "ready", "retry"),
    ("ready", "lapsed", "expired", "retry"),
    ("expired", "ok", "registered", "now"),
    ("expired", "gone", "expired", "retry"),
    ("expired", "refused", "refused", "refused"),
    ("expired", "trouble", "expired", "retry"),
    ("expired", "lapsed", "expired", "retry"),
    ("refused", "ok", "registered", "now"),
    ("refused", "gone", "refused", "refused"),
    ("refused", "refused", "refused", "refused"),
    ("refused", "trouble", "refused", "refused"),
    ("refused", "lapsed", "refused", "refused"),
]


@pytest.mark.parametrize(("state", "answer", "after", "pace"), ROWS)
def test_row(state: str, answer: str, after: str, pace: str) -> None:
    assert TRANSITIONS[State(state), Answer(answer)] == (State(after), Pace(pace))


def test_table_is_total() -> None:
    assert set(TRANSITIONS) == {(state, answer) for state in State for answer in Answer}
    assert len(ROWS) == len(TRANSITIONS)


def test_keepalive_only_after_a_registration() -> None:
    """States that keep alive are entered only by an OK, or from another such state."""
    kept = {state for state in State if ACTIONS[state] is Action.KEEPALIVE}
    assert kept == {State.REGISTERED, State.READY}
    for (before, answer), (after, _) in TRANSITIONS.items():
        if after in kept and before not in kept:
            assert (answer, after) == (Answer.OK, State.REGISTERED)


def wait(
    pace: Pace,
    action: Action,
    failures: int = 0,
    ttl: float = 300,
    share: float = 1,
    interval: float = 60,
) -> float:
    def uniform(low: float, high: float) -> float:
        return low + (high - low) * share

    return delay(pace, action, failures, interval, ttl, uniform)


def test_waits() -> None:
    assert wait(Pace.NOW, Action.KEEPALIVE) == 0
    assert wait(Pace.REFUSED, Action.REGISTER) == 300
    assert wait(Pace.INTERVAL, Action.KEEPALIVE) == 60
    assert wait(Pace.INTERVAL, Action.KEEPALIVE, share=0) == 54


def test_backoff_grows_to_its_cap() -> None:
    register = [wait(Pace.RETRY, Action.REGISTER, n) for n in range(1, 9)]
    assert register == [2, 4, 8, 16, 32, 60, 60, 60]
    assert wait(Pace.RETRY, Action.KEEPALIVE, 10_000) == 30
    assert wait(Pace.RETRY, Action.REGISTER, 9, share=0) == 1


def test_an_outage_is_over_within_one_interval() -> None:
    for interval in (1, 5, 60):
        assert wait(Pace.RETRY, Action.REGISTER, 10_000, interval=interval) == interval
    assert wait(Pace.RETRY, Action.REGISTER, 10_000, interval=240) == 60


def test_short_ttl_shortens_everything() -> None:
    assert wait(Pace.INTERVAL, Action.KEEPALIVE, ttl=30) == 10
    assert wait(Pace.INTERVAL, Action.KEEPALIVE, ttl=0.001) == 1
    assert wait(Pace.RETRY, Action.KEEPALIVE, 9, ttl=30) == 3
