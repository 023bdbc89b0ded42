"""Inventories written as text, loaded from a file named inv.yaml."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from provisioner.errors import BadInput
from provisioner.inventory import Inventory, load_inventory

Load = Callable[..., Inventory]


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    """Loads a text as an inventory, in a directory of its own."""
    monkeypatch.chdir(tmp_path)

    def from_text(text: str, extra: dict[str, Any] | None = None) -> Inventory:
        Path("inv.yaml").write_text(dedent(text), encoding="utf-8")
        return load_inventory(Path("inv.yaml"), extra)

    return from_text


@pytest.fixture
def refused(load: Load) -> Callable[..., list[str]]:
    """The problems of a text that must not load, one string each."""

    def problems(text: str, extra: dict[str, Any] | None = None) -> list[str]:
        with pytest.raises(BadInput) as caught:
            load(text, extra)
        return [str(problem) for problem in caught.value.problems]

    return problems
