"""A Secret can't be printed by accident, whichever way one goes about it."""

from __future__ import annotations

import base64
import copy
import dataclasses
import io
import json
import logging
import pickle
import pprint
import traceback
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, quote_plus

import jinja2
import pytest
import yaml
from rich.console import Console

from provisioner.secrets import MASK, Secret, mask, revealed

VALUE = 'hunter2/"pass word"+ä&\\'


@dataclasses.dataclass
class Holder:
    """As an inventory holds it."""

    password: Secret


def logged(secret: Secret) -> str:
    stream = io.StringIO()
    logger = logging.Logger("test")
    logger.addHandler(logging.StreamHandler(stream))
    logger.error("%s %r", secret, secret)
    return stream.getvalue()


def with_locals(secret: Secret) -> str:
    kept = [secret]
    try:
        raise ValueError(secret, f"with {secret}", kept)
    except ValueError as error:
        plain = traceback.TracebackException.from_exception(error, capture_locals=True)
        console = Console(file=io.StringIO(), width=200)
        console.print_exception(show_locals=True)
        return "".join(plain.format()) + console.file.getvalue()  # type: ignore[attr-defined]


WAYS: dict[str, Callable[[Secret], str]] = {
    "str": str,
    "repr": repr,
    "f-string": lambda secret: f"{secret} {secret!s} {secret!r} {secret:>30}",
    "format": lambda secret: "{} {!r:>30}".format(*[secret] * 2),
    "percent": lambda secret: "%s %r" % (secret, secret),  # noqa: UP031
    "containers": lambda secret: f"{[secret]} {({'a': secret},)} {pprint.pformat([secret])}",
    "a dataclass": lambda secret: f"{Holder(secret)} {dataclasses.asdict(Holder(secret))}",
    "logging": logged,
    "a traceback": with_locals,
    "print": lambda secret: print(secret, file=(out := io.StringIO())) or out.getvalue(),
    "Jinja": lambda secret: jinja2.Template("{{ s }} {{ s ~ '' }} {{ [s] }}").render(s=secret),
    "JSON with a default": lambda secret: json.dumps({"a": [secret]}, default=str),
}


@pytest.mark.parametrize("way", WAYS)
def test_it_is_a_mask(way: str) -> None:
    shown = WAYS[way](Secret(VALUE))
    assert MASK in shown
    assert "hunter2" not in shown


@pytest.mark.parametrize("dump", [json.dumps, yaml.safe_dump, "".join, bytes])
def test_what_would_write_it_refuses_it(dump: Callable[[Any], Any]) -> None:
    with pytest.raises((TypeError, yaml.YAMLError)) as refused:
        dump([Secret(VALUE)])
    assert "hunter2" not in str(refused.value)


def test_it_has_no_attributes_to_look_into() -> None:
    with pytest.raises(TypeError):
        vars(Secret(VALUE))


def test_it_stands_for_its_value() -> None:
    secret = Secret(VALUE)
    assert revealed(secret) == secret.reveal() == VALUE
    assert secret == VALUE and secret == Secret(VALUE) and secret != "another"
    assert secret in {VALUE} and hash(secret) == hash(VALUE)
    assert Secret("x") and not Secret("")
    assert copy.deepcopy(secret) == secret
    assert pickle.loads(pickle.dumps(secret)) == secret


@pytest.mark.parametrize(
    "form",
    [
        VALUE,
        base64.b64encode(VALUE.encode()).decode(),
        quote(VALUE),
        quote(VALUE, safe=""),
        quote_plus(VALUE),
    ],
)
def test_what_others_make_of_it_is_masked(form: str) -> None:
    Secret(VALUE)
    assert mask(f"before {form} after") == f"before {MASK} after"
