"""Jinja2 as Ansible uses it: strict, lazy about variables, and keeping types of expressions."""

from __future__ import annotations

import functools
import os
import traceback
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.runtime import Context
from jinja2.utils import missing

from provisioner.errors import Source
from provisioner.playbook import filters
from provisioner.playbook.modules import is_template
from provisioner.playbook.scope import Scope
from provisioner.remote.arguments import FALSE

_SCOPE = "__scope__"


class TemplateFailed(Exception):
    """An expression or template can't be evaluated; `where` is set for template files."""

    def __init__(self, message: str, where: Source | None = None) -> None:
        super().__init__(f"{where}: {message}" if where else message)
        self.message, self.where = message, where


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
        templar: Templar = self.parent["__templar__"]
        return templar.value(value, scope) if trusted else value  # type: ignore[arg-type]


class Templar:
    """Evaluates values, conditions and template files against a Scope.

    `search` are the directories in which template files and `lookup('file')` are looked for.
    """

    def __init__(self, search: list[Path]) -> None:
        self.search = search
        options: dict[str, Any] = {
            "undefined": jinja2.StrictUndefined,
            "keep_trailing_newline": True,
        }
        self._values = self._environment(**options)
        self._files = self._environment(
            **options,
            trim_blocks=True,
            loader=jinja2.FileSystemLoader([str(directory) for directory in search]),
        )

    def _environment(self, **options: Any) -> jinja2.Environment:
        environment = jinja2.Environment(autoescape=False, **options)
        environment.context_class = _LazyContext
        environment.filters.update(filters.FILTERS)
        environment.tests.update(filters.TESTS)
        environment.globals["lookup"] = self._lookup
        environment.globals["now"] = _now
        environment.globals["__templar__"] = self
        return environment

    @jinja2.pass_context
    def _lookup(self, context: Context, kind: str, name: str) -> Any:
        """`lookup('env' | 'file' | 'template', name)`."""
        kind = kind.removeprefix("ansible.builtin.")
        if kind == "env":
            return os.environ.get(name, "")
        if kind == "file":
            return filters.lookup_file(name, self.search)
        if kind == "template":
            return self.file(name, context.parent[_SCOPE])
        raise filters.FilterFailed(f"lookup: {kind!r} is not supported (env, file, template)")

    def value(self, raw: Any, scope: Scope) -> Any:
        """`raw` with every template in it evaluated. Raises TemplateFailed."""
        if isinstance(raw, str):
            return self._string(raw, scope) if is_template(raw) else raw
        if isinstance(raw, Mapping):
            return {self.value(key, scope): self.value(item, scope) for key, item in raw.items()}
        if isinstance(raw, (list, tuple)):
            return [self.value(item, scope) for item in raw]
        return raw

    def condition(self, condition: Any, scope: Scope) -> bool:
        """A `when`-like condition: a bool, or an expression without braces."""
        if isinstance(condition, bool):
            return condition
        text = str(condition)
        result = self.value(text, scope) if is_template(text) else self._expression(text, scope)
        if isinstance(result, str):
            return result.strip().lower() not in FALSE and bool(result.strip())
        return bool(result)

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

    def _expression(self, text: str, scope: Scope) -> Any:
        with _Explained():
            result = self._compiled(text)(**{_SCOPE: scope})
            if isinstance(result, jinja2.Undefined):
                str(result)  # raises, naming the variable
            return result

    @functools.lru_cache(maxsize=4096)  # noqa: B019 (a templar lives as long as its run)
    def _compiled(self, text: str) -> Any:
        return self._values.compile_expression(text, undefined_to_none=False)

    @functools.lru_cache(maxsize=4096)  # noqa: B019
    def _template(self, text: str) -> jinja2.Template:
        return self._values.from_string(text)

    def parse_file(self, name: str) -> tuple[nodes.Template, Path]:
        """The syntax tree and path of a template file. Raises TemplateFailed."""
        with _Explained(name):
            assert self._files.loader
            source, path, _ = self._files.loader.get_source(self._files, name)
            return self._files.parse(source, name, path), Path(path or name)

    def parse(self, text: str, expression: bool) -> nodes.Template:
        """The syntax tree of a value, or of a bare expression. Raises TemplateFailed."""
        with _Explained():
            source = "{{ " + text + " }}" if expression else text
            return self._values.parse(source)


def _now(utc: bool = False) -> datetime:
    """The controller's clock, as Ansible's `now()`."""
    return datetime.now(timezone.utc if utc else None)


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
        if isinstance(error, (jinja2.TemplateError, filters.FilterFailed, *_VALUE_ERRORS)):
            message = str(error) or type(error).__name__
            raise TemplateFailed(message, self._line(trace)) from None

    def _line(self, trace: Any) -> Source | None:
        if self.name is None:
            return None
        frames = [frame for frame in traceback.extract_tb(trace) if _is(frame, self.name)]
        return Source(self.name, frames[-1].lineno or 0) if frames else Source(self.name)


_VALUE_ERRORS = (TypeError, ValueError, KeyError, AttributeError, IndexError, ZeroDivisionError)


def _is(frame: traceback.FrameSummary, name: str) -> bool:
    return Path(frame.filename).name == Path(name).name


@functools.lru_cache(maxsize=4096)
def _single_expression(text: str) -> str | None:
    """What stands between the braces when the whole text is one `{{ … }}`."""
    stripped = text.strip()
    if not (stripped.startswith("{{") and stripped.endswith("}}")):
        return None
    try:
        body = jinja2.Environment().parse(stripped).body
    except jinja2.TemplateSyntaxError:
        return None
    if len(body) == 1 and isinstance(body[0], nodes.Output) and len(body[0].nodes) == 1:
        return stripped[2:-2].strip("-").strip()
    return None
