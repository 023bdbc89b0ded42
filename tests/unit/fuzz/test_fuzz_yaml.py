"""The YAML loader: any text is a value or BadInput."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fuzzing import bounded, spoilt_text
from hypothesis import example, given
from hypothesis import strategies as st

from provisioner.errors import BadInput
from provisioner.yamlsource import load_yaml, parse_yaml

SNIPPETS = (
    "a", "1", "0x1f", "1:30", "2001-12-14", "2001-12-14t21:59:43-05:00", "~", "yes", ".inf", "1e3",
    "- ", "? ", ": ", ", ", "{", "}", "[", "]", "\n", "\n  ", "\t", "'", '"', "|\n", ">-\n", "# ",
    "&a ", "*a", "<<: *a", "!env ", "!!int ", "!!float ", "!!bool ", "!!timestamp ", "!!binary ",
    "!!null ", "!!set ", "!!omap ", "!!pairs ", "!!str ", "!!seq ", "!!map ", "---\n", "...\n",
    "%YAML 1.1\n", "\0", "\x85", "\u2028", "\ufeff", "_", "é",
)  # fmt: skip
texts = st.text(max_size=40) | st.lists(st.sampled_from(SNIPPETS), max_size=12).map("".join)
EXAMPLE = "a: &x {b: [1, two, 3.0]}\nc:\n  - <<: *x\n    d: |\n      text\n  - 2001-12-14\n"


def parse(text: str) -> None:
    """A value, or BadInput that says where."""
    try:
        parse_yaml(text, "text.yaml", {"!env": lambda value, where: str(value)})
    except BadInput as error:
        assert error.problems
        assert all(problem.message and "text.yaml" in str(problem) for problem in error.problems)


@bounded(1000)
@given(texts)
@example("2001-99-99")
@example("2001-12-14t99:59:43")
@example("0x_")
@example("0b_")
@example("+0_")
@example("._")
@example("9" * 5000)
@example("1:" * 2000 + "1")
@example("!!int x")
@example("!!int ''")
@example("!!float x")
@example("!!bool x")
@example("!!timestamp x")
@example("!!binary é")
@example("!!int [a]")
@example("&a {<<: *a}")
@example("&a [*a]")
@example("&a {b: *a}")
@example("{? [a] : b}")
@example("[" * 500)
@example("[" * 100_000)
@example("[" * 300 + "]" * 300)
@example("- " * 5000)
@example("\ud800")
@example("a: b\n\ud800")
@example("\0")
def test_any_text(text: str) -> None:
    parse(text)


@bounded(500)
@given(spoilt_text(EXAMPLE))
def test_spoilt_yaml(text: str) -> None:
    parse(text)


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("a: 1\nb: 2001-99-99\n", 2, "2001-99-99"),
        ("a: 1\nb: 0x_\n", 2, "0x_"),
        ("a: 1\nb: !!int many\n", 2, "many"),
        ("a: 1\nb: !!bool maybe\n", 2, "maybe"),
        ("a: 1\nb: !!timestamp today\n", 2, "today"),
    ],
)
def test_values_that_look_like_others_are_named_with_their_line(
    text: str, line: int, said: str
) -> None:
    with pytest.raises(BadInput) as caught:
        parse_yaml(text, "text.yaml")
    (problem,) = caught.value.problems
    assert problem.where and problem.where.line == line
    assert said in problem.message


@bounded(200)
@given(st.binary(max_size=40))
def test_any_file(tmp_path_factory: Any, content: bytes) -> None:
    path: Path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_bytes(content)
    try:
        load_yaml(path)
    except BadInput as error:
        assert "any.yaml" in str(error)
