"""The main job: bare hosts become ready workers, and again changes nothing."""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest
from driver import Driver, Json, Ran, tail, wait_until
from looks import (
    assert_one_of_each,
    dial,
    differences,
    footprint,
    is_ready,
    leaks,
    machine_id,
    machines,
    secrets_of,
    world_readable,
)

from provisioner.lab import Host, Lab

SAMPLE_SECONDS = 0.01


@dataclass
class CommandLines:
    """Command lines of this machine's processes, those in lab hosts among them."""

    seen: set[bytes] = field(default_factory=set)

    def sample(self) -> None:
        for process in Path("/proc").iterdir():
            if process.name.isdecimal():
                try:
                    self.seen.add((process / "cmdline").read_bytes())
                except OSError:
                    continue

    @property
    def text(self) -> str:
        return b"\n".join(self.seen).replace(b"\0", b" ").decode(errors="replace")


@contextmanager
def sampling() -> Iterator[CommandLines]:
    """Collect command lines in the background."""
    lines, ended = CommandLines(), threading.Event()

    def loop() -> None:
        while not ended.wait(SAMPLE_SECONDS):
            lines.sample()

    thread = threading.Thread(target=loop, daemon=True)
    thread.start()
    try:
        yield lines
    finally:
        ended.set()
        thread.join(10)


def logins(host: Host) -> int:
    """How often somebody has logged in to a host as the user of the inventory."""
    journal = host.exec(["journalctl", "-u", "ssh", "-o", "cat", "--no-pager"]).stdout
    return len(re.findall(r"^Accepted publickey for admin from", journal, re.MULTILINE))


def with_job(lab: Lab, worker: Host) -> Json | None:
    """How the gateway's dial of a worker went, once it has made a Job there."""
    found = dial(lab, machine_id(worker))
    return found if found.get("job") else None


@dataclass(frozen=True)
class First:
    """The first `up` of new hosts, with all that it may say, and what was seen meanwhile."""

    driver: Driver
    ran: Ran
    logins: dict[str, int]
    command_lines: str

    @property
    def lab(self) -> Lab:
        return self.driver.lab


@pytest.fixture(scope="module")
def first(driver: Driver) -> First:
    lab = driver.lab
    lab.reset_all()
    with sampling() as lines:
        ran = driver.up("-vv", "--diff")
    return First(driver, ran, {host.name: logins(host) for host in lab.hosts}, lines.text)


def test_bare_hosts_become_ready_at_the_gateway(first: First) -> None:
    lab = first.lab
    assert all(count > 0 for count in first.ran.changed().values())
    assert {machine["status"] for machine in machines(lab).values()} == {"ready"}
    for worker in lab.worker_hosts:
        assert is_ready(lab, worker)
    assert_one_of_each(lab, lab.worker_hosts)


def test_the_gateway_has_a_job_admitted_through_every_workers_tunnel(first: First) -> None:
    lab = first.lab
    for worker in lab.worker_hosts:
        found = wait_until(partial(with_job, lab, worker), 20, f"a Job on {worker.name}")
        assert found["dial"]["ok"], found
        jobs = worker.exec(["k3s", "kubectl", "-n", "default", "get", "jobs", "-o", "json"])
        names = [job["metadata"]["name"] for job in json.loads(jobs.stdout)["items"]]
        assert found["job"] in names


def test_one_ssh_connection_per_host(first: First) -> None:
    assert first.logins == {host.name: 1 for host in first.lab.hosts}
    connected = sorted(event["host"] for event in first.ran.of("host_connected"))
    assert connected == sorted(first.logins)


def test_a_second_up_changes_nothing_anywhere(first: First) -> None:
    before = footprint(*first.lab.hosts)
    again = first.driver.up()
    assert again.changed() == {host.name: 0 for host in first.lab.hosts}
    assert differences(before, footprint(*first.lab.hosts)) == ""


def test_no_secret_is_said(first: First) -> None:
    assert leaks(first.ran.text, secrets_of(first.lab)) == set()
    assert "ExecStart" in first.ran.out  # the differences were shown


