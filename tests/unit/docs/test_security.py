"""docs/security.md claims nothing that no test tries."""

from __future__ import annotations

import re
from pathlib import Path

from documents import REPOSITORY

TESTS = REPOSITORY / "tests"
TEXT = (REPOSITORY / "docs/security.md").read_text("utf-8")
REFERENCE = re.compile(r"`([\w/]+\.py)::(\w+)`")


def tables() -> list[list[list[str]]]:
    """The document's tables, as rows of cells without the line below the header."""
    blocks = re.findall(r"(?:^\|.*\n)+", TEXT, re.MULTILINE)
    rows = [[line.strip("|").split("|") for line in block.splitlines()] for block in blocks]
    return [
        [[cell.strip() for cell in row] for row in table if set("".join(row)) - set("-")]
        for table in rows
    ]


def claims() -> list[list[str]]:
    """Claim and tests of each row in a table of claims."""
    found = [table[1:] for table in tables() if table[0][-1] == "Tried by"]
    return [row for table in found for row in table]


def test_every_claim_names_its_tests() -> None:
    assert len(claims()) > 40
    assert [claim for claim, tried in claims() if not REFERENCE.search(tried)] == []


def test_every_test_that_is_named_exists() -> None:
    references = REFERENCE.findall(TEXT)
    assert len(references) > 60
    missing = {
        f"{file}::{name}"
        for file, name in references
        if not re.search(rf"^\s*(?:async )?def {name}\(", _source(file), re.MULTILINE)
    }
    assert missing == set()


def test_every_unit_has_its_figure() -> None:
    (table,) = (each for each in tables() if each[0][0] == "Unit")
    named = {unit.strip("`") for unit, *_ in table[1:]}
    templates = (REPOSITORY / "templates").glob("*.service.j2")
    assert named == {template.stem for template in templates}


def _source(file: str) -> str:
    path: Path = TESTS / file
    return path.read_text("utf-8") if path.is_file() else ""
