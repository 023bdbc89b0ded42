"""`b9prov dashboard`: where there is a terminal, and where there is none."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from terminal_process import Terminal

Run = Callable[..., "CompletedProcess[str]"]
INVENTORY = """\
hosts:
  w1: {address: 127.0.0.1, port: 1, pool: gpu}
  w2: {address: 127.0.0.1, port: 2, pool: gpu}
  w3: {address: 127.0.0.1, port: 3, pool: gpu, agent: {control_port: 0}}
"""
ARGV = [sys.executable, "-c", "from provisioner.cli.main import main; main()", "dashboard"]


@pytest.fixture
def start(folder: Path) -> Iterator[Callable[..., Terminal]]:
    """Starts it on a terminal."""
    started: list[Terminal] = []

    def begin(*words: str) -> Terminal:
        started.append(Terminal([*ARGV, *words], dict(os.environ), folder))
        return started[-1]

    yield begin
    for terminal in started:
        if terminal.process.poll() is None:
            terminal.process.kill()
        terminal.process.wait()


def test_without_a_terminal_it_points_to_status(b9prov: Run, folder: Path) -> None:
    (folder / "inventory.yaml").write_text(INVENTORY)
    done = b9prov("dashboard")
    assert (done.returncode, done.stdout) == (2, "")
    assert "b9prov status" in done.stderr and len(done.stderr.splitlines()) == 1


def test_hosts_out_of_reach_say_why(start: Callable[..., Terminal], folder: Path) -> None:
    (folder / "inventory.yaml").write_text(INVENTORY)
    terminal = start()
    terminal.wait_for("3 workers", "unreachable", "nothing answers at", "127.0.0.1:1")
    terminal.press("q")
    assert terminal.end() == 0 and terminal.is_sane


def test_a_limit_and_a_worker_whose_api_is_off(
    start: Callable[..., Terminal], folder: Path
) -> None:
    (folder / "inventory.yaml").write_text(INVENTORY)
    terminal = start("inventory.yaml", "--limit", "w3")
    terminal.wait_for("1 worker ", "its control API is off (agent.control_port: 0)")
    terminal.press("\x03")
    assert terminal.end() == 0 and terminal.is_sane


@pytest.mark.parametrize(
    ("text", "words", "said"),
    [
        ("hosts: [}\n", [], "inventory.yaml"),
        (INVENTORY, ["--limit", "nobody"], "nobody"),
        (INVENTORY, ["other.yaml"], "other.yaml"),
    ],
)
def test_bad_input_is_told_before_anything_is_drawn(
    start: Callable[..., Terminal], folder: Path, text: str, words: list[str], said: str
) -> None:
    (folder / "inventory.yaml").write_text(text)
    terminal = start(*words)
    assert terminal.end() == 2
    terminal.wait_for("error: ", said)
    assert "\x1b[?1049h" not in terminal.raw
