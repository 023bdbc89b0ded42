"""The lab's mirror, which breaks off the first answer after `--cut-after` bytes.

    cut_mirror.py --directory DIRECTORY --bind ADDRESS --port PORT [--cut-after BYTES]

Prints a line once it listens, and one JSON line per answer: the first byte and how many were sent.
"""

from __future__ import annotations

import argparse
import json
from functools import partial
from http.server import ThreadingHTTPServer
from typing import Any

from provisioner.artifacts.mirror import RangeHandler


class CutHandler(RangeHandler):
    """Serves `cut_after` bytes of the first answer, and everything of those after it."""

    cut_after: int | None = None

    def copyfile(self, source: Any, outputfile: Any) -> None:
        start, length = source.tell(), self._left
        cut, CutHandler.cut_after = CutHandler.cut_after, None
        if cut is not None:
            self._left = min(self._left, cut)
            self.close_connection = True
        sent = self._left
        super().copyfile(source, outputfile)
        print(json.dumps({"start": start, "sent": sent, "wanted": length}), flush=True)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing of our own."""


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--directory", required=True)
    parser.add_argument("--bind", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--cut-after", type=int)
    options = parser.parse_args()
    CutHandler.cut_after = options.cut_after
    handler = partial(CutHandler, directory=options.directory)
    server = ThreadingHTTPServer((options.bind, options.port), handler)
    print("listening", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
