"""Builds `b9agent.pyz`: this room, pure-Python PyYAML and nvidia-ml-py in one file that any
Python 3.9+ runs, with the terminal UI packed into it (build_tui.py).

The same sources give the same bytes, so that an unchanged agent is no change on a host. Runs on
the controller and is itself not part of the result.
"""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

import yaml

from provisioner.agent.build_tui import MEMBER, archive_of, packed_tui

_SHEBANG = b"#!/usr/bin/env python3\n"
_LEFT_OUT = {"build.py", "build_tui.py"}
_MAIN = """\
import sys

from provisioner.agent.cli import main

sys.exit(main(sys.argv[1:]))
"""


def build_zipapp(dest: Path, kept: Path | None = None) -> None:
    """Write the agent to `dest`, executable. What takes long is kept in `kept`, if given."""
    dest.parent.mkdir(parents=True, exist_ok=True)
    dest.write_bytes(archive_of(_contents(kept).items(), before=_SHEBANG))
    dest.chmod(0o755)


def _contents(kept: Path | None) -> dict[str, bytes]:
    agent = Path(__file__).parent
    contents = {"__main__.py": _MAIN.encode(), "provisioner/__init__.py": b""}
    for folder in ("", "control", "devices", "inference"):
        contents.update(_modules(agent / folder, f"provisioner/agent/{folder}".rstrip("/")))
    contents.update(_modules(Path(yaml.__file__).parent, "yaml"))
    contents["yaml/LICENSE"] = _licence()
    contents["pynvml.py"] = _nvidia_ml()
    contents[MEMBER] = packed_tui(kept)
    return contents


def _modules(directory: Path, prefix: str) -> dict[str, bytes]:
    """The Python files of a package; compiled extensions stay behind."""
    return {
        f"{prefix}/{path.name}": path.read_bytes()
        for path in directory.glob("*.py")
        if path.name not in _LEFT_OUT
    }


def _licence() -> bytes:
    """PyYAML's licence, which has to accompany every copy of it."""
    for file in importlib.metadata.files("PyYAML") or ():
        if file.name == "LICENSE":
            return file.read_binary()
    return b"PyYAML is distributed under the MIT licence: https://pyyaml.org\n"


def _nvidia_ml() -> bytes:
    """nvidia-ml-py's one module, which begins with its licence."""
    (module,) = (
        file for file in importlib.metadata.files("nvidia-ml-py") or () if file.name == "pynvml.py"
    )
    return module.read_binary()
