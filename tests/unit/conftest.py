"""What all unit tests share."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

from provisioner import secrets

# what hypothesis tries is the same in every run, but for `make fuzz`, which looks for more
settings.register_profile("same", derandomize=True, database=None)
if "FUZZ" not in os.environ:
    settings.load_profile("same")


@pytest.fixture(autouse=True)
def no_secrets_of_other_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test makes a secret is masked in that test alone."""
    monkeypatch.setattr(secrets, "_known", secrets._Index())
    monkeypatch.setattr(secrets, "_known_in_json", secrets._Index())
