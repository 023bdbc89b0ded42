"""A mirror of artifacts: a directory over HTTP, with ranges so that downloads can resume.

It is a program of its own as well, which needs only Python.
"""

from __future__ import annotations

import argparse
import os
import re
import socket
from functools import partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

PORT = 8099
_CHUNK = 1 << 20
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


class RangeHandler(SimpleHTTPRequestHandler):
    """Files, whole or one range of them; no listings."""

    protocol_version = "HTTP/1.1"

    def end_headers(self) -> None:
        """Send a model blob's Location: Ollama reads it on the first answer, redirect or not."""
        if "/blobs/" in self.path:
            self.send_header("Location", self.path)
        super().end_headers()

    def send_head(self) -> Any:
        """Answer a GET or HEAD up to the body; a single satisfiable range gets just that part."""
        path = Path(self.translate_path(self.path))
        if not path.is_file():
            self.send_error(HTTPStatus.NOT_FOUND)
            return None
        file = path.open("rb")
        size = os.fstat(file.fileno()).st_size
        asked = self._asked(size)
        if asked and asked[0] >= asked[1]:
            file.close()
            self.send_response(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)
            self.send_header("Content-Range", f"bytes */{size}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return None
        start, end = asked or (0, size)
        self.send_response(HTTPStatus.PARTIAL_CONTENT if asked else HTTPStatus.OK)
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(end - start))
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{size}")
        self.end_headers()
        file.seek(start)
        self._left = end - start
        return file

    def copyfile(self, source: Any, outputfile: Any) -> None:
        """Copy the answered part, which may end before the file does."""
        while self._left > 0 and (data := source.read(min(_CHUNK, self._left))):
            outputfile.write(data)
            self._left -= len(data)

    def _asked(self, size: int) -> tuple[int, int] | None:
        """The asked range as start and end; a form that we do not serve counts as not asked."""
        match = _RANGE.fullmatch(self.headers.get("Range", "").strip())
        if match is None or match.groups() == ("", ""):
            return None
        first, last = match.groups()
        if not first:
            return max(0, size - int(last)), size
        return int(first), min(size, int(last) + 1) if last else size


class Mirror(ThreadingHTTPServer):
    """Serves a directory; threads of slow readers do not keep it from ending."""

    daemon_threads = True

    def __init__(self, directory: str, bind: str, port: int) -> None:
        if ":" in bind:
            self.address_family = socket.AF_INET6
        super().__init__((bind, port), partial(RangeHandler, directory=directory))


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--directory", required=True)
    parser.add_argument("--bind", required=True)
    parser.add_argument("--port", type=int, default=PORT)
    options = parser.parse_args()
    Mirror(options.directory, options.bind, options.port).serve_forever()


if __name__ == "__main__":
    main()