@pytest.mark.parametrize("output", ["plain", "rich"])
def test_no_secret_is_shown_to_people(first: First, output: str) -> None:
    lab = first.lab
    old = secrets_of(lab)
    lab.reset(lab.host("w3"))
    ran = first.driver.up("--limit", "w3", "-vv", "--diff", "--output", output)
    assert leaks(ran.text, {**old, **{f"new {k}": v for k, v in secrets_of(lab).items()}}) == set()
    assert re.search(r"\+\s*ExecStart=/usr/local/lib/b9prov/tunnel", ran.out)
    assert_one_of_each(lab, lab.worker_hosts)


def test_no_secret_is_in_a_command_line(first: First) -> None:
    assert "kubectl -n default get secret" in first.command_lines  # the sampling sees the hosts
    assert leaks(first.command_lines, secrets_of(first.lab)) == set()


def test_no_secret_is_in_a_journal(first: First) -> None:
    secrets = secrets_of(first.lab)
    for host in first.lab.hosts:
        journal = host.exec(["journalctl", "--no-pager", "-o", "export"]).stdout
        assert "sshd" in journal
        assert leaks(journal, secrets) == set(), host.name


def test_no_secret_is_in_a_file_that_everybody_can_read(first: First) -> None:
    secrets = secrets_of(first.lab)
    # not the host's, but what a test could not fail by: the search finds what is there
    probe = first.lab.host("w1").path("/etc/probe-of-the-search")
    probe.write_text(secrets["admin token"])
    probe.chmod(0o644)
    try:
        found = {
            (host.name, path.name)
            for host in first.lab.hosts
            for path in world_readable(host)
            if leaks(path.read_bytes().decode(errors="replace"), secrets)
        }
    finally:
        probe.unlink()
    assert found == {("w1", probe.name)}


def test_no_secret_is_kept_by_the_controller(first: First) -> None:
    secrets = secrets_of(first.lab)
    kept = [
        Path(folder) / name
        for folder, _, names in os.walk(first.driver.home)
        for name in names
        if leaks((Path(folder) / name).read_bytes().decode(errors="replace"), secrets)
    ]
    assert kept == []


@pytest.fixture(scope="module")
def bare(driver: Driver) -> Driver:
    driver.lab.reset_all()
    return driver


def test_check_predicts_changes_and_touches_nothing(bare: Driver) -> None:
    lab = bare.lab
    before = footprint(*lab.hosts)
    ran = bare.run("up", "--check")
    assert ran.code == 0, tail(ran)
    assert differences(before, footprint(*lab.hosts)) == ""
    assert machines(lab) == {}
    # what a later step can't foretell, such as a started service, is left out
    assert all(count >= 5 for count in ran.changed().values()), ran.changed()
    predicted = {e["task"] for e in ran.of("task_finished", host="w1", status="changed")}
    done = bare.up("--limit", "w1")
    assert predicted <= {e["task"] for e in done.of("task_finished", host="w1", status="changed")}


def test_check_of_ready_hosts_finds_nothing_to_change(bare: Driver) -> None:
    bare.up()
    assert set(bare.up("--check").changed().values()) == {0}


def test_check_and_diff_show_how_a_file_would_change(bare: Driver) -> None:
    unit = "/etc/systemd/system/ollama.service"
    path = bare.lab.host("w2").path(unit)
    path.write_text(path.read_text().replace("RestartSec=3", "RestartSec=33"))
    ran = bare.run("up", "--check", "--diff", "--output", "plain", "--limit", "w2")
    assert ran.code == 0, tail(ran)
    assert "RestartSec=33" in path.read_text()
    for line in ("-RestartSec=33", "+RestartSec=3", "@@"):
        assert re.search(rf"^\s*{re.escape(line)}", ran.out, re.MULTILINE), ran.out
    mended = bare.up("--limit", "w2")
    assert "RestartSec=33" not in path.read_text()
    assert mended.changed()["w2"] >= 1
