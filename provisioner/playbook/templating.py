"""Jinja2 as Ansible uses it: strict, lazy about variables, and keeping types of expressions."""

from __future__ import annotations

import functools
import os
import re
import traceback
from collections.abc import ItemsView, Iterator, KeysView, Mapping, ValuesView
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import jinja2
import yaml
from jinja2 import nodes
from jinja2.runtime import Context
from jinja2.utils import missing

from provisioner.artifacts.sources import artifact
from provisioner.errors import Source
from provisioner.playbook import filters
from provisioner.playbook.modules import is_template
from provisioner.playbook.scope import Scope
from provisioner.remote.arguments import FALSE, TRUE
from provisioner.secrets import Secret

_SCOPE = "__scope__"


class TemplateFailed(Exception):
    """An expression or template can't be evaluated; `where` is set for template files."""

    def __init__(self, message: str, where: Source | None = None) -> None:
        super().__init__(f"{where}: {message}" if where else message)
        self.message, self.where = message, where


class VariableUndefined(TemplateFailed):
    """It can't be evaluated because something in it is undefined."""


class _Omitted:
    """What `omit` stands for: an argument that has it counts as not given."""

    def __str__(self) -> str:
        raise ValueError("omit stands for a whole value, it can't be part of a text")

    def __repr__(self) -> str:
        return "omit"


OMIT = _Omitted()


def without_omitted(value: Any) -> Any:
    """`value` without the parts that are `omit`, at any depth."""
    if isinstance(value, dict):
        return {key: without_omitted(item) for key, item in value.items() if item is not OMIT}
    if isinstance(value, list):
        return [without_omitted(item) for item in value if item is not OMIT]
    return value


class _Undefined(jinja2.ChainableUndefined, jinja2.StrictUndefined):
    """What is within something undefined is undefined as well; any use of it is an error."""


class _LazyContext(Context):
    """Looks variables up in the Scope only when they are used, which may wait for a host."""

    def resolve_or_missing(self, key: str) -> Any:
        if key in self.vars:
            return self.vars[key]
        scope: Scope | None = self.parent.get(_SCOPE)
        found = scope.find(key) if scope is not None else None
        if found is None:
            return self.parent.get(key, missing)
        value, trusted = found
        if not trusted:
            return value
        templar: Templar = self.parent["__templar__"]
        try:
            return templar.value(value, scope)  # type: ignore[arg-type]
        except VariableUndefined as error:
            # for `default` and `is defined` it is as undefined as what it refers to
            return self.environment.undefined(hint=error.message, name=key)


