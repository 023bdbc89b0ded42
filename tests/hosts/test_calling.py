"""Hosts are called before the playbook is checked, and keep the program for the next run."""

from __future__ import annotations

from pathlib import Path

import pytest
from driver import Driver, Ran, tail, wait_until

from provisioner.lab import Host

FOLDER = "/run/b9prov"
GOOD = "    - copy: {content: there, dest: /srv/there}\n"
BAD = GOOD + "    - copy: {content: there, nonsense: /srv/there}\n"


@pytest.fixture
def host(driver: Driver) -> Host:
    """w1 as a new host."""
    worker = driver.lab.host("w1")
    driver.lab.reset(worker)
    return worker


def play(driver: Driver, tasks: str, *words: str) -> Ran:
    path = driver.home / "play.yaml"
    path.write_text(f"- hosts: w1\n  become: true\n  tasks:\n{tasks}")
    return driver.run("play", "-i", str(driver.inventory()), *words, inventory=path)


def kept(host: Host) -> list[str]:
    """The names and modes of what runs have left in memory."""
    found = host.exec(["find", FOLDER, "-type", "f", "-printf", "%f %m\n"])
    return sorted(found.stdout.split("\n")[:-1]) if found.returncode == 0 else []


def no_runner(host: Host) -> bool:
    return host.exec(["pgrep", "-f", "B9BOOT"]).returncode == 1


def test_a_wrong_playbook_leaves_the_hosts_that_were_called_alone(
    driver: Driver, host: Host
) -> None:
    ran = play(driver, BAD)
    assert ran.code == 2, tail(ran)
    assert "nonsense" in ran.err and not ran.out
    assert wait_until(lambda: no_runner(host), 10, "the end of the runner")
    assert kept(host) == []
    assert not host.path("/srv/there").exists()


def test_a_host_that_is_called_in_vain_is_not_waited_for(driver: Driver, host: Host) -> None:
    """Nobody answers at the address; the playbook is refused at once all the same."""
    inventory = driver.inventory(lambda data: data["hosts"]["w1"].update(address="10.198.255.250"))
    path = driver.home / "play.yaml"
    path.write_text(f"- hosts: w1\n  tasks:\n{BAD}")
    ran = driver.run("play", "-i", str(inventory), inventory=path)
    assert ran.code == 2, tail(ran)
    assert ran.seconds < 8  # it would take 10 to give the host up


def test_the_next_run_need_not_compile_the_program(driver: Driver, host: Host) -> None:
    def mark() -> str:
        return host.exec(["stat", "-c", "%i %Y", f"{FOLDER}/{program}"]).stdout

    assert play(driver, GOOD, "--check").code == 0
    assert [name.split("-")[0] for name in kept(host)] == ["lock 644"]  # --check leaves nothing
    ran = play(driver, GOOD)
    assert ran.changed()["w1"] == 1, tail(ran)
    wait_until(lambda: len(kept(host)) == 2, 10, "the program that is kept")
    program, mode = kept(host)[1].split()
    assert program.startswith("runner-") and mode == "600"
    before = mark()
    assert play(driver, GOOD).changed()["w1"] == 0
    assert mark() == before


@pytest.mark.parametrize("damage", ["truncate -s 100", "truncate -s 0", "chmod 666", "chown 1000"])
def test_a_kept_program_that_is_not_as_it_was_left_is_not_run(
    driver: Driver, host: Host, damage: str
) -> None:
    assert play(driver, GOOD).code == 0
    wait_until(lambda: len(kept(host)) == 2, 10, "the program that is kept")
    program = kept(host)[1].split()[0]
    assert host.exec(["sh", "-c", f"{damage} {Path(FOLDER, program)}"]).returncode == 0
    ran = play(driver, GOOD)
    assert ran.code == 0 and ran.changed()["w1"] == 0, tail(ran)
    wait_until(lambda: kept(host)[1] == f"{program} 600", 10, "a good one in its place")


def test_where_there_is_no_room_for_the_program_it_is_not_kept(driver: Driver, host: Host) -> None:
    full = f"mkdir -p {FOLDER} && mount -t tmpfs -o size=16k tmpfs {FOLDER}"
    assert host.exec(["sh", "-c", full]).returncode == 0
    for changed in (1, 0):
        ran = play(driver, GOOD)
        assert ran.code == 0 and ran.changed()["w1"] == changed, tail(ran)
    wait_until(lambda: no_runner(host), 10, "the end of the runner")
    assert kept(host) == ["lock 644"]
