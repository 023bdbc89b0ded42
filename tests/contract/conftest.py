"""The gateway under test: the embedded reference, or the one at B9_GATEWAY_URL.

For another gateway give B9_ADMIN_TOKEN as well, and B9_GATEWAY_POOL when its pool is not `gpu`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from provisioner.lab.reference_gateway import Gateway, Pool, Settings

from .calls import ADMIN, POOL, URL, Caller, Machine, make


@pytest.fixture
def start() -> Iterator[Callable[..., Caller]]:
    """Starts embedded references with the settings that a test needs."""
    if URL:
        pytest.skip("needs a gateway with settings of the test's own; B9_GATEWAY_URL is set")
    running: list[Gateway] = []

    def begin(**settings: Any) -> Caller:
        gateway = reference(**settings)
        running.append(gateway)
        return Caller(gateway.url, ADMIN)

    yield begin
    for gateway in running:
        gateway.stop()


def reference(**settings: Any) -> Gateway:
    """A running reference with a GPU pool and a CPU pool."""
    pools = {POOL: Pool(POOL, "H100"), "cpu": Pool("cpu")}
    gateway = Gateway(Settings(**{"pools": pools, "admin_token": ADMIN, **settings}))
    gateway.start()
    return gateway


@pytest.fixture(scope="session")
def admin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Caller]:
    """The cluster administrator of the gateway under test."""
    if URL:
        yield Caller(URL.rstrip("/"), os.environ["B9_ADMIN_TOKEN"])
        return
    state: Path = tmp_path_factory.mktemp("gateway") / "state.json"
    gateway = reference(state=state)
    yield Caller(gateway.url, ADMIN)
    gateway.stop()


@pytest.fixture
def machine(admin: Caller) -> Iterator[Machine]:
    """A pending machine of the gateway under test, deleted afterwards."""
    made = make(admin)
    yield made
    admin("DELETE", f"/gateway/machines/{made.id}?poolName={made.pool}")
