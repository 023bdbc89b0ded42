"""The agent's YAML file: where it is, how it is read, and how `init` writes it."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from provisioner.agent.log import Log
from provisioner.agent.settings import SETTINGS, BadSettings, Source

SYSTEM_FILE = Path("/etc/b9agent/config.yaml")
_SIZE_LIMIT = 256 * 1024
_NULLS = ("", "~", "null")


def user_file() -> Path:
    """`~/.b9agent/config.yaml`."""
    return Path("~/.b9agent/config.yaml").expanduser()


def find(named: str | None) -> Path | None:
    """The file to read: the named one, else the user's, else the system's, else none."""
    if named:
        return Path(named)
    return next((path for path in (user_file(), SYSTEM_FILE) if is_there(path)), None)


def is_there(path: Path) -> bool:
    """Whether there is such a file, or something that this user may not even look at."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True


def load(path: Path, log: Log) -> Source:
    """Read `path`; unknown keys and a mode that shows tokens are warned of, everything unusable is
    BadSettings."""
    values: dict[str, str] = {}
    odd: list[str] = []
    known = {setting.path: setting.flag for setting in SETTINGS}
    for key, value in _flatten(_parse(path)):
        if key not in known:
            odd.append(f"unknown key {key}{_suggestion(key, known)}")
        elif value is None:
            raise BadSettings([f"{path}: {key} must be a single value"])
        elif value not in _NULLS:
            values[known[key]] = value
    if any(setting.secret and setting.flag in values for setting in SETTINGS):
        odd += _exposure(path)
    log.trouble(str(path), "; ".join(odd))
    return Source(str(path), values, path.parent)


def _parse(path: Path) -> Any:
    import yaml  # only needed here

    try:
        with path.open(encoding="utf-8") as stream:
            text = stream.read(_SIZE_LIMIT)
        # All scalars stay text: an id of 01234567 is no octal number.
        document = yaml.load(text, Loader=yaml.BaseLoader)  # noqa: S506 — makes text only
    except OSError as problem:
        raise BadSettings([f"cannot read {path}: {problem.strerror}"]) from None
    except UnicodeDecodeError:
        raise BadSettings([f"{path} is not UTF-8 text"]) from None
    except yaml.MarkedYAMLError as problem:
        line = problem.problem_mark.line + 1 if problem.problem_mark else 0
        raise BadSettings([f"{path}:{line}: not YAML: {problem.problem}"]) from None
    except (yaml.YAMLError, RecursionError):
        raise BadSettings([f"{path} is not YAML"]) from None
    if document is None or document == "":
        return {}
    if not isinstance(document, dict):
        raise BadSettings([f"{path} must be a mapping of settings"])
    return document


def _flatten(document: Mapping[Any, Any], prefix: str = "") -> list[tuple[str, str | None]]:
    found: list[tuple[str, str | None]] = []
    for key, value in document.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict):
            found += _flatten(value, name + ".")
        else:
            found.append((name, value if isinstance(value, str) else None))
    return found


def _suggestion(key: str, known: Mapping[str, str]) -> str:
    import difflib  # only needed for a mistake

    close = difflib.get_close_matches(key, known, 1)
    return f"; did you mean {close[0]}?" if close else ""


def _exposure(path: Path) -> list[str]:
    credentials = os.environ.get("CREDENTIALS_DIRECTORY")
    if credentials and Path(credentials) in path.parents:
        return []  # systemd guards these by an access list, which shows as group bits
    mode = path.stat().st_mode & 0o777
    return [f"others may read its tokens (mode {mode:04o}): chmod 600"] if mode & 0o077 else []


def write(path: Path, values: Mapping[str, str]) -> None:
    """Write settings, given by flag name, to `path`: atomically and for its owner only."""
    tree: dict[str, dict[str, str]] = {}
    for setting in SETTINGS:
        if values.get(setting.flag):
            section, _, key = setting.path.rpartition(".")
            tree.setdefault(section, {})[key] = values[setting.flag]
    lines: list[str] = []
    for section, entries in sorted(tree.items()):
        lines += [f"{section}:"] if section else []
        indent = "  " if section else ""
        # A JSON string is a YAML string.
        lines += [f"{indent}{key}: {json.dumps(value)}" for key, value in entries.items()]
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    atomic_write(path, "\n".join([*lines, ""]), 0o600)


def atomic_write(path: Path, text: str, mode: int) -> None:
    """Replace `path` in one step, so that a reader sees the old text or the new."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with contextlib.suppress(FileNotFoundError):
        draft.unlink()  # of a process killed here that had the same number
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with open(descriptor, "w", encoding="utf-8") as stream:
            os.fchmod(stream.fileno(), mode)
            stream.write(text)
        draft.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            draft.unlink()
        raise
