r"""What backslashes in the strings of expressions mean: `\1` is two characters in a value, as
Ansible has it, while conditions and template files have Jinja's own escapes."""

from __future__ import annotations

from pathlib import Path

from provisioner.playbook.scope import Layer, Scope
from provisioner.playbook.templating import Templar

LINES = Scope((Layer({"text": "a\nb", "path": "a\\nb"}, trusted=False),))


def test_a_backslash_in_a_value_is_itself() -> None:
    templar = Templar([])
    assert templar.value(r"{{ 'ab' | regex_replace('(.)b', '\1') }}", LINES) == "a"
    assert templar.value(r"{{ 'a\nb' }}", LINES) == "a\\nb"
    assert templar.value(r"<{{ 'a\nb' }}>", LINES) == "<a\\nb>"


def test_a_condition_has_escapes() -> None:
    templar = Templar([])
    assert templar.condition(r"text == 'a\nb'", LINES)
    assert templar.condition(r"path == 'a\\nb'", LINES)
    # the same text as a value and as a condition
    assert templar.value(r"{{ text == 'a\nb' }}", LINES) is False


def test_a_template_file_has_escapes(tmp_path: Path) -> None:
    (tmp_path / "lines.j2").write_text(r"{{ 'a\nb' }}")
    assert Templar([tmp_path]).file("lines.j2", LINES) == "a\nb"
