"""forwards_check tells a port with somebody behind it from one that ssh alone holds."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from provisioner.remote.module import ModuleFailed


@contextmanager
def listening(treat: Callable[[socket.socket], None]) -> Iterator[int]:
    """A port whose connections are treated so."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        kept = []

        def serve() -> None:
            connection, _ = server.accept()
            kept.append(connection)
            treat(connection)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        thread.join(5)
        for connection in kept:
            connection.close()


def silent(connection: socket.socket) -> None:
    """As most servers until they are asked."""


def speaks(connection: socket.socket) -> None:
    connection.sendall(b"hello\n")


def ends(connection: socket.socket) -> None:
    """As ssh does where nobody is at the other end."""
    connection.close()


@pytest.mark.parametrize("treat", [silent, speaks])
def test_somebody_is_there(apply: Any, treat: Callable[[socket.socket], None]) -> None:
    with listening(treat) as port:
        assert apply("forwards_check", ports=[port], timeout=0.3)["changed"] is False


def test_nobody_is_there(apply: Any) -> None:
    with listening(ends) as closed, listening(silent) as good:
        with socket.create_server(("127.0.0.1", 0)) as gone:
            nothing = gone.getsockname()[1]
        with pytest.raises(ModuleFailed) as caught:
            apply("forwards_check", ports=[closed, str(good), nothing], timeout=0.3)
    found = {check["name"]: check["found"] for check in caught.value.extra["checks"]}
    assert found == {
        f"forward {closed}": "nobody behind the tunnel",
        f"forward {good}": "somebody",
        f"forward {nothing}": "Connection refused",
    }
    assert "gateway.forwards" in caught.value.extra["advice"]


def test_it_can_be_a_warning(apply: Any) -> None:
    with listening(ends) as port:
        result = apply("forwards_check", ports=[port], timeout=0.3, warn_only=["forward"])
    assert len(result["warnings"]) == 1
