"""ollama_found: whose Ollama there is, by its unit and its program."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

FOREIGN = """\
[Unit]
Description=Ollama Service

[Service]
ExecStart={program} serve
User=ollama
Group=ollama

[Install]
WantedBy=default.target
"""
Look = Callable[[], dict[str, Any]]


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    return tmp_path / "ollama.service"


@pytest.fixture
def program(tmp_path: Path) -> Path:
    return tmp_path / "local/bin/ollama"


@pytest.fixture
def look(
    apply: Any, tmp_path: Path, unit: Path, program: Path, monkeypatch: pytest.MonkeyPatch
) -> Look:
    """Looks at a host whose systemctl knows of `unit`, when it is there."""
    systemctl = tmp_path / "tools/systemctl"
    systemctl.parent.mkdir()
    systemctl.write_text(
        "#!/bin/sh\n"
        f"case $3 in *FragmentPath*) [ ! -e {unit} ] || echo {unit};;\n"
        "*) echo UnitFileState=disabled; echo ActiveState=active;; esac\n"
    )
    systemctl.chmod(0o755)
    monkeypatch.setenv("PATH", f"{systemctl.parent}:/usr/bin:/bin")
    program.parent.mkdir(parents=True)

    def call() -> dict[str, Any]:
        arguments = {"stamp": str(tmp_path / "stamp"), "settings": str(tmp_path / "d/50.conf")}
        found: dict[str, Any] = apply("ollama_found", **arguments, program=str(program))
        assert not found["changed"]
        return found

    return call


def says(program: Path, text: str) -> None:
    program.write_text(f"#!/bin/sh\nprintf '{text}'\n")
    program.chmod(0o755)


def test_a_bare_host(look: Look) -> None:
    found = look()
    assert (found["unit"], found["program"], found["version"], found["user"]) == ("",) * 4
    assert not found["adopted"]


def test_what_b9prov_installed_is_not_found(
    look: Look, unit: Path, program: Path, tmp_path: Path
) -> None:
    says(program, "ollama version is 0.9.6\\n")
    (tmp_path / "stamp").write_text("{}")
    unit.write_text("# Written by b9prov.\n" + FOREIGN)
    found = look()
    assert (found["unit"], found["program"], found["adopted"]) == ("", "", False)


def test_one_by_the_vendors_script(look: Look, unit: Path, program: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "opt-ollama"
    says(elsewhere, "Warning: could not connect\\nWarning: client version is 0.8.0\\n")
    unit.write_text(FOREIGN.format(program=elsewhere))
    found = look()
    assert (found["unit"], found["program"]) == (str(unit), str(elsewhere))
    assert (found["version"], found["user"]) == ("0.8.0", "ollama")
    assert (found["was_enabled"], found["was_running"], found["adopted"]) == (False, True, False)


def test_how_it_was_found_is_kept_in_the_settings(look: Look, unit: Path, tmp_path: Path) -> None:
    unit.write_text(FOREIGN.format(program="/nonexistent/ollama"))
    settings = tmp_path / "d/50.conf"
    settings.parent.mkdir()
    settings.write_text("# Written by b9prov: x\n# Found enabled and stopped.\n[Service]\n")
    found = look()
    assert (found["was_enabled"], found["was_running"], found["adopted"]) == (True, False, True)
    assert found["version"] == ""


def test_a_program_without_a_unit(look: Look, program: Path) -> None:
    says(program, "ollama version is 0.5.1-rc2\\n")
    found = look()
    assert (found["unit"], found["program"], found["version"]) == ("", str(program), "0.5.1-rc2")
