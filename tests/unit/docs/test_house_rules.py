"""The rules of the house (docs/architecture.md), read off the sources."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[3]
PACKAGE = REPOSITORY / "provisioner"
MOST_LINES = 400
# One file because it is copied onto a lab host as it is.
LONG = {"lab/reference_gateway.py"}
MACHINE_PATH = re.compile(r"(?<![\w}/])/(?:work|root)/\w")


def sources(room: str = "") -> list[Path]:
    return sorted((PACKAGE / room).rglob("*.py"))


def imports(file: Path) -> set[str]:
    """The modules that a file imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: a relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def strangers(room: str, *allowed: str) -> list[str]:
    """What a room imports beyond the standard library, itself and `allowed`."""
    known = (f"provisioner.{room}", *allowed)
    return [
        f"{file.relative_to(PACKAGE)}: {name}"
        for file in sources(room)
        for name in sorted(imports(file))
        if name.partition(".")[0] not in sys.stdlib_module_names
        and not any(name == each or name.startswith(f"{each}.") for each in known)
    ]


def users(rooms: tuple[str, ...], within: str = "") -> list[str]:
    """Files outside `rooms` (and below `within`) that import from them."""
    names = tuple(f"provisioner.{room}" for room in rooms)
    return [
        f"{file.relative_to(PACKAGE)}: {name}"
        for file in sources(within)
        if file.relative_to(PACKAGE).parts[0] not in rooms
        for name in sorted(imports(file))
        if any(name == each or name.startswith(f"{each}.") for each in names)
    ]


def test_what_runs_on_hosts_needs_only_python() -> None:
    assert strangers("remote") == []


def test_the_agent_needs_only_python_and_what_it_brings() -> None:
    """All but its terminal UI."""
    found = strangers("agent", "yaml", "pynvml")
    assert [each for each in found if not each.startswith("agent/tui/")] == []


def test_the_terminal_ui_is_a_client_of_the_agent() -> None:
    ours = [f"provisioner.agent.{name}" for name in ("http", "tui")]
    assert strangers("agent/tui", *ours, "rich", "textual") == []


def test_the_inference_sdk_stands_alone() -> None:
    assert strangers("inference", "httpx") == []


def test_nobody_imports_the_command_line() -> None:
    assert users(("cli",)) == []


def test_the_engine_knows_nothing_of_what_it_is_used_for() -> None:
    assert users(("gateway", "lab", "report", "agent", "cli"), within="engine") == []


def test_reports_know_only_the_events() -> None:
    allowed = ("codes", "engine.events", "errors", "secrets", "wholefile")
    ours = [f"provisioner.{name}" for name in allowed]
    assert strangers("report", *ours, "rich", "jinja2", "markupsafe") == []


def test_inventories_know_only_clouds() -> None:
    allowed = ("clouds", "errors", "secrets", "yamlsource")
    ours = [f"provisioner.{name}" for name in allowed]
    assert strangers("inventory", *ours) == []


def test_clouds_know_nothing_of_what_is_done_on_machines() -> None:
    allowed = ("errors", "paths", "secrets", "wholefile")
    ours = [f"provisioner.{name}" for name in allowed]
    assert strangers("clouds", *ours, "requests", "cryptography") == []


@pytest.mark.parametrize("room", ["remote", "agent"])
def test_what_runs_on_hosts_is_python_3_9(room: str) -> None:
    for file in sources(room):
        ast.parse(file.read_text("utf-8"), str(file), feature_version=(3, 9))


def test_files_are_short() -> None:
    lengths = {
        str(file.relative_to(PACKAGE)): len(file.read_text("utf-8").splitlines())
        for file in sources()
    }
    assert {name for name, lines in lengths.items() if lines > MOST_LINES} == LONG


def test_nothing_names_a_path_of_the_machine_it_was_written_on() -> None:
    listed = subprocess.run(
        ["git", "-c", f"safe.directory={REPOSITORY}", "ls-files", "-z"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )
    if listed.returncode != 0:
        pytest.skip("this is no checkout of a repository")
    for name in filter(None, listed.stdout.split("\0")):
        file = REPOSITORY / name
        text = file.read_text("utf-8", errors="replace") if file.is_file() else ""
        assert not MACHINE_PATH.search(text), name
