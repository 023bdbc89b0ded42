"""What differs on purpose is what docs/ansible-compatibility.md says, no more and no less."""

from __future__ import annotations

import re
from pathlib import Path

from harness.corpus import load_corpus

DOCS = Path(__file__).parents[2] / "docs" / "ansible-compatibility.md"
_ROW = re.compile(r"^\| `(?P<name>\w+)` \| (?P<reason>.+) \|$", re.MULTILINE)


def test_differences_are_documented() -> None:
    """One row for each playbook and reason."""
    told = {(row["name"], row["reason"]) for row in _ROW.finditer(DOCS.read_text())}
    expected = {(e.name, each.reason) for e in load_corpus() for each in e.differences}
    assert told == expected


def test_the_corpus_is_as_large_as_told() -> None:
    """The document names the number of playbooks."""
    [told] = re.findall(r"(\d+) playbooks", DOCS.read_text())
    assert int(told) == len(load_corpus())
