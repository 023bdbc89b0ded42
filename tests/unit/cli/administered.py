"""An inventory whose gateway is the reference gateway, reached directly by its URL."""

from __future__ import annotations

from pathlib import Path

ADMIN = "admin-token-of-the-reference"
HOSTS = "hosts:\n  w1: {address: 192.0.2.1, pool: gpu}\n  w2: {address: 192.0.2.2, pool: cpu}\n"


def describe(folder: Path, gateway: str) -> None:
    """An inventory whose section `gateway` has these keys."""
    (folder / "inventory.yaml").write_text(f"gateway: {{{gateway}}}\n{HOSTS}")
