"""Runs that are killed, interrupted or meet one another: the next `up` finishes the work."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from driver import Driver, Running, tail
from looks import assert_one_of_each, is_ready

from provisioner.lab import Host

INTERRUPT_SECONDS = 5.0  # 2 are promised; the rest is for a busy machine


@pytest.fixture
def bare(driver: Driver) -> Driver:
    """The gateway host and w1 as new ones."""
    lab = driver.lab
    with ThreadPoolExecutor() as pool:
        list(pool.map(lab.reset, [lab.gateway, lab.host("w1")]))
    return driver


@pytest.fixture
def started() -> Iterator[list[Running]]:
    """Runs that end with their test, whatever becomes of it."""
    runs: list[Running] = []
    yield runs
    for run in runs:
        run.kill()


POINTS: dict[str, dict[str, Any]] = {
    "connected": {"event": "host_connected"},
    "first task": {"event": "task_started"},
    "middle": {"event": "task_started", "count": 15},
    "slot asked": {"event": "task_started", "module": "tunnel_slot"},
    "slot had": {"event": "task_finished", "module": "tunnel_slot"},
    "machine asked": {"event": "task_started", "module": "machine"},
    "machine had": {"event": "task_finished", "module": "machine"},
    "agent starts": {"event": "task_started", "task": "the agent runs"},
    "agent runs": {"event": "task_finished", "task": "the agent runs"},
}


@pytest.mark.parametrize(
    "points",
    [
        ("connected", "slot asked", "machine had"),
        ("middle", "machine asked", "agent runs"),
        ("first task", "slot had", "agent starts"),
    ],
    ids=",".join,
)
def test_killed_ups_are_finished_by_the_next(driver: Driver, points: tuple[str, ...]) -> None:
    """One run per worker, each killed elsewhere on its way."""
    lab = driver.lab
    lab.reset_all()
    inventory = driver.inventory()

    def up_to(worker: Host, point: str) -> None:
        run = driver.start("up", "--limit", worker.name, inventory=inventory)
        try:
            run.wait_for(**POINTS[point], host=worker.name)
        finally:
            run.kill()
        assert run.process.returncode == -signal.SIGKILL

    with ThreadPoolExecutor() as pool:
        list(pool.map(up_to, lab.worker_hosts, points))
    driver.up()
    for worker in lab.worker_hosts:
        assert is_ready(lab, worker)
    assert_one_of_each(lab, lab.worker_hosts)
    assert set(driver.up().changed().values()) == {0}


def test_killed_again_and_again(bare: Driver) -> None:
    worker = bare.lab.host("w1")
    for module in ("tunnel_slot", "machine", "machine"):
        run = bare.start("up", "--limit", "w1")
        run.wait_for("task_started", module=module, host="w1")
        run.kill()
    bare.up("--limit", "w1")
    assert is_ready(bare.lab, worker)
    assert_one_of_each(bare.lab, [worker])
    assert bare.up("--limit", "w1").changed() == {"w1": 0, "gateway": 0}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_up_says_what_is_half_done(bare: Driver, number: int) -> None:
    run = bare.start("up", "--limit", "w1")
    run.wait_for("task_started", host="w1", module="unit", count=2)
    begun = time.monotonic()
    run.process.send_signal(number)
    ran = run.end(30)
    assert time.monotonic() - begun < INTERRUPT_SECONDS
    assert ran.code == 130, tail(ran)
    assert "Traceback" not in ran.text
    (finished,) = ran.of("run_finished")
    assert finished["interrupted"]
    assert finished["unfinished"] == ["w1"]
    bare.up("--limit", "w1")
    assert is_ready(bare.lab, bare.lab.host("w1"))
    assert_one_of_each(bare.lab, [bare.lab.host("w1")])


def test_an_interrupted_up_tells_people_how_to_go_on(bare: Driver) -> None:
    run = bare.start("up", "--limit", "w1", "--output", "plain")
    run.wait_for_line(r"^w1 +changed +Ollama")
    run.interrupt()
    ran = run.end(30)
    assert ran.code == 130, tail(ran)
    assert "w1 unfinished" in ran.out
    assert "the next `up` finishes what is half-done" in ran.out


def test_an_interrupt_before_anything_began(driver: Driver) -> None:
    driver.lab.gateway.cut_link()  # so that there is time: the run waits for the gateway host
    try:
        run = driver.start("up", "--limit", "w1", "--check")
        run.wait_for("host_connected", host="w1")
        begun = time.monotonic()
        run.interrupt()
        ran = run.end(30)
    finally:
        driver.lab.gateway.restore_link()
    assert time.monotonic() - begun < INTERRUPT_SECONDS
    assert ran.code == 130, tail(ran)
    assert "Traceback" not in ran.text


def runners(host: Host) -> list[str]:
    """Processes of runs that are at work on a host."""
    shown = host.exec(["ps", "-eo", "pid,args"]).stdout
    return [line for line in shown.splitlines() if "B9BOOT" in line and "sudo" not in line]


def test_two_runs_on_one_host_take_turns(bare: Driver, started: list[Running]) -> None:
    first = bare.start("up", "--limit", "w1")
    started.append(first)
    first.wait_for("task_started", host="w1", count=3)
    first.process.send_signal(signal.SIGSTOP)  # it holds the host until it may go on
    assert len(runners(bare.lab.host("w1"))) >= 1

    impatient = bare.run("up", "--limit", "w1", "--lock-wait", "0")
    assert impatient.code == 1, tail(impatient)
    end = impatient.end("w1")
    assert "another run is at work" in end["reason"]
    assert re.search(rf"process {first.process.pid}\b.*since \d{{4}}-", end["reason"]), end
    assert "--lock-wait" in end["advice"]

    second = bare.start("up", "--limit", "w1")
    started.append(second)
    waits = second.wait_for("host_waiting", host="w1")
    assert f"process {first.process.pid}" in waits["holder"]
    first.process.send_signal(signal.SIGCONT)
    for run in (first, second):
        ran = run.end()
        assert ran.code == 0, tail(ran)
    assert ran.changed() == {"w1": 0, "gateway": 0}
    assert is_ready(bare.lab, bare.lab.host("w1"))
    assert runners(bare.lab.host("w1")) == []


def test_two_runs_on_two_workers_share_the_gateway_host(
    bare: Driver, started: list[Running]
) -> None:
    lab = bare.lab
    lab.reset(lab.host("w2"))
    inventory = bare.inventory()
    for name in ("w1", "w2"):
        started.append(bare.start("up", "--limit", name, inventory=inventory))
    for run in started:
        ran = run.end()
        assert ran.code == 0, tail(ran)
    assert_one_of_each(lab, [lab.host("w1"), lab.host("w2")])
    assert is_ready(lab, lab.host("w1"))
    assert is_ready(lab, lab.host("w2"))
