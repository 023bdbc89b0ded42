"""Conditions and templates: any text is a value or TemplateFailed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fuzzing import bounded, spoilt_text
from hypothesis import assume, example, given
from hypothesis import strategies as st

from provisioner.paths import data_dir
from provisioner.playbook import filters
from provisioner.playbook.scope import Layer, Scope
from provisioner.playbook.templating import Templar, TemplateFailed

SCOPE = Scope(
    (
        Layer({"result": {"rc": 1, "stdout": "a\nb", "changed": True}, "odd": "{{ x"}, False),
        Layer({"text": "value", "number": 3, "none": None, "items": [1, "b", {"c": 2}]}, True),
        Layer({"circle": "{{ circle }}", "broken": "{{ 1 +", "missing": "{{ nowhere }}"}, True),
    )
)
NAMES = ("result", "result.rc", "odd", "text", "number", "none", "items", "circle", "broken")
WORDS = (
    *NAMES, "missing", "nowhere", "1", "-1", "0.5", "'a'", "''", "'['", "true", "none", "[]", "{}",
    "and", "or", "not", "in", "is", "if", "else", "==", "!=", "<", "+", "-", "/", "//", "%", "~",
    "|", "(", ")", "[", "]", "{", "}", ",", ".", ":", "{{", "}}", "{%", "%}", "defined", "loop",
    "is defined", "| default(1)", "lookup('env', 'X')", "lookup('file', 'x')", "lookup", "range",
    "__scope__", "__templar__", "self", "super()", "caller()", "namespace()", "cycler(1)", "omit",
)  # fmt: skip
APPLIED = st.builds(
    "{} {} {}{}".format,
    st.sampled_from((*NAMES, "1", "'a'", "['a', 1]", "{'a': 1}", "[]", "none", "'['", "'\\\\'")),
    st.just("|"),
    st.sampled_from(sorted({*filters.FILTERS, "join", "map", "select", "sort", "int", "first"})),
    st.sampled_from(("", "()", "(1)", "('a')", "('[')", "(none)", "('a', 'b')", "(nowhere)")),
)
TESTED = st.builds(
    "{} is {}{}".format,
    st.sampled_from((*NAMES, "1", "'a'", "[]", "none")),
    st.sampled_from(sorted(filters.TESTS)),
    st.sampled_from(("", "('[')", "(1)", "(none)", "('1.0', '>')", "('1.0', 'about')", "([])")),
)
texts = (
    st.text(max_size=20)
    | st.lists(st.sampled_from(WORDS), max_size=8).map(" ".join)
    | APPLIED
    | TESTED
)
TEMPLATES = sorted(data_dir("templates").glob("**/*.j2"))


@pytest.fixture(scope="module")
def templar(tmp_path_factory: pytest.TempPathFactory) -> Templar:
    return Templar([tmp_path_factory.mktemp("templates")])


@bounded(500)
@given(text=texts)
@example(text="(" * 150 + ")" * 150)
@example(text="(" * 5000)
@example(text="not " * 5000)
@example(text="-" * 5000 + "1")
@example(text="1" + " + 1" * 5000)
@example(text="'" + "a" * 5000)
@example(text="9" * 5000)
@example(text="'\\N{NO SUCH NAME}'")
@example(text="'\\ud800'")
@example(text="'\\x'")
@example(text="'{:d}'.format('x')")
@example(text="'%d' % 'x'")
@example(text="1 | round('x')")
@example(text="result.stdout.nothing.at.all")
@example(text="\ud800")
@example(text="text is version('a.b', 'about')")
@example(text="text | hash('no such')")
@example(text="'é' | b64decode")
@example(text="'[' * 100000 | from_json")
@example(text="('[' * 100000) | from_json")
@example(text="('[' * 100000) | from_yaml")
@example(text="'0x_' | from_yaml")
@example(text="'!!bool x' | from_yaml")
@example(text="text | regex_search('a', '')")
@example(text="text | regex_search('(v)', '\\\\2')")
@example(text="text | regex_search('(v)', '\\\\g<x>')")
@example(text="text | regex_replace('(v)', '\\\\9')")
@example(text="[1] | combine")
@example(text="{'a': result} | to_nice_yaml(indent='x')")
@example(text="[nowhere] | to_json")
@example(text="circle")
@example(text="omit ~ ''")
def test_any_condition(templar: Templar, text: str) -> None:
    assume("**" not in text)  # which may be more than a computer can hold
    try:
        truth = templar.condition(text, SCOPE)
    except TemplateFailed as error:
        assert str(error)
    else:
        assert isinstance(truth, bool)


@bounded(500)
@given(
    text=texts, shape=st.sampled_from(("{{%s}}", "a{{ %s }}b", "{%% if %s %%}x{%% endif %%}", "%s"))
)
def test_any_value(templar: Templar, text: str, shape: str) -> None:
    assume("**" not in text)
    try:
        templar.value({"key": [shape % text]}, SCOPE)
    except TemplateFailed as error:
        assert str(error)


@bounded(200)
@given(data=st.data())
def test_spoilt_template_files(templar: Templar, data: Any) -> None:
    source: Path = data.draw(st.sampled_from(TEMPLATES))
    text = data.draw(spoilt_text(source.read_text(encoding="utf-8")))
    # a cache of templates by time of change would not see the next
    name = f"{data.draw(st.uuids())}.j2"
    path = templar.search[0] / name
    path.write_text(text, encoding="utf-8", errors="replace")
    for evaluate in (lambda: templar.file(name, SCOPE), lambda: templar.parse_file(name)):
        try:
            evaluate()
        except TemplateFailed as error:
            assert str(error)
    path.unlink()
