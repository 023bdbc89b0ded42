"""Asks a vendor's tool, and never hangs with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import subprocess

DEADLINE = 5.0  # seconds


class Said(NamedTuple):
    """What a tool printed, or in `problem` why it said nothing of use."""

    output: str
    problem: str = ""


class Tool:
    """Runs tools one at a time. One that hung in the driver is not started again before it ends."""

    def __init__(self) -> None:
        self._stuck: dict[str, subprocess.Popen[bytes]] = {}

    def has(self, name: str) -> bool:
        """Whether there is such a program."""
        import shutil  # a machine without devices needs neither of these

        return shutil.which(name) is not None

    def ask(self, name: str, *arguments: str) -> Said:
        """What the tool says, waiting for no longer than the deadline."""
        import shutil
        import subprocess

        path = shutil.which(name)
        if path is None:
            return Said("", f"{name} is not installed")
        if not self._recovered(name):
            return Said("", f"{name} still hangs")
        try:
            process = subprocess.Popen(
                [path, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
        except OSError as problem:
            return Said("", f"{path} can't be run: {problem.strerror}")
        try:
            output, _ = process.communicate(timeout=DEADLINE)
        except subprocess.TimeoutExpired:
            process.kill()
            # Stuck in the driver it may outlive the signal: it is looked after at the next try.
            self._stuck[name] = process
            return Said("", f"{path} did not answer within {DEADLINE:g} s")
        if process.returncode:
            return Said("", f"{path} failed with {process.returncode}")
        return Said(output.decode(errors="replace"))

    def _recovered(self, name: str) -> bool:
        process = self._stuck.get(name)
        if process is None:
            return True
        if process.poll() is None:
            return False
        if process.stdout:
            process.stdout.close()
        del self._stuck[name]
        return True
