"""Makes a picture of a terminal from a real run, as it stands in the README.

    python docs/make_picture.py docs/demo.svg b9prov demo

The command runs on a pseudo-terminal; the picture shows the last rows of its screen.
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

from provisioner.report.picture import picture

COLUMNS, ROWS = 100, 56
_CONTROL = re.compile(r"\x1b\[\??([0-9;]*)([A-Za-z])|\n|\r")


def replay(output: str) -> list[str]:
    """The lines that are left on a screen; colours stay in them.

    Knows what Rich does to a screen: it goes up, and erases a line before it writes it anew.
    """
    lines, row = [""], 0
    position = 0
    for control in _CONTROL.finditer(output):
        lines[row] += output[position : control.start()]
        position = control.end()
        if control[0] == "\n":
            row += 1
            lines += [""] * (row == len(lines))
        elif control[2] == "A":
            row = max(0, row - int(control[1] or 1))
        elif control[2] == "K":
            lines[row] = ""
        elif control[2] == "m":
            lines[row] += control[0]
    lines[row] += output[position:]
    return lines


def record(command: list[str]) -> tuple[str, int]:
    """What `command` writes to a terminal, and its exit code."""
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("4H", ROWS, COLUMNS, 0, 0))
    env = {**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor"}
    with subprocess.Popen(command, stdin=its, stdout=its, stderr=its, env=env) as process:
        os.close(its)
        output = b""
        while piece := _read(ours):
            output += piece
    os.close(ours)
    return output.decode(), process.returncode


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # how Linux tells that the last writer has left
        return b""


def main(target: str, *command: str) -> int:
    """Run `command` and write the picture to `target`; the command's exit code."""
    output, code = record(list(command))
    shown = output.replace(str(Path.home()), "~").rstrip()
    text = "\n".join(replay(shown)[-ROWS:])
    Path(target).write_text(picture(text, title=" ".join(command), width=COLUMNS))
    return code


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit("usage: make_picture.py FILE.svg COMMAND…")
    sys.exit(main(*sys.argv[1:]))
