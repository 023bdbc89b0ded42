"""What was made ready stays so by itself: reboots, power cuts, lost tunnels and lost records."""

from __future__ import annotations

import json
import re
import time

import pytest
from driver import KEEPALIVE_SECONDS, Driver, wait_until
from looks import (
    assert_one_of_each,
    delete_machine,
    is_ready,
    k3s_answers,
    machine_id,
    machines,
    sh,
    short_lives,
    wait_ready,
)

from provisioner.lab import Host, Lab

TTL_SECONDS = 2 * KEEPALIVE_SECONDS


def now() -> int:
    """A moment that the keepalives asked for are later than."""
    return int(time.time())


def assert_all_ready(lab: Lab, since: int) -> None:
    for worker in lab.worker_hosts:
        wait_ready(lab, worker, since)
    assert_one_of_each(lab, lab.worker_hosts)


def test_a_worker_that_reboots(ready: Driver) -> None:
    worker = ready.lab.host("w1")
    before = worker.leader()
    assert before is not None
    since = now()
    worker.exec(["systemctl", "reboot"])
    assert before.wait(30)
    worker.wait_ready()
    wait_ready(ready.lab, worker, since)
    assert ready.up("--limit", "w1").changed() == {"w1": 0, "gateway": 0}


def test_a_worker_that_loses_power(ready: Driver) -> None:
    worker = ready.lab.host("w2")
    worker.kill()
    since = now()
    worker.start()
    wait_ready(ready.lab, worker, since)
    assert_one_of_each(ready.lab, ready.lab.worker_hosts)


@pytest.mark.parametrize("way", ["reboot", "power cut"])
def test_a_gateway_host_that_goes_and_comes(ready: Driver, way: str) -> None:
    lab = ready.lab
    if way == "reboot":
        lab.gateway.reboot()
    else:
        lab.gateway.kill()
        lab.gateway.start()
    lab.wait_gateway()
    assert_all_ready(lab, since=now())


def test_a_gateway_that_restarts(ready: Driver) -> None:
    lab = ready.lab
    sh(lab.gateway, "systemctl stop reference-gateway")
    # a keepalive fails meanwhile: agents say so, and go on
    for worker in lab.worker_hosts:
        wait_until(lambda each=worker: has_error(each), 3 * KEEPALIVE_SECONDS, "an error")
    sh(lab.gateway, "systemctl start reference-gateway")
    lab.wait_gateway()
    assert_all_ready(lab, since=now())


def has_error(worker: Host) -> bool:
    """Whether the agent tells of a failed call."""
    return '"last_error": ""' not in worker.exec(["b9agent", "status", "--json"]).stdout


def test_a_machine_that_was_deleted_registers_again(ready: Driver) -> None:
    lab, worker = ready.lab, ready.lab.host("w1")
    wait_ready(lab, worker)
    name = machine_id(worker)
    delete_machine(lab, name)
    assert name not in machines(lab)
    wait_ready(lab, worker, seconds=4 * KEEPALIVE_SECONDS)


def test_a_machine_that_expired_registers_again(ready: Driver) -> None:
    lab, worker = ready.lab, ready.lab.host("w1")
    name = machine_id(worker)
    with short_lives(lab, TTL_SECONDS):
        assert_all_ready(lab, since=now())
        worker.cut_link()
        try:
            wait_until(lambda: name not in machines(lab), 3 * TTL_SECONDS, "the expiry")
            assert len(machines(lab)) == 2
        finally:
            worker.restore_link()
        wait_ready(lab, worker)
    assert_all_ready(lab, since=now())


def test_a_killed_tunnel_comes_back(ready: Driver) -> None:
    lab, worker = ready.lab, ready.lab.host("w1")
    wait_ready(lab, worker)
    sh(worker, "systemctl kill -s KILL b9-tunnel")
    wait_until(lambda: not k3s_answers(lab, worker), 5, "the end of the tunnel")
    wait_until(lambda: k3s_answers(lab, worker), 20, "the tunnel")
    wait_ready(lab, worker, since=now())


def test_what_a_dead_session_holds_is_freed_for_the_next(ready: Driver) -> None:
    """It can't be told to end, and holds the listener: left alone, it would for ever."""
    lab, worker = ready.lab, ready.lab.host("w2")
    wait_ready(lab, worker)
    slots = json.loads(lab.gateway.path("/var/lib/b9prov/slots.json").read_text())["slots"]
    shown = lab.gateway.exec(["ss", "-Hltnp", "src", f"{slots['w2']['address']}:6443"]).stdout
    (session,) = re.findall(r"pid=(\d+)", shown)
    sh(lab.gateway, f"kill -STOP {session}")
    wait_until(lambda: not k3s_answers(lab, worker), 5, "the end of the tunnel")
    wait_until(lambda: k3s_answers(lab, worker), 40, "the tunnel")
    assert lab.gateway.exec(["kill", "-0", session]).returncode != 0
    wait_ready(lab, worker, since=now())


@pytest.mark.parametrize("service", ["b9agent", "k3s", "ollama"])
def test_a_killed_service_comes_back(ready: Driver, service: str) -> None:
    worker = ready.lab.host("w3")
    since = now()
    sh(worker, f"systemctl kill -s KILL {service}")
    active = ["systemctl", "is-active", "-q", service]
    wait_until(lambda: worker.exec(active).returncode == 0, 20, service)
    wait_ready(ready.lab, worker, since)


def test_after_all_that_up_has_nothing_to_do(ready: Driver) -> None:
    assert set(ready.up().changed().values()) == {0}
    assert all(is_ready(ready.lab, worker) for worker in ready.lab.worker_hosts)
