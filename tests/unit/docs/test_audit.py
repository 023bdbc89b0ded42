"""The audit of the installed packages says what it knows, and what it does not."""

from __future__ import annotations

from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

PROGRAM = Path(__file__).parents[3] / ".ci/audit"
SOUND = {"name": "sound", "version": "1", "vulns": []}
UNKNOWN = {"name": "unknown", "skip_reason": "Dependency not found on PyPI"}
OURS = {"name": "b9prov", "skip_reason": "distribution marked as editable"}
FLAW = {"id": "PYSEC-1", "aliases": ["CVE-1"], "fix_versions": ["2.1"]}
FLAWED = {"name": "flawed", "version": "2", "vulns": [FLAW]}


@pytest.fixture
def audit(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.delenv("AUDIT_STRICT", raising=False)
    loader = SourceFileLoader("audit", str(PROGRAM))
    module = module_from_spec(spec_from_loader("audit", loader))  # type: ignore[arg-type]
    loader.exec_module(module)
    return module


def says(
    audit: ModuleType, capsys: pytest.CaptureFixture[str], *packages: dict[str, Any]
) -> tuple[int, str]:
    audit.asked = lambda: list(packages)
    return audit.main(), capsys.readouterr().out


def test_a_vulnerability_fails_the_build(
    audit: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out = says(audit, capsys, SOUND, FLAWED, OURS)
    assert code == 1
    assert "vulnerable: flawed 2: PYSEC-1, mended in 2.1" in out


def test_one_that_is_accepted_does_not(
    audit: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    audit.ACCEPTED["CVE-1"] = "not called"
    assert says(audit, capsys, SOUND, FLAWED)[0] == 0


@pytest.mark.parametrize("packages", [(), (UNKNOWN, OURS), (SOUND, UNKNOWN)])
def test_what_could_not_be_asked_about_is_said(
    audit: ModuleType,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    packages: tuple[dict[str, Any], ...],
) -> None:
    code, out = says(audit, capsys, *packages)
    assert code == 0
    assert ("NOT AUDITED" in out) == (UNKNOWN in packages)
    assert ("NOTHING WAS AUDITED" in out) == (SOUND not in packages)
    monkeypatch.setenv("AUDIT_STRICT", "1")
    assert says(audit, capsys, *packages)[0] == 1
