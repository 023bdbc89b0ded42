"""The zipapp as a process with a home of its own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

TOKEN = "-V38VmachineTOKEN=="  # a token may begin with a dash
K3S_TOKEN = "k3s-bearer-token-67890"


class Agent:
    """Starts the zipapp with a home of its own."""

    def __init__(self, zipapp: Path, home: Path) -> None:
        self.zipapp = zipapp
        self.home = home
        self.state_file = home / "run" / "state.json"
        self.processes: list[subprocess.Popen[str]] = []
        self.wrapper: list[str] = []
        self.environment = {
            "HOME": str(home),
            "PATH": os.environ["PATH"],
            "RUNTIME_DIRECTORY": str(home / "run"),
        }

    def configure(self, port: int, **extra: Any) -> Path:
        path = self.home / "config.yaml"
        document = {
            "gateway": {"host": "127.0.0.1", "port": port},
            "machine": {"id": "e13daa82", "token": TOKEN, "hostname": "10.199.0.7"},
            "pool": "gpu",
            "k3s": {"token": K3S_TOKEN},
            "inference": {"port": 1},
            "control": {"port": 0},
            **extra,
        }
        path.write_text(json.dumps(document))
        path.chmod(0o600)
        return path

    def start(self, *arguments: str | Path, **environment: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [*self.wrapper, sys.executable, "-I", str(self.zipapp), *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**self.environment, **environment},
            cwd=self.home,
        )
        self.processes.append(process)
        return process

    def finish(self, *arguments: str | Path, **environment: str) -> tuple[int, str, str]:
        process = self.start(*arguments, **environment)
        out, err = process.communicate(timeout=30)
        return process.returncode, out, err

    def state(self) -> dict[str, Any]:
        return json.loads(self.state_file.read_text())

    def wait_for_state(self, wanted: str, timeout: float = 20) -> dict[str, Any]:
        """Wait until the state file says `wanted`."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                if self.state()["state"] == wanted:
                    return self.state()
            threading.Event().wait(0.02)
        raise AssertionError(f"not {wanted}: {self.state()}")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


def stop(process: subprocess.Popen[str], number: int = signal.SIGTERM) -> tuple[str, str, float]:
    began = time.monotonic()
    process.send_signal(number)
    out, err = process.communicate(timeout=10)
    return out, err, time.monotonic() - began