class Templar:
    """Evaluates values, conditions and template files against a Scope.

    `search` are the directories in which template files and `lookup('file')` are looked for.
    """

    def __init__(self, search: list[Path]) -> None:
        self.search = search
        options: dict[str, Any] = {
            "undefined": _Undefined,
            "keep_trailing_newline": True,
            "trim_blocks": True,
            "finalize": _finalized,
        }
        self._values = self._environment(**options)
        self._files = self._environment(
            **options,
            loader=_FileLoader([str(directory) for directory in search]),
        )

    def _environment(self, **options: Any) -> jinja2.Environment:
        environment = jinja2.Environment(autoescape=False, **options)  # noqa: S701 — this is no HTML
        environment.context_class = _LazyContext
        environment.filters.update(filters.FILTERS)
        environment.filters["artifact"] = artifact
        environment.tests.update(filters.TESTS)
        environment.globals["lookup"] = self._lookup
        environment.globals["now"] = _now
        environment.globals["__templar__"] = self
        return environment

    @jinja2.pass_context
    def _lookup(
        self, context: Context, kind: str, *names: str, errors: str = "strict", default: str = ""
    ) -> Any:
        """`lookup('env' | 'file' | 'template', name…)`, joined with commas where there are several;
        with errors='ignore' None when it fails."""
        try:
            found = [self._looked_up(context, kind, name, default) for name in names]
            return found[0] if len(found) == 1 else ",".join(map(str, found))
        except (filters.FilterFailed, TemplateFailed):
            if errors == "ignore":
                return None
            raise

    def _looked_up(self, context: Context, kind: str, name: str, default: str) -> Any:
        kind = kind.removeprefix("ansible.builtin.")
        if kind == "env":
            return os.environ.get(name, default)
        if kind == "file":
            return filters.lookup_file(name, self.search)
        if kind == "template":
            return self.file(name, context.parent[_SCOPE])
        raise filters.FilterFailed(f"lookup: {kind!r} is not supported (env, file, template)")

    def value(self, raw: Any, scope: Scope) -> Any:
        """`raw` with every template in it evaluated. Raises TemplateFailed."""
        if isinstance(raw, Secret):
            return raw.reveal()  # not evaluated: a password may look like anything
        if isinstance(raw, str):
            return self._string(raw, scope) if is_template(raw) else raw
        if isinstance(raw, Mapping):
            with _Explained():
                return {self.value(k, scope): self.value(item, scope) for k, item in raw.items()}
        if isinstance(raw, (list, tuple)):
            return [self.value(item, scope) for item in raw]
        return raw

    def condition(self, condition: Any, scope: Scope) -> bool:
        """A `when`-like condition: a bool, or an expression without braces."""
        if isinstance(condition, bool):
            return condition
        text = str(condition)
        templated = is_template(text)
        # conditions have Jinja's own escapes, as with Ansible
        result = self.value(text, scope) if templated else self._expression(text, scope, False)
        return _truth(result, templated) if isinstance(result, str) else bool(result)

    def all(self, conditions: tuple[Any, ...], scope: Scope) -> bool:
        """Whether every condition holds; those after a false one are not evaluated."""
        return all(self.condition(condition, scope) for condition in conditions)

    def file(self, name: str, scope: Scope) -> str:
        """The template file `name`, rendered. Raises TemplateFailed with template and line."""
        with _Explained(name):
            template = self._files.get_template(name)
            return template.render({_SCOPE: scope})

    def _string(self, text: str, scope: Scope) -> Any:
        inner = _single_expression(text)
        if inner is not None:
            return self._expression(inner, scope)
        with _Explained():
            return self._template(text).render({_SCOPE: scope})

    def _expression(self, text: str, scope: Scope, literal: bool = True) -> Any:
        with _Explained():
            result = self._compiled(text, literal)(**{_SCOPE: scope})
            return _plain(result)

    @functools.lru_cache(maxsize=4096)  # noqa: B019 (a templar lives as long as its run)
    def _compiled(self, text: str, literal: bool) -> Any:
        source = self._literal(text) if literal else text
        return self._values.compile_expression(source, undefined_to_none=False)

    @functools.lru_cache(maxsize=4096)  # noqa: B019
    def _template(self, text: str) -> jinja2.Template:
        return self._values.from_string(self._literal(text))

    def _literal(self, text: str) -> str:
        """`text` with the backslashes of its strings doubled: as with Ansible, `'\\1'` is a
        backslash and a digit in a playbook's values, but not in conditions and template files."""
        if "\\" not in text:
            return text
        bare = not is_template(text)
        source = "{{ " + text + " }}" if bare else text
        try:
            tokens = list(self._values.lex(source))
        except jinja2.TemplateSyntaxError:
            return text  # told where it is compiled
        doubled = "".join(
            _QUOTED.sub(_doubled, value) if kind == "string" else value for _, kind, value in tokens
        )
        return doubled[3:-3] if bare else doubled

    def parse_file(self, name: str) -> tuple[nodes.Template, Path]:
        """The syntax tree and path of a template file. Raises TemplateFailed."""
        with _Explained(name):
            assert self._files.loader
            source, path, _ = self._files.loader.get_source(self._files, name)
            return self._files.parse(source, name, path), Path(path or name)

    def unknown_names(self, tree: nodes.Template) -> Iterator[tuple[str, int]]:
        """Filters and tests that don't exist, as `filter 'x'`, with their lines."""
        for node in tree.find_all((nodes.Filter, nodes.Test)):
            is_filter = isinstance(node, nodes.Filter)
            known = self._values.filters if is_filter else self._values.tests
            if node.name is not None and node.name not in known:
                yield f"{'filter' if is_filter else 'test'} {node.name!r}", node.lineno

    def parse(self, text: str, expression: bool) -> nodes.Template:
        """The syntax tree of a value, or of a bare expression. Raises TemplateFailed."""
        with _Explained():
            source = "{{ " + text + " }}" if expression else text
            return self._values.parse(source)


_QUOTED = re.compile(r"\\(['\"])(?!$)|\\")


