"""The command run as users run it, with its state and cache in folders of the test's own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from administered import ADMIN, describe

from provisioner.gateway.client import GatewayClient
from provisioner.lab.reference_gateway import Gateway, Pool, Settings

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory."""
    for variable in ("XDG_STATE_HOME", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.setenv(variable, str(tmp_path / variable.lower()))
    for variable in ("B9_ADMIN_TOKEN", "B9PROV_DEBUG", "NO_COLOR", "CI", "GITHUB_ACTIONS"):
        monkeypatch.delenv(variable, raising=False)
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    return work


@pytest.fixture
def b9prov(folder: Path) -> Run:
    """Runs `b9prov` in a process of its own."""

    def run(*words: str, **keywords: object) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-c", "from provisioner.cli.main import main; main()", *words]
        given = {"stdin": subprocess.DEVNULL, "env": dict(os.environ), **keywords}
        if "stdout" not in keywords:
            given["capture_output"] = True
        return subprocess.run(argv, text=True, timeout=60, **given)  # type: ignore[call-overload,no-any-return]

    return run


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A port of this machine whose listener notices whoever comes."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        yield server


@pytest.fixture
def untouched(listener: socket.socket) -> Callable[[], bool]:
    """Whether nobody has connected to the listener."""

    def nobody() -> bool:
        try:
            listener.accept()
        except BlockingIOError:
            return True
        return False

    return nobody


@pytest.fixture
def local(folder: Path) -> Path:
    """An inventory of this machine alone, which is worked on without SSH."""
    path = folder / "inventory.yaml"
    path.write_text("hosts:\n  localhost: {pool: cpu}\n")
    return path


@pytest.fixture
def playbook(folder: Path) -> Callable[..., Path]:
    """Writes a playbook of these tasks."""

    def write(tasks: str, name: str = "try.yaml", hosts: str = "workers") -> Path:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"- name: Try\n  hosts: {hosts}\n  tasks:\n{tasks}")
        return path

    return write


@pytest.fixture
def gateway(folder: Path) -> Iterator[Gateway]:
    """Pools `gpu` and `cpu`, and `own`, which is local; ./inventory.yaml gives its URL."""
    pools = [Pool("gpu", "H100"), Pool("cpu"), Pool("own", local=True)]
    running = Gateway(Settings({pool.name: pool for pool in pools}, admin_token=ADMIN))
    running.start()
    describe(folder, f"url: {running.url}, admin_token: {ADMIN}")
    yield running
    running.stop()


@pytest.fixture
def admin(gateway: Gateway) -> GatewayClient:
    return GatewayClient(gateway.url, ADMIN)
