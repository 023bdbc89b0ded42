"""A reference gateway on loopback for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from provisioner.lab.reference_gateway import Gateway, Pool, Settings

ADMIN = "admin-token-of-the-reference"


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    """Pools `gpu` and `cpu`, and `own`, which is local."""
    pools = [Pool("gpu", "H100"), Pool("cpu"), Pool("own", local=True)]
    settings = Settings(
        pools={pool.name: pool for pool in pools},
        state=tmp_path / "gateway.json",
        admin_token=ADMIN,
    )
    running = Gateway(settings)
    running.start()
    yield running
    running.stop()
