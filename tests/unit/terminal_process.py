"""A process on a pseudo-terminal, and what it has written there."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

PATIENCE = 30.0
ON_ITS_WAY = 2.0  # seconds that what was written takes at the most
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07]*\x07|.)")


class Terminal:
    """Runs `argv` on a terminal of 100 by 30."""

    def __init__(self, argv: Sequence[str], env: Mapping[str, str], cwd: Path) -> None:
        self._ours, self._its = pty.openpty()
        fcntl.ioctl(self._its, termios.TIOCSWINSZ, struct.pack("4H", 30, 100, 0, 0))
        self.before = termios.tcgetattr(self._its)
        self.process = subprocess.Popen(
            argv,
            stdin=self._its,
            stdout=self._its,
            stderr=self._its,
            env={**env, "TERM": "xterm-256color"},
            cwd=cwd,
        )
        self.raw = ""
        threading.Thread(target=self._read, daemon=True).start()

    @property
    def text(self) -> str:
        """All that was written, without what moves and colours."""
        return _ESCAPES.sub("", self.raw)

    def wait_for(self, *texts: str) -> None:
        """Wait until all of these were written."""
        give_up = time.monotonic() + PATIENCE
        while not all(text in self.text for text in texts):
            assert time.monotonic() < give_up, f"{texts}: {self.text[-3000:]}"
            time.sleep(0.02)

    def press(self, keys: str) -> None:
        os.write(self._ours, keys.encode())

    def end(self) -> int:
        """Wait until it ends by itself; its exit code."""
        try:
            return self.process.wait(PATIENCE)
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()

    @property
    def is_sane(self) -> bool:
        """Whether the terminal is as it was before, its own screen and cursor in view; what it
        wrote last may be on its way still."""
        give_up = time.monotonic() + ON_ITS_WAY
        while not self._is_restored() and time.monotonic() < give_up:
            time.sleep(0.02)
        return self._is_restored() and termios.tcgetattr(self._its) == self.before

    def _is_restored(self) -> bool:
        last = {mode: self.raw.rfind(f"\x1b[?{mode}") for mode in ("1049h", "1049l", "25h", "25l")}
        return last["1049l"] >= last["1049h"] and last["25h"] >= last["25l"]

    def _read(self) -> None:
        while True:
            try:
                self.raw += os.read(self._ours, 65536).decode("utf-8", "replace")
            except OSError:
                return
