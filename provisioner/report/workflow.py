"""The commands that GitHub Actions reads from what a step prints.

They go to standard error, which the runner reads for them as it does standard output: so JSON lines
and the outputs of hosts stay what they are. What hosts say must not be taken for a command.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

_LEADING = re.compile(r"^(\s*:)(?=:)")  # the runner strips blanks
_OLD = "##["  # the older form, which it finds anywhere in a line


def on_github() -> bool:
    """Whether this is a step of GitHub Actions."""
    return os.environ.get("GITHUB_ACTIONS") == "true"


def command(name: str, text: str, **properties: str) -> str:
    """A workflow command, on one line; properties that are empty are left out."""
    given = [f"{key}={_property(value)}" for key, value in properties.items() if value]
    return f"::{name}{' ' if given else ''}{','.join(given)}::{_data(text)}"


def place(file: str, line: int | str) -> dict[str, str]:
    """The properties of a place that the workspace has, for GitHub to show it there; else none."""
    workspace = Path(os.environ.get("GITHUB_WORKSPACE") or ".").resolve()
    path = Path(file).resolve()
    if not file or not path.is_file() or not path.is_relative_to(workspace):
        return {}
    where = {"file": str(path.relative_to(workspace))}
    return {**where, "line": str(line)} if int(line) else where


def harmless(line: str) -> str:
    """A line, or JSON, that the runner takes for no command; JSON still says the same."""
    line = _LEADING.sub(r"\1 ", line)
    if _OLD not in line:
        return line
    return line.replace(_OLD, "#\\u0023[" if line.startswith(("{", "[")) else "## [")


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
