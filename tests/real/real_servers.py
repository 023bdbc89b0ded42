"""What the tests of real servers share."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from provisioner.lab import artifacts


@dataclass(frozen=True)
class Mirror:
    """A folder of artifacts as the lab's mirror serves it."""

    folder: Path
    manifest: artifacts.Manifest

    def file(self, name: str) -> Path:
        """The artifact of this name for this machine."""
        wanted = [entry for key, entry in self.manifest.items() if key.startswith(f"{name}-")]
        return self.folder / wanted[0]["file"]


def unpack_ollama(archive: Path, folder: Path) -> Path:
    """The program of an Ollama archive, unpacked into `folder`."""
    with tarfile.open(archive) as files:
        files.extractall(folder, filter="data")
    return folder / "bin" / "ollama"


@contextmanager
def running(
    command: list[str | Path], log: Path, environment: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A server that is ended afterwards, with all that it started, and whose log shows in a failing
    test."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        print(f"--- {log.name}\n{log.read_text(errors='replace')[-3000:]}")


def eventually(check: Callable[[], bool], what: str, seconds: float = 30) -> None:
    """Return once `check` holds; fail when it does not in time."""
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.05)


def accepts(host: str, port: int) -> bool:
    """Whether somebody listens there."""
    try:
        socket.create_connection((host, port), timeout=2).close()
    except OSError:
        return False
    return True


def received(host: str, port: int) -> bytes:
    """All that somebody who listens there sends before closing."""
    with socket.create_connection((host, port), timeout=10) as connection:
        parts = iter(lambda: connection.recv(1000), b"")
        return b"".join(parts)
