"""`b9prov web`: what it refuses; what it shows is seen in tests/browser and tests/hosts."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., "subprocess.CompletedProcess[str]"]
INVENTORY = "hosts:\n  w1: {address: 127.0.0.1, port: 1, pool: gpu}\n"
ARGV = [sys.executable, "-c", "from provisioner.cli.main import main; main()", "web"]


@pytest.fixture(autouse=True)
def inventory(folder: Path) -> None:
    (folder / "inventory.yaml").write_text(INVENTORY)


def test_a_port_that_is_taken_is_named(b9prov: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        ran = b9prov("web", "--port", str(port))
    assert ran.returncode == 2 and f"port {port} can't be had on 127.0.0.1" in ran.stderr
    assert "token" not in ran.stdout


def test_what_is_asked_for_must_be_there(b9prov: Run) -> None:
    assert b9prov("web", "nowhere.yaml").returncode == 2
    ran = b9prov("web", "--limit", "w9")
    assert ran.returncode == 2 and "w9" in ran.stderr


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_cleanly_while_a_host_is_being_called(folder: Path, end: signal.Signals) -> None:
    with subprocess.Popen(
        ARGV, cwd=folder, env=dict(os.environ), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as running:
        assert running.stdout and running.stderr
        assert running.stdout.readline().startswith(b"http://127.0.0.1:")
        assert running.stdout.readline() == b"until Ctrl-C\n"
        running.send_signal(end)
        assert running.wait(10) == 0
        assert running.stderr.read() == b"closed\n"
