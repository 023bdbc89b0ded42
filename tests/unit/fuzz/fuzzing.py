"""What the fuzz tests share: how long they search, and how they spoil good input."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, TypeVar

import yaml
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

PIECES = ("\t", "\n", "- ", ": ", "{", "}", "[", "'", '"', "&a ", "*a", "!!")
Test = TypeVar("Test", bound=Callable[..., Any])

# Values that a key or an item may be given by mistake, one of each kind that YAML knows.
ODD = (
    None,
    True,
    0,
    -1,
    10**30,
    1.5,
    float("nan"),
    "",
    " ",
    "a\nb\0c",
    "\N{REPLACEMENT CHARACTER}é\N{PILE OF POO}",
    "{{",
    "{{ undefined }}",
    "{% if %}",
    "../../..",
    "/",
    [],
    {},
    [None],
    [[["deep"]]],
    {"a": {"b": {"c": None}}},
    {1: 2},
)


def bounded(examples: int) -> Callable[[Test], Test]:
    """So many examples, and as slow as they are."""
    return settings(
        max_examples=examples,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


@st.composite
def spoilt_text(draw: st.DrawFn, text: str) -> str:
    """The text with a few pieces cut out, doubled, moved or replaced."""
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.integers(0, 40)))
        piece = draw(
            st.one_of(
                st.just(""),
                st.just(text[start:end] * 2),
                st.sampled_from(PIECES),
                st.text(max_size=8),
            )
        )
        text = text[:start] + piece + text[end:]
    return text


@st.composite
def spoilt_tree(draw: st.DrawFn, text: str) -> str:
    """The YAML document with a few of its values or keys replaced by odd ones."""
    tree = yaml.safe_load(text)
    for _ in range(draw(st.integers(1, 3))):
        chance = random.Random(draw(st.integers(0, 2**32)))
        tree = _spoil(tree, chance, draw(st.sampled_from(ODD)))
    return yaml.safe_dump(tree, sort_keys=False)


def _spoil(tree: Any, chance: random.Random, odd: Any) -> Any:
    """`tree` with one place, chosen by going down at random, made `odd`."""
    if not tree or chance.random() < 0.15 or not isinstance(tree, (dict, list)):
        return odd
    if isinstance(tree, list):
        index = chance.randrange(len(tree))
        return [*tree[:index], _spoil(tree[index], chance, odd), *tree[index + 1 :]]
    key = chance.choice(list(tree))
    if chance.random() < 0.15 and isinstance(odd, (str, int, float, bool)):
        return {odd if name == key else name: value for name, value in tree.items()}
    return {**tree, key: _spoil(tree[key], chance, odd)}
