"""Real servers for the tests: built once, kept in the cache, run in a network of their own."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterator

import pytest
from real_servers import Mirror

from provisioner import paths
from provisioner.lab import artifacts

_NEW_NETWORK = 0x40000000  # CLONE_NEWNET
_libc = ctypes.CDLL(None, use_errno=True)


@pytest.fixture(scope="session")
def real() -> Mirror:
    """The real Ollama and the thin k3s; minutes on the first run ever, seconds afterwards."""
    if shutil.which("go") is None:
        pytest.skip("building the real servers needs Go, and there is no `go` in PATH")
    cache = paths.cache_dir() / "real"
    folder = cache / "mirror"
    return Mirror(folder, artifacts.build_real(folder, cache, print))


@pytest.fixture(scope="session")
def standins(tmp_path_factory: pytest.TempPathFactory) -> Mirror:
    """The light stand-ins."""
    folder = tmp_path_factory.mktemp("standins")
    return Mirror(folder, artifacts.build_standins(folder))


@pytest.fixture(scope="module")
def own_network() -> Iterator[None]:
    """This process, and all that it starts from here on, in a network with only a loopback."""
    if os.geteuid() != 0:
        pytest.skip("a network namespace of one's own needs root")
    with open("/proc/thread-self/ns/net") as before:
        _call("unshare", _NEW_NETWORK)
        try:
            subprocess.run(("ip", "link", "set", "lo", "up"), check=True)
            yield
        finally:
            _call("setns", before.fileno(), _NEW_NETWORK)


def _call(name: str, *arguments: int) -> None:
    if getattr(_libc, name)(*arguments) != 0:
        raise OSError(ctypes.get_errno(), f"{name} failed")
