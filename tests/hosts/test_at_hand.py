"""`b9prov ssh`, `exec` and `logs` on real hosts."""

from __future__ import annotations

import json
import subprocess
import sys
from base64 import b64decode
from pathlib import Path
from typing import Any

import pytest
from driver import Driver, Running, wait_until

from provisioner.ssh.hostkeys import fingerprint_of

PROGRAM = str(Path(sys.executable).with_name("b9prov"))
SECONDS = 60


def b9prov(driver: Driver, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [PROGRAM, *words],
        env=driver.env,
        cwd=driver.home,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )


def sh(driver: Driver, worker: str, script: str) -> str:
    return driver.lab.host(worker).exec(["sh", "-c", script]).stdout


@pytest.mark.parametrize("pinned", ["key", "fingerprint"])
def test_ssh_believes_the_pinned_key_alone(ready: Driver, pinned: str) -> None:
    key = ready.lab.host("w1").host_key
    if pinned == "fingerprint":
        key = fingerprint_of(b64decode(key.split()[1]))

    def pin(data: Any) -> None:
        data["hosts"]["w1"]["host_key"] = key

    done = b9prov(ready, "ssh", str(ready.inventory(pin)), "w1", "--", "hostname; exit 7")
    assert (done.returncode, done.stdout) == (7, "w1\n"), done.stderr

    other = ready.lab.host("w2").host_key
    if pinned == "fingerprint":
        other = fingerprint_of(b64decode(other.split()[1]))

    def mistake(data: Any) -> None:
        data["hosts"]["w1"]["host_key"] = other

    done = b9prov(ready, "ssh", str(ready.inventory(mistake)), "w1", "--", "hostname")
    assert done.returncode and done.stdout == "" and "Traceback" not in done.stderr


def test_exec_shows_who_said_what_and_fails_where_one_does(ready: Driver) -> None:
    inventory = str(ready.inventory())
    done = b9prov(ready, "exec", inventory, "w1,w2", "--", "sh", "-c", "id -un; hostname")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["w1 | root", "w1 | w1", "w2 | root", "w2 | w2"]
    odd = "a $HOME `b` 'c'"
    done = b9prov(ready, "exec", inventory, "w1", "--", "printf", "%s", odd)
    assert done.stdout == f"w1 | {odd}\n"
    script = "hostname | grep -q w1 && exit 3; echo fine"
    done = b9prov(ready, "exec", inventory, "all", "--output", "json", "--", "sh", "-c", script)
    rows = {row["name"]: row for row in json.loads(done.stdout)["hosts"]}
    assert done.returncode == 1 and rows["w1"]["rc"] == 3 and rows["w3"]["stdout"] == "fine"
    done = b9prov(ready, "exec", inventory, "w1", "--", "no-such-program")
    assert done.returncode == 1 and "No such file" in done.stdout


def test_logs_are_of_one_part_or_of_all(ready: Driver) -> None:
    inventory = str(ready.inventory())
    tunnel = b9prov(ready, "logs", inventory, "w1", "tunnel")
    assert tunnel.returncode == 0 and "SSH tunnel between" in tunnel.stdout, tunnel.stderr
    assert "b9agent" not in tunnel.stdout
    assert "b9agent" in b9prov(ready, "logs", inventory, "w1", "-n", "500").stdout
    done = b9prov(ready, "logs", inventory, "w1", "--since", "no such time")
    assert done.returncode == 1 and "Failed to parse timestamp" in done.stdout


def test_logs_follow_until_interrupted_and_leave_nothing_running(ready: Driver) -> None:
    words = ("logs", str(ready.inventory()), "w1", "agent", "-f", "-n", "0")
    running = Running([PROGRAM, *words], ready.env)
    wait_until(lambda: sh(ready, "w1", "pgrep -f '^journalctl.*follow'"), SECONDS, "journalctl")
    sh(ready, "w1", "systemctl restart b9agent")
    running.wait_for_line("Started b9agent.service")
    running.interrupt()
    assert running.end(SECONDS).code == 130
    wait_until(
        lambda: not sh(ready, "w1", "pgrep -f '^journalctl.*follow'"),
        SECONDS,
        "its journalctl's end",
    )


@pytest.mark.parametrize("command", [("ssh",), ("logs",)])
def test_one_host_is_to_be_named(ready: Driver, command: tuple[str, ...]) -> None:
    done = b9prov(ready, *command, str(ready.inventory()), "all")
    assert done.returncode == 2 and "3 hosts; name one" in done.stderr
