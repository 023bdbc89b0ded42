"""Hosts that are down, fail or die on the way: the others finish, and it is said how to go on."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from xml.etree import ElementTree

from driver import Driver, tail
from looks import assert_one_of_each, is_ready

from provisioner.lab import Host

LOST_SECONDS = 75.0  # a connection that went silent is given up in about a minute


@contextmanager
def full_disk(host: Host, directory: str) -> Iterator[None]:
    """While nothing more fits into a directory."""
    size = ["mount", "-t", "tmpfs", "-o", "size=8k", "tmpfs", directory]
    assert host.exec(size).returncode == 0
    try:
        yield
    finally:
        assert host.exec(["umount", directory]).returncode == 0


def test_the_others_finish_and_the_retry_command_mends_the_rest(
    driver: Driver, tmp_path: Path
) -> None:
    """One host's disk is full, and one vanishes on the way."""
    lab = driver.lab
    lab.reset_all()
    full, lost, well = lab.worker_hosts
    inventory, junit = driver.inventory(), tmp_path / "junit.xml"
    with full_disk(full, "/usr/local"):
        run = driver.start("up", "--junit", str(junit), inventory=inventory)
        run.wait_for("task_started", host=lost.name, count=8)
        lost.cut_link()
        ran = run.end(LOST_SECONDS)
    assert ran.code == 1, tail(ran)
    assert "Traceback" not in ran.text
    assert is_ready(lab, well)
    assert_one_of_each(lab, [well])

    counts = ran.summary
    assert counts[well.name]["failed"] == 0
    assert counts[full.name]["failed"] == 1
    assert not counts[full.name]["unreachable"]
    assert counts[lost.name]["unreachable"]
    assert ran.end(well.name)["end"] == "well"
    assert ran.end(lost.name)["reason"]
    assert ran.end(lost.name)["advice"]
    assert "only 0 MiB are free" in ran.end(full.name)["reason"]
    assert ran.end(full.name)["reason"].startswith("Ollama ")
    assert "free space" in ran.end(full.name)["advice"]
    failures = ElementTree.parse(junit).getroot().iter("testcase")
    assert any(case.find("failure") is not None for case in failures)

    (finished,) = ran.of("run_finished")
    words = shlex.split(finished["retry"])
    limit = words[words.index("--limit") + 1]
    assert Path(limit.removeprefix("@")).read_text().split() == [full.name, lost.name]
    lost.kill()
    lost.start()
    # the command as it was shown, but for the program's name and with JSON lines
    assert words[:3] == ["b9prov", "up", str(inventory)]
    again = driver.run("up", *words[3:], inventory=inventory)
    assert again.code == 0, tail(again)
    assert sorted(again.summary) == sorted([full.name, lost.name, "gateway"])
    assert_one_of_each(lab, lab.worker_hosts)
    assert all(is_ready(lab, worker) for worker in lab.worker_hosts)
    assert not Path(limit.removeprefix("@")).exists()


def test_people_are_told_which_host_why_and_what_to_do(driver: Driver) -> None:
    down = driver.lab.host("w2")
    down.kill()
    try:
        ran = driver.run("up", "--check", "--output", "plain", "-e", "connect_timeout=2")
    finally:
        down.start()
    assert ran.code == 1, tail(ran)
    assert f"w2 unreachable: no answer from {down.address}:22" in ran.out or (
        f"w2 unreachable: nothing answers at {down.address}:22" in ran.out
    ), ran.out
    assert "1 of 4 hosts failed; the other 3 hosts finished" in ran.out
    assert "retry just those: b9prov up" in ran.out
    assert "firewall" in ran.out


def test_a_run_whose_shell_is_ended_on_the_host_says_so(driver: Driver) -> None:
    worker = driver.lab.host("w1")
    driver.lab.reset(worker)
    run = driver.start("up", "--limit", "w1")
    run.wait_for("task_started", host="w1", count=8)
    assert worker.exec(["pkill", "-KILL", "-u", "admin", "sshd"]).returncode == 0
    ran = run.end(30)
    assert ran.code == 1, tail(ran)
    assert ran.end("w1")["end"] == "unreachable"
    assert ran.end("w1")["advice"]
    assert "Traceback" not in ran.text
    driver.up("--limit", "w1")
    assert is_ready(driver.lab, worker)
