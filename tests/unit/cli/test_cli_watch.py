"""`b9prov status --watch`: who is asked when, what is drawn, how it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from terminal_process import Terminal

from provisioner.cli.watching import Watch, line, picture

Row = dict[str, Any]
PROGRAM = [sys.executable, "-c", "from provisioner.cli.main import main; main()"]
PATIENCE = 20.0


def row(name: str, ssh: str = "ok", **more: Any) -> Row:
    return {"name": name, "ready": ssh == "ok", "ssh": ssh, "last_keepalive_age": 3.0, **more}


class Fleet:
    """Hosts of which some are away; asking one of those takes until `release`."""

    def __init__(self) -> None:
        self.away: set[str] = set()
        self.release = threading.Event()
        self.asked: list[list[str]] = []

    def ask(self, names: list[str], see: Callable[[Row], None]) -> None:
        self.asked.append(names)
        for name in names:
            if name in self.away:
                see(row(name, "down", reason="gone", last_keepalive_age=None))
            else:
                see(row(name))
        if self.away & set(names):
            self.release.wait(PATIENCE)


def until(watch: Watch, probe: Callable[[dict[str, Row]], bool]) -> dict[str, Row]:
    for _ in range(200):
        rows = {each["name"]: each for each in watch.rows()}
        if probe(rows):
            return rows
        watch.wait(0.1)
    raise AssertionError(watch.rows())


def test_a_host_that_is_gone_keeps_nobody_waiting_and_comes_back() -> None:
    fleet = Fleet()
    watch = Watch(["w1", "w2"], fleet.ask, 0.01)
    watch.start()
    watch.wait_for_all()
    fleet.away = {"w2"}
    rows = until(watch, lambda rows: rows["w2"]["ssh"] == "down")
    assert rows["w2"]["reason"] == "gone"
    fleet.release.set()  # the round in which it went
    until(watch, lambda rows: ["w1"] in fleet.asked and ["w2"] in fleet.asked)
    fleet.release.clear()  # from now on its own rounds hang
    before = fleet.asked.count(["w1"])
    until(watch, lambda rows: fleet.asked.count(["w1"]) > before + 2)
    fleet.away = set()
    fleet.release.set()
    until(watch, lambda rows: rows["w2"]["ssh"] == "ok")


def test_what_goes_wrong_is_raised_where_it_is_shown() -> None:
    def ask(names: list[str], see: Callable[[Row], None]) -> None:
        raise ValueError("no such luck")

    watch = Watch(["w1"], ask, 1)
    watch.start()
    watch.wait_for_all()
    with pytest.raises(ValueError, match="no such luck"):
        watch.rows()


def test_keepalives_age_between_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    watch = Watch(["w1"], lambda names, see: see(row("w1")), 60)
    watch.start()
    watch.wait_for_all()
    now = __import__("time").monotonic()
    monkeypatch.setattr("provisioner.cli.watching.time.monotonic", lambda: now + 10)
    assert watch.rows()[0]["last_keepalive_age"] == pytest.approx(13, abs=1)


def test_the_picture_and_the_line() -> None:
    rows = [row("w1", k3s="active, cordoned"), row("w2", "down", reason="no \x1b[2Jroute")]
    console = Console(width=120, file=open(os.devnull, "w"), record=True)  # noqa: SIM115
    console.print(picture(rows, 5, console))
    shown = console.export_text()
    assert "1 of 2 ready" in shown and "cordoned" in shown and "every 5 s" in shown
    assert "\x1b" not in shown and "ADDRESS" in shown.upper()
    console = Console(width=60, file=open(os.devnull, "w"), record=True)  # noqa: SIM115
    console.print(picture(rows, 5, console))
    titles, *_ = console.export_text().splitlines()
    assert titles.split()[:5] == ["name", "ready", "ssh", "tunnel", "agent"]
    assert "address" not in titles and "…" not in titles
    assert line(rows[0]) == (
        "w1 ready=yes ssh=ok tunnel=- agent=- gateway=- k3s=active,cordoned ollama=- keepalive=3s"
    )
    assert line(rows[1]).endswith("route)") and "\x1b" not in line(rows[1])


@pytest.fixture
def words(local: Path, playbook: Callable[..., Path]) -> list[str]:
    tasks = "    - set_fact:\n        b9_status: {ready: true, machine_id: 5f3e2a11}\n"
    own = str(playbook(tasks, "own/status.yaml").parent)
    return [*PROGRAM, "status", "--watch", "--interval", "0.2", "--playbooks", own]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_without_a_terminal_lines_are_repeated_until_it_is_interrupted(
    words: list[str], number: int
) -> None:
    with subprocess.Popen(
        [*words, "--output", "json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout and process.stderr
        rounds = [json.loads(process.stdout.readline()) for _ in range(3)]
        process.send_signal(number)
        assert process.wait(PATIENCE) == 0
        assert process.stderr.read() == ""
    assert [each["hosts"][0]["machine_id"] for each in rounds] == ["5f3e2a11"] * 3
    assert len({each["time"] for each in rounds}) == 3


def test_a_reader_that_left_ends_it(words: list[str]) -> None:
    reader = f"{' '.join(map(repr, words))} | head -n 1"
    done = subprocess.run(["bash", "-c", reader], capture_output=True, text=True, timeout=PATIENCE)
    assert "localhost ready=yes" in done.stdout and done.stderr == ""


def test_on_a_terminal_it_is_redrawn_and_the_terminal_left_as_it_was(
    words: list[str], folder: Path
) -> None:
    terminal = Terminal(words, dict(os.environ), folder)
    terminal.wait_for("1 of 1 ready", "Ctrl-C ends")
    drawn = terminal.raw.count("Ctrl-C ends")
    while terminal.raw.count("Ctrl-C ends") < drawn + 2:
        assert terminal.process.poll() is None
        time.sleep(0.02)
    terminal.process.send_signal(signal.SIGINT)
    assert terminal.end() == 0
    assert terminal.is_sane, repr(terminal.raw[-500:])
    assert "Traceback" not in terminal.text
