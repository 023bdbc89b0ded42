"""Waits end on time, at once when stopped, and early when the machine had slept."""

from __future__ import annotations

import threading
import time

from provisioner.agent.clock import Clock


class SleepyClock(Clock):
    """Of a machine that is suspended for an hour during its third look at the clock."""

    chunk = 0.01
    looks = 0

    def wall(self) -> float:
        self.looks += 1
        return super().wall() + (3600 if self.looks > 3 else 0)


def test_a_wait_takes_its_time() -> None:
    began = time.monotonic()
    assert Clock().wait(0.1) is False
    assert 0.1 <= time.monotonic() - began < 1


def test_stop_ends_waits_now_and_later() -> None:
    clock = Clock()
    threading.Timer(0.1, clock.stop).start()
    began = time.monotonic()
    assert clock.wait(60) is False
    assert clock.wait(60) is False
    assert time.monotonic() - began < 2
    assert clock.stopped


def test_a_suspended_machine_is_noticed() -> None:
    began = time.monotonic()
    assert SleepyClock().wait(60) is True
    assert time.monotonic() - began < 2
