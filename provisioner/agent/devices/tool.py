"""Asks a vendor's tool, and never hangs with it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from provisioner.agent.log import one_line

if TYPE_CHECKING:
    import subprocess

DEADLINE = 5.0  # seconds


class Said(NamedTuple):
    """What a tool printed, or in `problem` why it said nothing of use; `hung` where it had to be
    given up."""

    output: str
    problem: str = ""
    hung: bool = False


class Tool:
    """Runs tools one at a time. One that hung in the driver is not started again before it ends."""

    def __init__(self) -> None:
        self._stuck: dict[str, subprocess.Popen[bytes]] = {}

    def has(self, name: str) -> bool:
        """Whether there is such a program."""
        return _which(name) is not None

    def ask(self, name: str, *arguments: str, called: str = "") -> Said:
        """What the tool says, waiting for no longer than the deadline.

        `called` is what people are told that it is, where it is not its path.
        """
        import subprocess  # a machine without devices does not need it

        path, shown = _which(name), called or name
        if path is None:
            return Said("", f"{shown} is not installed")
        if not self._recovered(shown):
            return Said("", f"{shown} still hangs", hung=True)
        shown = called or path
        try:
            process = subprocess.Popen(
                [path, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
        except OSError as problem:
            return Said("", f"{shown} can't be run: {problem.strerror}")
        try:
            output, _ = process.communicate(timeout=DEADLINE)
        except subprocess.TimeoutExpired:
            process.kill()
            # Stuck in the driver it may outlive the signal: it is looked after at the next try.
            self._stuck[called or name] = process
            return Said("", f"{shown} did not answer within {DEADLINE:g} s", hung=True)
        text = output.decode(errors="replace")
        if process.returncode:
            why = f": {one_line(text, 100)}" if text.strip() else ""
            return Said("", f"{shown} failed with {process.returncode}{why}")
        return Said(text)

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


def _which(name: str) -> str | None:
    """Where the program is. Not `shutil.which`: a megabyte, on machines without devices too."""
    for folder in os.get_exec_path():
        path = os.path.join(folder, name)
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    return None
