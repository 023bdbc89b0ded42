"""Reads what the documents show: links, file names, commands, YAML."""

from __future__ import annotations

import itertools
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).parents[3]
DOCUMENTS = [REPOSITORY / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
DOCUMENTS += sorted((REPOSITORY / "docs").glob("*.md"))

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)#]+)[^)]*\)")
_OPERATOR = re.compile(r"[|;&]|\d?>")
_CODE = re.compile(r"`([^`]+)`")


@dataclass(frozen=True)
class Block:
    """A fenced block; `language` may be empty."""

    language: str
    text: str


def blocks(document: Path, language: str | None = None) -> list[Block]:
    """The fenced blocks of a document."""
    found = [Block(*match) for match in _FENCE.findall(document.read_text("utf-8"))]
    return [block for block in found if language in (None, block.language)]


def prose(document: Path) -> str:
    """A document without its fenced blocks."""
    return _FENCE.sub("", document.read_text("utf-8"))


def links(document: Path) -> list[str]:
    """Targets of links to other files."""
    return [link for link in _LINK.findall(prose(document)) if "://" not in link]


def code(document: Path) -> list[str]:
    """What stands between backticks, on one line."""
    return [" ".join(text.split()) for text in _CODE.findall(prose(document))]


def console_lines(document: Path) -> list[str]:
    """The commands of a document's `console` blocks."""
    lines = [line for block in blocks(document, "console") for line in block.text.splitlines()]
    return [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]


def calls(lines: list[str], program: str) -> list[list[str]]:
    """The calls of `program` in what is typed into a shell, as words."""
    found = []
    for line in lines:
        words = shlex.split(line, comments=True)
        for is_operator, group in itertools.groupby(
            words, lambda word: bool(_OPERATOR.match(word))
        ):
            call = list(group)
            if not is_operator and call[0] == program:
                found.append(call)
    return found


def commands(document: Path, program: str) -> list[list[str]]:
    """Every call of `program` that the document shows, as words."""
    shown = [*code(document), *console_lines(document)]
    for block in blocks(document):
        shown += [line.partition("#")[0] for line in block.text.splitlines()]
    return calls([text for text in shown if text.startswith(f"{program} ")], program)
