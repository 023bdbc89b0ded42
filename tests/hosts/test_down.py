"""`down` undoes `up`: nothing is left on workers nor, after the last, on the gateway host."""

from __future__ import annotations

import re

import pytest
from driver import Driver, tail, wait_until
from looks import (
    addresses,
    assert_one_of_each,
    differences,
    footprint,
    is_ready,
    machines,
    reverse_address,
)

from provisioner.lab import Host, Lab


@pytest.fixture(scope="module")
def before(driver: Driver) -> dict[str, str]:
    """What new hosts are like; the hosts are then made ready."""
    driver.lab.reset_all()
    found = footprint(*driver.lab.hosts)
    driver.up()
    return found


def of(host: Host, found: dict[str, str]) -> dict[str, str]:
    """One host's part of a footprint."""
    return {what: about for what, about in found.items() if re.match(rf"{host.name}[: ]", what)}


def processes(host: Host) -> set[str]:
    """The names of a host's programs, less those of logins under way and of systemd's helpers."""
    names = set(host.exec(["ps", "-eo", "comm="]).stdout.split())
    return {name for name in names if not re.match(r"ps$|sshd|\(sd-pam\)|systemd|dbus", name)}


def ports(host: Host) -> set[str]:
    """The TCP ports that a host listens on."""
    lines = host.exec(["ss", "-Hlnt"]).stdout.splitlines()
    return {line.split()[3].rpartition(":")[2] for line in lines}


def test_check_of_down_touches_nothing(driver: Driver, before: dict[str, str]) -> None:
    lab = driver.lab
    full = footprint(*lab.hosts)
    ran = driver.run("down", "--check")
    assert ran.code == 0, tail(ran)
    assert all(ran.changed()[worker.name] >= 5 for worker in lab.worker_hosts)
    assert differences(full, footprint(*lab.hosts)) == ""
    assert_one_of_each(lab, lab.worker_hosts)


def test_down_without_a_yes_asks_and_does_nothing(driver: Driver, before: dict[str, str]) -> None:
    ran = driver.run("down")
    assert ran.code == 2, tail(ran)
    assert "--yes" in ran.err
    assert ran.out == ""
    assert_one_of_each(driver.lab, driver.lab.worker_hosts)


def test_down_of_one_worker_leaves_the_others_alone(driver: Driver, before: dict[str, str]) -> None:
    lab = driver.lab
    gone, *others = lab.worker_hosts
    ran = driver.run("down", "--yes", "--limit", gone.name)
    assert ran.code == 0, tail(ran)
    assert differences(of(gone, before), footprint(gone)) == ""
    assert_one_of_each(lab, others)
    assert all(is_ready(lab, other) for other in others)


def test_down_keeps_data_when_told_so(driver: Driver, before: dict[str, str]) -> None:
    lab, worker = driver.lab, driver.lab.host("w2")
    model = worker.path("/usr/share/ollama/.ollama/models/precious")
    model.write_text("weights")
    ran = driver.run("down", "--yes", "--keep-data", "--limit", "w2")
    assert ran.code == 0, tail(ran)
    left = differences(of(worker, before), footprint(worker))
    assert model.read_text() == "weights"
    assert [what for what in left.splitlines() if "/usr/share/ollama" not in what] == []
    driver.up("--limit", "w2")
    assert model.read_text() == "weights"
    assert is_ready(lab, worker)


def test_down_leaves_nothing_anywhere(driver: Driver, before: dict[str, str]) -> None:
    lab = driver.lab
    driver.up()
    for worker in lab.worker_hosts:  # as root's `b9agent` on a terminal leaves it
        assert worker.exec(["mkdir", "-p", "/run/b9agent-tui/unpacked"]).returncode == 0
    ran = driver.run("down", "--yes")
    assert ran.code == 0, tail(ran)
    assert differences(before, footprint(*lab.hosts)) == ""
    assert machines(lab) == {}
    assert addresses(lab) == []
    for worker in lab.worker_hosts:
        assert processes(worker) == set(), worker.name
        assert ports(worker) == {"22"}, worker.name
        assert "b9agent" not in worker.exec(["ls", "/run"]).stdout, worker.name
    assert ports(lab.gateway) == {"22", "31994"}


def test_a_second_down_changes_nothing(driver: Driver, before: dict[str, str]) -> None:
    ran = driver.run("down", "--yes")
    assert ran.code == 0, tail(ran)
    assert set(ran.changed().values()) == {0}
    assert differences(before, footprint(*driver.lab.hosts)) == ""


def test_down_of_what_was_killed_on_its_way_up(driver: Driver, before: dict[str, str]) -> None:
    run = driver.start("up")
    run.wait_for("task_finished", module="machine", count=2)
    run.kill()
    ran = driver.run("down", "--yes")
    assert ran.code == 0, tail(ran)
    assert differences(before, footprint(*driver.lab.hosts)) == ""
    assert machines(driver.lab) == {}


def test_a_killed_down_is_finished_by_the_next(driver: Driver, before: dict[str, str]) -> None:
    lab = driver.lab
    driver.up("--limit", "w1,w2")
    run = driver.start("down", "--yes")
    run.wait_for("task_started", host="w1", module="tunnel_slot")
    run.kill()
    ran = driver.run("down", "--yes")
    assert ran.code == 0, tail(ran)
    assert differences(before, footprint(*lab.hosts)) == ""
    assert machines(lab) == {}
    assert addresses(lab) == []


def test_down_without_its_gateway_says_what_is_left(driver: Driver, before: dict[str, str]) -> None:
    lab, worker = driver.lab, driver.lab.host("w1")
    driver.up("--limit", "w1")
    address = reverse_address(worker)
    lab.gateway.kill()

    def hurry(data: dict[str, dict[str, object]]) -> None:
        data["gateway"]["connect_timeout"] = 2

    try:
        ran = driver.run("down", "--yes", "--limit", "w1", inventory=driver.inventory(hurry))
    finally:
        lab.gateway.start()
        lab.wait_gateway()
    assert ran.code == 1, tail(ran)
    assert "Traceback" not in ran.text
    assert lab.gateway.address in ran.end("w1")["reason"]
    assert ran.end("w1")["advice"]
    assert left_at(lab) == [address]

    ran = driver.run("down", "--yes", "--limit", "w1")
    assert ran.code == 0, tail(ran)
    assert left_at(lab) == []
    assert differences(before, footprint(*lab.hosts)) == ""


def left_at(lab: Lab) -> list[str]:
    """The addresses that the gateway host has for workers, once it has restored them."""
    return wait_until(lambda: [addresses(lab)], 5, "addresses")[0]
