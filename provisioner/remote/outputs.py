"""How much of a program's output is sent to the controller: the beginning and the end."""

from __future__ import annotations

from typing import Any

LINES = 50_000  # each of which costs the controller a hundred bytes, of many hosts at once
CHARACTERS = 256 * 1024  # when all that was kept is too much for one message


def bounded(result: dict[str, Any]) -> dict[str, Any]:
    """The result with no more lines of output than a controller should be asked to keep."""
    return _with_outputs(result, LINES, None)


def shortened(result: dict[str, Any]) -> dict[str, Any]:
    """The result with so little output that it fits into a message, whatever it consists of: what
    is no text takes six times its size there, and as much again in lines."""
    return _with_outputs(result, LINES, CHARACTERS)


def _with_outputs(result: dict[str, Any], most: int, characters: int | None) -> dict[str, Any]:
    changed = dict(result)
    for name in ("stdout", "stderr"):
        lines = result.get(f"{name}_lines")
        if not isinstance(lines, list) or not isinstance(result.get(name), str):
            continue
        text = result[name]
        if len(lines) > most:
            half = most // 2
            gap = f"[… {len(lines) - 2 * half} lines left out …]"
            text = "\n".join([*lines[:half], gap, *lines[-half:]])
        if characters is not None and len(text) > characters:
            half = characters // 2
            gap = f"\n[… {len(text) - 2 * half} characters left out …]\n"
            text = text[:half] + gap + text[-half:]
        if text is not result[name]:
            changed.update({name: text, f"{name}_lines": text.splitlines()})
    return changed
