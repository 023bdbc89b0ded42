"""`b9prov explain`, and what `b9prov doctor` refuses before it asks anybody."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from provisioner.cli.main import program
from provisioner.codes import CODES


def says(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(program, list(words))
    assert "Traceback" not in result.output
    return result.exit_code, result.output


def test_explain_shows_the_section_of_a_code() -> None:
    code, said = says("explain", "B9-TOKEN-KIND", "ssh-key")
    assert code == 0
    assert "B9-TOKEN-KIND: 403: the token is not a machine's" in said
    assert "B9-SSH-KEY: the host's key is not believed" in said
    assert "b9prov trust" in said and "###" not in said


def test_explain_lists_all_codes() -> None:
    code, said = says("explain")
    assert code == 0
    assert [line.split()[0] for line in said.splitlines()] == list(CODES)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("explain", "nope"), "nope is no code of b9prov"),
        (("doctor", "/no/such/file"), "no such file"),
        (("doctor", "--check"), "--check goes with --fix"),
        (("doctor", "x.yaml", "w1", "--limit", "w2"), "name the same thing"),
    ],
)
def test_what_can_t_be_done_is_said(words: tuple[str, ...], why: str) -> None:
    code, said = says(*words)
    assert (code, why in said) == (2, True), said