def _doubled(match: re.Match[str]) -> str:
    """A backslash twice, unless it is before a quote."""
    return match[0] if match[1] else "\\\\"


def _now(utc: bool = False) -> datetime:
    """The controller's clock, as Ansible's `now()`."""
    return datetime.now(timezone.utc if utc else None)


class _FileLoader(jinja2.FileSystemLoader):
    """Refuses what would silently mean something else than with Ansible."""

    def get_source(self, environment: jinja2.Environment, template: str) -> Any:
        if Path(template).is_file() and Path(template).is_absolute():
            text = Path(template).read_text(encoding=self.encoding)
            found: Any = (text, template, lambda: True)
        else:
            found = super().get_source(environment, template)
        if found[0].startswith("#jinja2:"):
            raise jinja2.TemplateSyntaxError("a #jinja2: line is not supported", 1, template)
        return found


def _truth(text: str, templated: bool) -> bool:
    """The truth of a condition that came out as a text, where that is beyond doubt.

    Ansible takes every text but the empty one as true, even "no" and "false".
    """
    word = text.strip().lower()
    if templated and word in ("true", "false"):
        return word == "true"
    if templated or word in TRUE | FALSE:
        raise TemplateFailed(
            "the condition is a text, not true or false; compare it with something, or use `| bool`"
        )
    return bool(word)


def _plain(value: Any) -> Any:
    """A value without generators and undefined parts, as it can be sent, kept and shown."""
    if isinstance(value, jinja2.Undefined):
        str(value)  # raises, naming the variable
    if isinstance(value, (Iterator, KeysView, ValuesView, ItemsView, range, set, frozenset)):
        return [_plain(item) for item in value]
    if type(value) in (list, tuple):
        return [_plain(item) for item in value]
    if type(value) is dict:
        return {key: _plain(item) for key, item in value.items()}
    return value


def _finalized(value: Any) -> Any:
    """What an expression within a text comes to: a list where Jinja is lazy, nothing for null."""
    if value is None:
        return ""
    lazy = (Iterator, KeysView, ValuesView, ItemsView, tuple, list, dict)
    return _plain(value) if isinstance(value, lazy) else value


class _Explained:
    """Turns Jinja's exceptions into TemplateFailed with the template's name and line."""

    def __init__(self, name: str | None = None) -> None:
        self.name = name

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if error is None or isinstance(error, TemplateFailed):
            return
        if isinstance(error, RecursionError):
            raise TemplateFailed("variables refer to each other in a circle") from None
        if isinstance(error, jinja2.TemplateNotFound):
            raise TemplateFailed(f"no such template: {error.name}") from None
        if isinstance(error, jinja2.TemplateSyntaxError):
            where = Source(error.name or self.name, error.lineno) if self.name else None
            raise TemplateFailed(error.message or "syntax error", where) from None
        if isinstance(error, jinja2.UndefinedError):
            raise VariableUndefined(str(error), self._line(trace)) from None
        if isinstance(error, (jinja2.TemplateError, filters.FilterFailed, *_VALUE_ERRORS)):
            message = str(error) or type(error).__name__
            raise TemplateFailed(message, self._line(trace)) from None

    def _line(self, trace: Any) -> Source | None:
        if self.name is None:
            return None
        frames = [frame for frame in traceback.extract_tb(trace) if _is(frame, self.name)]
        return Source(self.name, frames[-1].lineno or 0) if frames else Source(self.name)


# what filters, tests and methods of values raise when they are given what they can't work with
_VALUE_ERRORS = (
    ArithmeticError,
    AttributeError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    re.error,
    yaml.YAMLError,
)


def _is(frame: traceback.FrameSummary, name: str) -> bool:
    return Path(frame.filename).name == Path(name).name


@functools.lru_cache(maxsize=4096)
def _single_expression(text: str) -> str | None:
    """What stands between the braces when the whole text is one `{{ … }}`, with nothing around."""
    if not (text.startswith("{{") and text.endswith("}}")):
        return None
    try:
        body = jinja2.Environment().parse(text).body  # noqa: S701 — only parsed
    except jinja2.TemplateSyntaxError:
        return None
    if len(body) == 1 and isinstance(body[0], nodes.Output) and len(body[0].nodes) == 1:
        return text[2:-2].strip("-").strip()
    return None
