"""Where the package's own files and the user's state live."""

from __future__ import annotations

import functools
from pathlib import Path

import platformdirs

_PACKAGE = Path(__file__).parent
DEFAULT_INVENTORY = Path("inventory.yaml")  # of the folder that a command is given in


@functools.lru_cache
def data_dir(kind: str) -> Path:
    """The shipped `playbooks` or `templates`: in the wheel's data, or in a source checkout."""
    installed = _PACKAGE / "data" / kind
    return installed if installed.is_dir() else _PACKAGE.parent / kind


def cache_dir() -> Path:
    """Files that can be had again at a cost: the lab's root file system, artifacts."""
    return Path(platformdirs.user_cache_dir("b9prov"))


def state_dir() -> Path:
    """Files that must not be lost between commands: the running lab, run records."""
    return Path(platformdirs.user_state_dir("b9prov"))


def shipped_playbook(name: str, directory: Path | None) -> Path:
    """Playbook `name`.yaml: from the user's folder if it is there, else ours."""
    own = directory / f"{name}.yaml" if directory else None
    return own if own and own.is_file() else data_dir("playbooks") / f"{name}.yaml"
