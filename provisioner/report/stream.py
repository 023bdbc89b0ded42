"""Writing to a stream that may be a narrow encoding or a pipe whose reader left."""

from __future__ import annotations

from typing import TextIO

from provisioner.report.workflow import harmless, on_github


class Writer:
    """Writes whole lines, flushed. A stream that fails silences it, and stops no run.

    With `commands` they may be commands to GitHub Actions; else none is taken for one.
    """

    def __init__(self, stream: TextIO, commands: bool = False) -> None:
        self._stream = stream
        self._guarded = on_github() and not commands
        self._encoding = getattr(stream, "encoding", None) or "utf-8"
        self._error: OSError | None = None

    def line(self, line: str) -> None:
        if self._error is not None:
            return
        if self._guarded:
            line = harmless(line)
        if not line.isascii():
            line = line.encode(self._encoding, "backslashreplace").decode(self._encoding)
        try:
            self._stream.write(f"{line}\n")
            self._stream.flush()
        except OSError as error:
            self._error = error

    def close(self) -> None:
        """Raise what silenced it; a reader that left, as `head` does, is no error."""
        error, self._error = self._error, None
        if error is not None and not isinstance(error, BrokenPipeError):
            raise error
