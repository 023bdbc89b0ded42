"""The mirror's folder as a model registry for Ollama, served for as long as it is needed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import ThreadingHTTPServer
from pathlib import Path
from threading import Thread

from provisioner.artifacts.mirror import RangeHandler


@contextmanager
def serving(folder: Path, host: str = "127.0.0.1", port: int = 0) -> Iterator[str]:
    """Serve a folder of the mirror and its models; yields HOST:PORT."""
    handler = partial(RangeHandler, directory=str(folder))
    with ThreadingHTTPServer((host, port), handler) as server:
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"{host}:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()
