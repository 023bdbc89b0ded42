"""Writing to a stream that may be a narrow encoding or a pipe whose reader left."""

from __future__ import annotations

from typing import TextIO


class Writer:
    """Writes whole lines, flushed. A stream that fails silences it, and stops no run."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._encoding = getattr(stream, "encoding", None) or "utf-8"
        self._error: OSError | None = None

    def line(self, line: str) -> None:
        if self._error is not None:
            return
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
