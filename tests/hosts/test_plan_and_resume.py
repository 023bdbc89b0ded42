"""Plans, records, resumed runs and the lock of a host, with real runs on real hosts."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from driver import Driver, Ran, Running, tail
from looks import assert_one_of_each, is_ready

ONLY_W1 = ("--limit", "w1")
HOLD = """\
- name: Hold
  hosts: workers
  become: true
  tasks:
    - name: hold
      command: sh -c 'mkfifo /run/held 2>/dev/null; read line < /run/held; rm /run/held'
"""


@pytest.fixture(scope="module", autouse=True)
def fresh(driver: Driver) -> None:
    """All hosts as new ones, once."""
    driver.lab.reset_all()


@pytest.fixture
def holding(driver: Driver, tmp_path: Path) -> Iterator[Running]:
    """A run that is at work on w1 until a line is written to /run/held."""
    run = driver.start("play", "-i", str(driver.inventory()), *ONLY_W1, inventory=hold(tmp_path))
    try:
        run.wait_for("task_started", task="hold")
        yield run
    finally:
        run.kill()


def hold(folder: Path) -> Path:
    path = folder / "hold.yaml"
    path.write_text(HOLD)
    return path


def runs(driver: Driver, *words: str) -> Any:
    """`b9prov runs … --output json`."""
    program = str(Path(sys.executable).with_name("b9prov"))
    argv = [program, "runs", *words, "--output", "json"]
    done = subprocess.run(argv, env=driver.env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def left_out(ran: Ran, host: str) -> set[str]:
    """The tasks that were done in an earlier run."""
    return {
        each["task"]
        for each in ran.of("task_finished", host=host, status="skipped")
        if str(each["result"].get("skip_reason", "")).startswith("done in run")
    }


def test_a_plan_for_new_hosts_is_carried_out(driver: Driver, tmp_path: Path) -> None:
    lab, file = driver.lab, tmp_path / "up.plan"
    token = lab.admin_token_path.read_text().strip()
    made = driver.run("plan", "-o", str(file), *ONLY_W1, "--detailed-exitcode")
    assert made.code == 2, tail(made)
    plan = json.loads(file.read_text())
    assert set(plan["hosts"]) == {"w1", "gateway"}
    assert file.stat().st_mode & 0o777 == 0o600
    assert plan["hosts"]["w1"]["facts"]["hostname"] == "w1"
    assert token not in file.read_text()
    assert not lab.host("w1").path("/etc/b9prov").exists()

    done = driver.run("apply", inventory=file)
    assert done.code == 0, tail(done)
    assert is_ready(lab, lab.host("w1"))
    assert_one_of_each(lab, [lab.host("w1")])
    assert "w2" not in done.summary

    again = driver.run("plan", "-o", str(file), *ONLY_W1, "--detailed-exitcode")
    assert again.code == 0, tail(again)
    nothing = driver.run("apply", inventory=file)
    assert nothing.code == 0, tail(nothing)
    assert set(nothing.changed().values()) == {0}
    kept = "".join(p.read_text() for p in (driver.state / "runs").rglob("*") if p.is_file())
    assert token not in kept and "PRIVATE KEY" not in kept


def test_a_host_that_drifted_is_not_touched(driver: Driver, tmp_path: Path) -> None:
    worker, file = driver.lab.host("w1"), tmp_path / "up.plan"
    driver.up(*ONLY_W1)
    config = worker.path("/etc/b9agent/config.yaml")
    was = config.read_text()
    config.write_text(was + "# one\n")
    assert driver.run("plan", "-o", str(file), *ONLY_W1, "--detailed-exitcode").code == 2
    config.write_text(was + "# two\n")
    refused = driver.run("apply", inventory=file)
    assert (refused.code, refused.out) == (1, ""), tail(refused)
    assert "error: w1 is not as planned: task" in refused.err
    assert config.read_text() == was + "# two\n"
    config.write_text(was + "# one\n")
    assert driver.run("apply", inventory=file).code == 0
    assert config.read_text() == was


def test_another_machine_of_the_name_is_not_touched(driver: Driver, tmp_path: Path) -> None:
    worker, file = driver.lab.host("w2"), tmp_path / "up.plan"
    made = driver.run("plan", "-o", str(file), "--limit", "w2")
    assert made.code == 0, tail(made)
    identity = worker.path("/etc/machine-id")
    was = identity.read_text()
    identity.write_text("0123456789abcdef0123456789abcdef\n")
    refused = driver.run("apply", inventory=file)
    identity.write_text(was)
    assert refused.code == 1, tail(refused)
    assert "error: w2 is not as planned: machine_id is" in refused.err
    assert not worker.path("/etc/b9prov").exists()


def test_a_killed_run_is_on_record_and_resumed(driver: Driver) -> None:
    lab, worker = driver.lab, driver.lab.host("w3")
    words = ("--limit", "w3")
    run = driver.start("up", *words)
    run.wait_for("task_finished", module="machine", host="w3")
    run.kill()
    died = runs(driver)["runs"][0]
    assert (died["result"], died["exit_code"]) == ("died", None)
    shown = runs(driver, "show", "last")
    assert "w3" in shown["logs"]["w3"] and "gateway" in shown["logs"]

    resumed = driver.up(*words, "--resume")
    done = left_out(resumed, "w3")
    assert len(done) >= 5, done
    assert not left_out(resumed, "gateway")
    assert is_ready(lab, worker)
    assert_one_of_each(lab, [lab.host("w1"), worker])
    assert runs(driver)["runs"][0]["resumed"] == died["id"]
    # all that was left out was right: a run that looks at everything finds nothing to do
    after = driver.up(*words)
    assert after.changed()["w3"] == 0, [
        each["task"] for each in after.of("task_finished", status="changed")
    ]


def test_what_was_undone_since_is_done_again(driver: Driver) -> None:
    lab, words = driver.lab, ("--limit", "w3")
    driver.up(*words)
    down = driver.run("down", *words, "--yes")
    assert down.code == 0, tail(down)
    resumed = driver.up(*words, "--resume")
    assert not left_out(resumed, "w3")
    assert is_ready(lab, lab.host("w3"))


def test_a_host_at_work_is_told_at_once(driver: Driver, holding: Running, tmp_path: Path) -> None:
    inventory, path = str(driver.inventory()), tmp_path / "other.yaml"
    path.write_text("- hosts: workers\n  become: true\n  tasks: [{command: 'true'}]\n")
    words = ("-i", inventory, *ONLY_W1)
    other = driver.run("play", *words, "--lock-wait", "0", inventory=path)
    assert other.code == 1, tail(other)
    end = other.end("w1")
    assert end["end"] == "unreachable"
    assert "another run is at work here" in end["reason"]
    assert f"process {holding.process.pid}, since 20" in end["reason"]
    assert not other.of("task_started")

    patient = driver.start("play", *words, "--lock-wait", "60", inventory=path)
    waiting = patient.wait_for("host_waiting", host="w1")
    assert ", since 20" in waiting["holder"]
    driver.lab.host("w1").exec(["sh", "-c", "echo > /run/held"])
    assert holding.end().code == 0
    assert patient.end().code == 0


@pytest.mark.parametrize("command", ["up", "down", "play", "apply"])
def test_every_run_can_wait_for_the_lock(driver: Driver, command: str) -> None:
    program = str(Path(sys.executable).with_name("b9prov"))
    shown = subprocess.run([program, command, "--help"], capture_output=True, text=True, timeout=60)
    assert "--lock-wait SECONDS" in shown.stdout
