"""Runs modules as the runner on a host does: arguments checked, then the module's `run`."""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from nvidia_replay import Ollama, Replay

from provisioner.remote.arguments import normalise
from provisioner.remote.module import Context

Apply = Callable[..., dict[str, Any]]


@pytest.fixture
def apply() -> Apply:
    """`apply("copy", dest=…, check=False, diff=False)` → the module's result."""

    def call(name: str, /, check: bool = False, diff: bool = False, **arguments: Any) -> Any:
        context = arguments.pop("context", None) or Context(check=check, diff=diff)
        module = importlib.import_module(f"provisioner.remote.modules.{name}")
        return module.run(normalise(arguments, module.ARGUMENTS), context)

    return call


@pytest.fixture
def snapshot() -> Callable[[Path], dict[str, Any]]:
    """What a folder holds, to see that check mode touched nothing."""

    def take(folder: Path) -> dict[str, Any]:
        found = {}
        for path in sorted(folder.rglob("*")):
            info = path.lstat()
            content = path.read_bytes() if path.is_file() else b""
            key = str(path.relative_to(folder))
            found[key] = (info.st_mode, info.st_mtime_ns, info.st_ino, content)
        return found

    return take


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not shutil.which("gcc"):
        pytest.skip("gcc, which builds the stand-ins for NVIDIA's libraries, is not here")
    return tmp_path_factory.mktemp("libraries")


@pytest.fixture
def host(tmp_path: Path, built: Path) -> Replay:
    return Replay(tmp_path, built)


@pytest.fixture(scope="module")
def server() -> Iterator[Ollama]:
    ollama = Ollama()
    thread = Thread(target=ollama.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield ollama
    ollama.server.shutdown()
    thread.join()
    ollama.server.server_close()


@pytest.fixture
def ollama(server: Ollama) -> Ollama:
    server.loads(4000, 4000)
    return server
