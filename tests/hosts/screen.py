"""A terminal in tmux on this machine, as a user has one: typed into, and looked at."""

from __future__ import annotations

import re
import shlex
import subprocess
import time
from collections.abc import Sequence

PATIENCE = 30.0
PROMPT = "at-the-prompt>"


class Screen:
    """One tmux server with one window. `shell` is what runs in it; `name` tells it from others."""

    def __init__(self, name: str, shell: Sequence[str], size: tuple[int, int] = (100, 30)) -> None:
        self._name = f"b9prov-{name}"
        columns, lines = map(str, size)
        # /dev/null: nobody's own settings
        self._tmux("-f", "/dev/null", "new-session", "-d", "-x", columns, "-y", lines,
                   shlex.join(shell))  # fmt: skip

    def type(self, text: str) -> None:
        """Type a line and send it."""
        self._tmux("send-keys", "-l", text)
        self._tmux("send-keys", "Enter")

    def press(self, *keys: str) -> None:
        """Press keys, by tmux' names for them."""
        self._tmux("send-keys", *keys)

    def resize(self, columns: int, lines: int) -> None:
        """Make the window larger or smaller."""
        self._tmux("resize-window", "-x", str(columns), "-y", str(lines))

    @property
    def text(self) -> str:
        """What is on the screen."""
        return self._tmux("capture-pane", "-p")

    @property
    def coloured(self) -> str:
        """The same with its colours."""
        return self._tmux("capture-pane", "-p", "-e")

    def until(self, *patterns: str, seconds: float = PATIENCE) -> str:
        """What is on the screen, once all patterns are found there."""
        give_up = time.monotonic() + seconds
        while True:
            shown = self.text
            missing = [each for each in patterns if not re.search(each, shown)]
            if not missing:
                return shown
            assert time.monotonic() < give_up, f"no {missing} in\n{shown}"
            time.sleep(0.1)

    def is_sane(self) -> bool:
        """Whether the terminal echoes what is typed, on its normal screen, with a cursor."""
        flags = self._tmux(
            "display-message", "-p", "#{alternate_on} #{cursor_flag} #{mouse_any_flag}"
        )
        return flags.split() == ["0", "1", "0"]

    def close(self) -> None:
        """End it, and what runs in it."""
        subprocess.run(["tmux", "-L", self._name, "kill-server"], capture_output=True, timeout=20)

    def _tmux(self, *words: str) -> str:
        done = subprocess.run(
            ["tmux", "-L", self._name, *words], capture_output=True, text=True, timeout=20
        )
        assert done.returncode == 0, done.stderr
        return done.stdout
