"""What all unit tests share."""

from __future__ import annotations

import pytest

from provisioner import secrets


@pytest.fixture(autouse=True)
def no_secrets_of_other_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test makes a secret is masked in that test alone."""
    monkeypatch.setattr(secrets, "_known", secrets._Index())
    monkeypatch.setattr(secrets, "_known_in_json", secrets._Index())
