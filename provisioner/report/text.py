"""Words that every report shares: durations, sizes, and what to say of a task that failed.

Whatever a host, a playbook or a user wrote passes through `clean` before it is shown. Names of
hosts, statuses and the like are identifiers, not contents: they stay as they are, so that a short
password cannot change what a machine reads.
"""

from __future__ import annotations

import json
import math
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from provisioner.engine.events import TaskFinished
from provisioner.secrets import mask

TAIL_LINES = 20
LINE_LENGTH = 400
_ESCAPES = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor
    r"|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?"  # OSC: titles, links
    r"|\x1b[ -/]*[0-~]"
)
_CONTROLS = re.compile(  # and what reorders text, hides in it or has no encoding
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ufeff\ufffe\uffff\ud800-\udfff]"
)


def clean(text: object) -> str:
    """`text` without secrets, terminal escapes and control characters; lines and tabs remain."""
    text = _to_text(text)
    if text.isprintable():  # so is nearly all, and it has nothing to be taken out
        return mask(text)
    plain = _ESCAPES.sub("", mask(text)).replace("\r\n", "\n")
    lines = (line.rstrip("\r").rpartition("\r")[2] for line in plain.split("\n"))
    # Again: an escape sequence within a secret may have hidden it.
    return mask(_CONTROLS.sub("", "\n".join(lines)))


def one_line(text: object) -> str:
    """`text`, cleaned, on one line of bounded length."""
    return shorten(" ".join(clean(text).split()))


def shorten(line: str, length: int = LINE_LENGTH) -> str:
    return line if len(line) <= length else line[: length - 3] + "..."


def tail(text: object, lines: int = TAIL_LINES) -> list[str]:
    """The last lines of an output, cleaned, with a first line saying how many are left out."""
    every = clean(text).expandtabs().rstrip().split("\n")
    kept = [shorten(line.rstrip()) for line in every[-lines:]]
    left_out = len(every) - len(kept)
    return ([f"({left_out} lines before)"] if left_out else []) + kept


def masked(value: Any) -> Any:
    """A copy of JSON-like data in which no text, key or number shows a secret."""
    if isinstance(value, str):
        return mask(value)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, (dict, Mapping)):
        return {mask(str(key)): masked(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [masked(item) for item in value]
    text = _to_text(value)
    shown = mask(text)
    if isinstance(value, (int, float)) and shown == text:
        return value if math.isfinite(value) else text
    return shown


def duration(seconds: float) -> str:
    """`1.2s`, `48s`, `3m 07s`, `2h 05m`."""
    if seconds < 9.95:
        return f"{max(seconds, 0):.1f}s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02}s"
    return f"{whole // 3600}h {whole % 3600 // 60:02}m"


def size(count: float) -> str:
    """`512 B`, `1.2 KiB`, `4.0 GiB`."""
    if count < 1024:
        return f"{int(count)} B"
    for unit in ("KiB", "MiB", "GiB"):
        count /= 1024
        if count < 1023.95:
            return f"{count:.1f} {unit}"
    return f"{count / 1024:.1f} TiB"


def number(count: int, noun: str) -> str:
    """`1 host`, `3 hosts`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def names(hosts: list[str] | tuple[str, ...], most: int = 12) -> str:
    """Names with commas; of very many, the first and how many more."""
    shown = ", ".join(hosts[:most])
    return shown if len(hosts) <= most else f"{shown} and {len(hosts) - most} more"


def title(event: TaskFinished) -> str:
    """The task, the item of its loop, and where else it ran."""
    item = f" [{one_line(event.item)}]" if event.item is not None else ""
    there = f" (on {event.delegated_to})" if event.delegated_to else ""
    return f"{one_line(event.task)}{item}{there}"


def reason(event: TaskFinished) -> str:
    """Why a task failed, in a line."""
    result = event.result
    for key in ("msg", "censored", "stderr", "stdout"):
        lines = clean(result.get(key) or "").strip().splitlines()
        if lines:
            return one_line(lines[0] if key in ("msg", "censored") else lines[-1])
    return "it failed without a message"


@dataclass(frozen=True)
class Detail:
    """A labelled part of a failure; `output` marks what a program printed."""

    label: str
    lines: list[str]
    output: bool = False


def failure(event: TaskFinished, verbose: int = 0) -> list[Detail]:
    """What one wants to know of a failed task: place, command, reason, output, the way out."""
    result = event.result
    parts = [Detail("at", [one_line(event.where)])] if event.where else []
    if result.get("cmd"):
        parts.append(Detail("command", [one_line(_command(result["cmd"]))]))
    if result.get("rc") is not None:
        parts.append(Detail("exit code", [one_line(result["rc"])]))
    message = tail(result.get("msg") or reason(event))
    parts.append(Detail("reason", message))
    for key in ("stderr", "stdout"):
        lines = tail(result.get(key) or "")
        if any(lines) and lines != message:
            parts.append(Detail(key, lines, output=True))
    if verbose and result.get("exception"):
        parts.append(Detail("traceback", tail(result["exception"], 60), output=True))
    if result.get("advice"):
        parts.append(Detail("advice", tail(result["advice"])))
    return parts


def results(event: TaskFinished) -> list[Detail]:
    """What a task that did not fail has to say for itself, for very verbose reports."""
    shown = ("msg", "stdout", "stderr")
    parts = ((key, tail(event.result.get(key) or "")) for key in shown)
    return [Detail(key, lines, key != "msg") for key, lines in parts if any(lines)]


def warnings(event: TaskFinished) -> list[str]:
    """The result's warnings, a line each."""
    found = event.result.get("warnings") or []
    return [one_line(line) for line in ([found] if isinstance(found, str) else found)]


def message(event: TaskFinished) -> list[str]:
    """What a `debug` task says to the reader."""
    said = event.result.get("msg")
    if said is None:
        said = {k: v for k, v in event.result.items() if k not in ("changed", "failed")}
    return tail(said, 200)


def _command(command: object) -> str:
    if isinstance(command, (list, tuple)):
        return shlex.join(str(part) for part in command)
    return str(command)


def _to_text(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, (bytes, bytearray)):
        return bytes(value).decode("utf-8", "backslashreplace")
    if isinstance(value, (dict, list, tuple)):
        # Masked before it is encoded: JSON's escapes would hide a secret with a quote in it.
        return json.dumps(masked(value), ensure_ascii=False, indent=2)
    return str(value)
