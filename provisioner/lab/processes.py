"""Processes that outlive the command that started them, found again without mistaking a pid."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from provisioner.lab.machine import LabError

# Writes its own line of /proc before it becomes the program, so that there is no moment in which
# the program runs and no file says which process it is. The pipe that is its output until then
# tells `launch` that this is done.
_LAUNCH = """
log=$1 record=$2; shift 2
(read -r stat </proc/self/stat && echo "$stat" >"$record" && exec "$@" >>"$log" 2>&1) </dev/null &
"""
_ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}


@dataclass(frozen=True)
class Process:
    """One process for good: a pid alone may be another's tomorrow, with its start it is not."""

    pid: int
    started: int

    @classmethod
    def of(cls, pid: int) -> Process | None:
        """The process that has this pid now."""
        try:
            return cls._parse(Path(f"/proc/{pid}/stat").read_text())
        except (FileNotFoundError, ProcessLookupError):
            return None

    @classmethod
    def recorded(cls, record: Path) -> Process | None:
        """The process that a record of `launch` names, if it still runs."""
        try:
            process = cls._parse(record.read_text())
        except FileNotFoundError:
            return None
        return process if process and process.alive() else None

    @classmethod
    def _parse(cls, stat: str) -> Process | None:
        """From a line of /proc/PID/stat, where the second field may itself hold spaces."""
        before, _, after = stat.rpartition(")")
        fields = after.split()
        if len(fields) < 20 or fields[0] in "ZX":
            return None
        return cls(int(before.split()[0]), int(fields[19]))

    def alive(self) -> bool:
        """Whether it runs; a zombie does not."""
        return Process.of(self.pid) == self

    def send(self, number: int) -> None:
        """Send a signal, unless the process is gone."""
        with contextlib.suppress(ProcessLookupError):
            if self.alive():
                os.kill(self.pid, number)

    def wait(self, seconds: float) -> bool:
        """Whether it ended in time."""
        try:
            descriptor = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return True
        try:
            if not self.alive():
                return True
            poll = select.poll()
            poll.register(descriptor, select.POLLIN)
            return bool(poll.poll(seconds * 1000))
        finally:
            os.close(descriptor)

    def end(self, number: int = signal.SIGTERM, seconds: float = 5) -> None:
        """Send a signal that ends it, and make it end when it does not in time."""
        self.send(number)
        if not self.wait(seconds):
            self.send(signal.SIGKILL)
            if not self.wait(seconds):
                raise LabError(f"process {self.pid} does not die")

    def children(self) -> list[Process]:
        """The direct children of its main thread."""
        try:
            pids = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        except (FileNotFoundError, ProcessLookupError):
            return []
        return [process for pid in pids if (process := Process.of(int(pid)))]

    def arguments(self) -> list[str]:
        """Its command line."""
        try:
            return Path(f"/proc/{self.pid}/cmdline").read_text(errors="replace").split("\0")
        except (FileNotFoundError, ProcessLookupError):
            return []

    def seconds(self) -> float:
        """How long it has been running."""
        since_boot = time.clock_gettime(time.CLOCK_BOOTTIME)
        return since_boot - self.started / os.sysconf("SC_CLK_TCK")


def running() -> list[Process]:
    """All processes of this machine."""
    pids = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())
    return [process for pid in pids if (process := Process.of(pid))]


def launch(argv: Sequence[str | Path], *, record: Path, log: Path) -> None:
    """Start a program that belongs to nobody: own session, no terminal, nothing inherited."""
    record.unlink(missing_ok=True)
    words = [str(word) for word in argv]
    subprocess.run(
        ["sh", "-c", _LAUNCH, "launch", str(log), str(record), *words],
        stdin=subprocess.DEVNULL,
        env=_ENVIRONMENT,
        cwd="/",
        start_new_session=True,
        stdout=subprocess.PIPE,
        check=True,
        timeout=30,
    )
