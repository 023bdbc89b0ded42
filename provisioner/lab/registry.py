"""A model registry for Ollama: the mirror's folder, with the one header that a pull asks for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import ThreadingHTTPServer
from pathlib import Path
from threading import Thread

from provisioner.lab.mirror import RangeHandler


class RegistryHandler(RangeHandler):
    """Serves `v2/NAME/manifests/TAG` and `v2/NAME/blobs/DIGEST` as they lie in the folder."""

    def end_headers(self) -> None:
        """Send a blob's Location: Ollama reads it on the first answer, redirect or not."""
        if "/blobs/" in self.path:
            self.send_header("Location", self.path)
        super().end_headers()


@contextmanager
def serving(folder: Path, host: str = "127.0.0.1", port: int = 0) -> Iterator[str]:
    """Serve a folder of the mirror and its models; yields HOST:PORT."""
    handler = partial(RegistryHandler, directory=str(folder))
    with ThreadingHTTPServer((host, port), handler) as server:
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"{host}:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()
