"""Events reach the sink in order, all of them, whatever it does with them."""

from __future__ import annotations

import threading

import pytest

from provisioner.engine.events import Event, HostConnected, HostUnreachable
from provisioner.engine.teller import Teller

MANY = 500


def test_each_is_told_once_and_in_order_by_the_time_that_it_is_left() -> None:
    told: list[Event] = []
    with Teller(told.append) as teller:
        hosts = [
            threading.Thread(target=_tell_many, args=(teller, f"w{number}")) for number in range(4)
        ]
        for host in hosts:
            host.start()
        for host in hosts:
            host.join()
    for number in range(4):
        of_host = [event for event in told if event.host == f"w{number}"]  # type: ignore[attr-defined]
        assert of_host == [HostConnected(f"w{number}", float(turn)) for turn in range(MANY)]
    assert len(told) == 4 * MANY


def _tell_many(teller: Teller, host: str) -> None:
    for turn in range(MANY):
        teller.tell(HostConnected(host, float(turn)))


def test_who_tells_does_not_wait_for_a_slow_sink() -> None:
    slow, reached = threading.Event(), threading.Event()
    told: list[Event] = []

    def sink(event: Event) -> None:
        reached.set()
        assert slow.wait(20)
        told.append(event)

    with Teller(sink) as teller:
        teller.tell(HostConnected("w1", 0.1))
        assert reached.wait(20)
        teller.tell(HostConnected("w2", 0.1))
        assert told == []
        slow.set()
    assert len(told) == 2


def test_a_sink_that_fails_is_told_the_rest_and_its_failure_comes_to_light() -> None:
    told: list[Event] = []

    def sink(event: Event) -> None:
        told.append(event)
        if len(told) == 1:
            raise ZeroDivisionError("the first")

    with pytest.raises(ZeroDivisionError, match="the first"), Teller(sink) as teller:
        teller.tell(HostConnected("w1", 0.1))
        teller.tell(HostUnreachable("w2", "gone", ""))
    assert len(told) == 2


def test_what_went_wrong_before_is_not_hidden_by_it() -> None:
    def sink(event: Event) -> None:
        raise ZeroDivisionError

    with pytest.raises(KeyError), Teller(sink) as teller:
        teller.tell(HostConnected("w1", 0.1))
        raise KeyError


def test_what_comes_too_late_is_told_nobody() -> None:
    told: list[Event] = []
    with Teller(told.append) as teller:
        pass
    teller.tell(HostConnected("w1", 0.1))
    assert told == []
