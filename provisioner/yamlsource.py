"""YAML with positions: every mapping, sequence and key knows its file and line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from provisioner.errors import BadInput, Source


class MarkedDict(dict[Any, Any]):
    """A mapping from a file; `source` is its start, `key_sources` the place of each key."""

    source: Source
    key_sources: dict[Any, Source]

    def where(self, key: Any) -> Source:
        """The place of `key`, or of the mapping when it has no such key."""
        return self.key_sources.get(key, self.source)


class MarkedList(list[Any]):
    """A sequence from a file; `item_sources` has one place per item."""

    source: Source
    item_sources: list[Source]


DEEPEST = 100  # levels of lists and mappings in each other
_MANY = 1000  # characters that begin a list or a mapping; with fewer of them nothing is too deep

TagHandler = Callable[[Any, Source], Any]
"""Turns the plain value behind a `!tag` into what it stands for."""


def load_yaml(path: Path, tags: dict[str, TagHandler] | None = None) -> Any:
    """Read one YAML document from `path`.

    Raises BadInput, with file and line, when the file can't be read, is no YAML, has a duplicate
    key, or uses a tag that is not in `tags`.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise BadInput.of(f"no such file: {path}", advice="check the path") from None
    except IsADirectoryError:
        raise BadInput.of(f"is a directory, not a YAML file: {path}") from None
    except OSError as error:
        raise BadInput.of(f"can't read {path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise BadInput.of(f"can't read {path}: {error}", advice="save it as UTF-8") from None
    return parse_yaml(text, str(path), tags)


def parse_yaml(text: str, file: str, tags: dict[str, TagHandler] | None = None) -> Any:
    """Like `load_yaml` for a text; `file` is the name used in errors."""
    try:
        _refuse_depth(text, file)
        return _loaded(text, file, tags or {})
    except yaml.MarkedYAMLError as error:
        raise _as_bad_input(error, text, file) from None
    except yaml.YAMLError as error:
        raise BadInput.of(f"not valid YAML: {error}", Source(file)) from None
    except UnicodeEncodeError:  # of the command line, say: files were decoded before
        raise BadInput.of("not valid YAML: it is no UTF-8", Source(file)) from None
    except RecursionError:
        raise BadInput.of(
            "not valid YAML: it refers to itself, or is too deep", Source(file)
        ) from None


def _loaded(text: str, file: str, tags: dict[str, TagHandler]) -> Any:
    loader = _Loader(text)
    loader.file, loader.tags = file, tags
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()


def _refuse_depth(text: str, file: str) -> None:
    """Refuse what is so deep that libyaml would overflow the stack, and end the whole process."""
    if sum(map(text.count, "[{-?")) < _MANY:
        return
    depth = 0
    for event in yaml.parse(text, Loader=_Base):
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            line = event.start_mark.line + 1 if event.start_mark else 0
            raise BadInput.of(f"nested more than {DEEPEST} levels deep", Source(file, line))


def _as_bad_input(error: yaml.MarkedYAMLError, text: str, file: str) -> BadInput:
    mark = error.problem_mark or error.context_mark
    where = Source(file, mark.line + 1, mark.column + 1) if mark else Source(file)
    lines = text.splitlines()
    line = lines[mark.line] if mark and mark.line < len(lines) else ""
    if "\t" in line[: len(line) - len(line.lstrip())]:
        return BadInput.of("a tab is used for indentation", where, "YAML allows only spaces")
    return BadInput.of(f"not valid YAML: {error.problem or error.context}", where)


# several times faster where PyYAML was built with libyaml
_Base: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_Base):  # type: ignore[misc, valid-type]
    """SafeLoader that keeps positions and refuses duplicate keys and unknown tags."""

    file: str
    tags: dict[str, TagHandler]

    def source_of(self, node: yaml.Node) -> Source:
        return Source(self.file, node.start_mark.line + 1, node.start_mark.column + 1)

    def marked_dict(self, node: yaml.Node) -> MarkedDict:
        if not isinstance(node, yaml.MappingNode):
            raise BadInput.of("!!map is no tag for this", self.source_of(node))
        result = MarkedDict()
        result.source = self.source_of(node)
        result.key_sources = {}
        self.flatten_mapping(node)
        for key_node, value_node in node.value:
            key = self.construct_object(key_node, deep=True)
            where = self.source_of(key_node)
            if not isinstance(key, (str, int, float, bool)):
                raise BadInput.of(f"a key must be a plain word, not {key!r}", where)
            if key in result.key_sources:
                first = result.key_sources[key]
                raise BadInput.of(
                    f"duplicate key {key!r}", where, f"it is already given at line {first.line}"
                )
            result.key_sources[key] = where
            result[key] = self.construct_object(value_node, deep=True)
        return result

    def marked_list(self, node: yaml.Node) -> MarkedList:
        if not isinstance(node, yaml.SequenceNode):
            raise BadInput.of("!!seq is no tag for this", self.source_of(node))
        result = MarkedList(self.construct_object(child, deep=True) for child in node.value)
        result.source = self.source_of(node)
        result.item_sources = [self.source_of(child) for child in node.value]
        return result

    def scalar(self, node: yaml.ScalarNode) -> Any:
        """A number, date or the like; SafeLoader's own way with others is any exception."""
        kind = node.tag.rpartition(":")[2]
        try:
            return _Base.yaml_constructors[node.tag](self, node)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
            shown = str(node.value)[:50]
            advice = "put it in quotes if it is a text"
            raise BadInput.of(f"{shown!r} is no {kind}", self.source_of(node), advice) from None

    def tagged(self, node: yaml.Node) -> Any:
        handler = self.tags.get(node.tag)
        where = self.source_of(node)
        if handler is None:
            known = ", ".join(sorted(self.tags)) or "none"
            raise BadInput.of(f"unknown tag {node.tag}", where, f"known here: {known}")
        if isinstance(node, yaml.ScalarNode):
            return handler(self.construct_scalar(node), where)
        if isinstance(node, yaml.SequenceNode):
            return handler(self.marked_list(node), where)
        return handler(self.marked_dict(node), where)


_Loader.add_constructor("tag:yaml.org,2002:map", _Loader.marked_dict)
_Loader.add_constructor("tag:yaml.org,2002:seq", _Loader.marked_list)
for _kind in ("binary", "bool", "float", "int", "timestamp"):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_kind}", _Loader.scalar)
_Loader.add_constructor(None, _Loader.tagged)
