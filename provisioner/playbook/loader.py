"""Playbook files → plays: imports, roles, includes and blocks are resolved here."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from provisioner.errors import BadInput, Problem, Source
from provisioner.playbook import modules
from provisioner.playbook.model import Play, Playbook, Role, Task
from provisioner.playbook.tasks import (
    INHERITED,
    inherit,
    inherited_keywords,
    short_name,
    task_from,
)
from provisioner.yamlsource import MarkedDict, MarkedList, load_yaml

PLAY_KEYWORDS = frozenset(
    "name hosts vars vars_files environment tags become become_user gather_facts pre_tasks roles "
    "tasks post_tasks handlers".split()
)
INCLUDES = frozenset({"import_tasks", "include_tasks"})
ROLE_INCLUDES = frozenset({"import_role", "include_role"})
SUFFIXES = (".yaml", ".yml")


class Loader:
    """Reads playbooks; roles are looked for beside the playbook, then in `role_paths`."""

    def __init__(self, role_paths: list[Path]) -> None:
        self.role_paths = role_paths

    def playbook(self, path: Path) -> Playbook:
        """Read `path` and all that it refers to. Raises BadInput with every problem found."""
        return Playbook(path, tuple(self._plays(path, ())))

    def _plays(self, path: Path, stack: tuple[Path, ...]) -> list[Play]:
        stack = _enter(path, stack)
        content = _list_of_mappings(path, "a playbook is a list of plays")
        plays: list[Play] = []
        problems: list[Problem] = []
        for entry in content:
            try:
                if "import_playbook" in entry:
                    plays += self._imported(entry, path, stack)
                else:
                    plays.append(_PlayLoader(self, path, stack).play(entry))
            except BadInput as error:
                problems += error.problems
        if problems:
            raise BadInput(problems)
        return plays

    def _imported(self, entry: MarkedDict, path: Path, stack: tuple[Path, ...]) -> list[Play]:
        _refuse_unknown(entry, frozenset({"import_playbook", "name", "tags", "vars"}), "import")
        target = path.parent / str(entry["import_playbook"])
        if not target.exists():
            where = entry.where("import_playbook")
            raise BadInput.of(f"no such playbook: {entry['import_playbook']}", where)
        return [
            replace(
                play,
                vars={**play.vars, **dict(entry.get("vars") or {})},
                tasks=tuple(inherit(task, _outer(entry)) for task in play.tasks),
            )
            for play in self._plays(target, stack)
        ]

    def find_role(self, name: str, beside: Path, where: Source) -> Path:
        """The directory of role `name`. Raises BadInput."""
        for directory in [beside / "roles", beside, *self.role_paths]:
            if (directory / name).is_dir():
                return directory / name
        raise BadInput.of(f"no such role: {name}", where, "roles live in roles/ by the playbook")


class _PlayLoader:
    """Loads one play; `handlers` gathers those of its roles too."""

    def __init__(self, loader: Loader, path: Path, stack: tuple[Path, ...]) -> None:
        self.loader, self.path, self.stack = loader, path, stack
        self.handlers: list[Task] = []

    def play(self, entry: MarkedDict) -> Play:
        _refuse_unknown(entry, PLAY_KEYWORDS, "play")
        if "hosts" not in entry:
            raise BadInput.of("a play without hosts", entry.source, "say `hosts: workers`")
        outer = _outer(entry)
        tasks: list[Task] = []
        for section in ("pre_tasks", "roles", "tasks", "post_tasks"):
            content = entry.get(section) or []
            if not isinstance(content, list):
                raise BadInput.of(f"{section} must be a list", entry.where(section))
            if section == "roles":
                tasks += self._roles(content, outer)
            else:
                tasks += self.tasks(content, self.path, None, None, self.stack)
        handlers = self.tasks(entry.get("handlers") or [], self.path, None, None, self.stack)
        play_tags = replace(outer, when=(), vars={}, become=None, become_user=None, environment={})
        return Play(
            name=str(entry.get("name") or entry["hosts"]),
            hosts=_pattern(entry["hosts"]),
            where=entry.source,
            directory=self.path.parent,
            tasks=tuple(inherit(task, play_tags) for task in tasks),
            handlers=(*self.handlers, *handlers),
            vars={**self._vars_files(entry), **dict(entry.get("vars") or {})},
            environment=dict(entry.get("environment") or {}),
            become=bool(outer.become),
            become_user=str(entry.get("become_user") or "root"),
            gather_facts=entry.get("gather_facts", True) is not False,
        )

    def _vars_files(self, entry: MarkedDict) -> dict[str, Any]:
        merged: dict[str, Any] = {}
        for name in entry.get("vars_files") or []:
            content = load_yaml(self.path.parent / str(name))
            merged.update(content or {})
        return merged

    def _roles(self, entries: list[Any], outer: Task) -> list[Task]:
        tasks: list[Task] = []
        for index, entry in enumerate(entries):
            if isinstance(entry, str):
                where = entries.item_sources[index] if isinstance(entries, MarkedList) else None
                mapping = MarkedDict(role=entry)
                mapping.source, mapping.key_sources = where or outer.where, {}
            else:
                mapping = entry
            name = str(mapping.get("role") or mapping.get("name") or "")
            _refuse_unknown(mapping, INHERITED | {"role"}, "role")
            tasks += self.role(name, mapping, None, self.stack)
        return tasks

    def role(
        self, name: str, use: MarkedDict, outer: Task | None, stack: tuple[Path, ...]
    ) -> list[Task]:
        """The tasks of a role, as `use` (an entry of roles: or an include) wants them."""
        path = self.loader.find_role(name, self.path.parent, use.source)
        role = Role(
            name,
            path,
            defaults=_variables(path / "defaults"),
            vars=_variables(path / "vars"),
            params=dict(use.get("vars") or {}),
        )
        around = inherit(_outer(use), outer)
        main = _main_file(path / "tasks")
        tasks = self._file(main, role, around, stack) if main else []
        handlers = _main_file(path / "handlers")
        if handlers and not any(handler.role == role for handler in self.handlers):
            self.handlers += self._file(handlers, role, None, stack)
        return tasks

    def _file(
        self, path: Path, role: Role | None, outer: Task | None, stack: tuple[Path, ...]
    ) -> list[Task]:
        stack = _enter(path, stack)
        content = _list_of_mappings(path, "a list of tasks was expected")
        return self.tasks(content, path, role, outer, stack)

    def tasks(
        self,
        entries: list[Any],
        path: Path,
        role: Role | None,
        outer: Task | None,
        stack: tuple[Path, ...],
    ) -> list[Task]:
        """The tasks of a list, with includes and blocks opened up."""
        tasks: list[Task] = []
        problems: list[Problem] = []
        for entry in entries:
            try:
                if not isinstance(entry, MarkedDict):
                    raise BadInput.of("a task must be a mapping", Source(str(path)))
                tasks += self._entry(entry, path, role, outer, stack)
            except BadInput as error:
                problems += error.problems
        if problems:
            raise BadInput(problems)
        return tasks

    def _entry(
        self,
        entry: MarkedDict,
        path: Path,
        role: Role | None,
        outer: Task | None,
        stack: tuple[Path, ...],
    ) -> list[Task]:
        keys = {short_name(key): key for key in entry}
        if "block" in keys:
            _refuse_unknown(entry, INHERITED | {"block"}, "block")
            return self.tasks(entry["block"], path, role, inherit(_outer(entry), outer), stack)
        include = sorted(INCLUDES & keys.keys())
        if include:
            key = keys[include[0]]
            _refuse_unknown(entry, INHERITED | {key}, "include")
            file = entry[key]["file"] if isinstance(entry[key], dict) else entry[key]
            target = path.parent / str(file)
            if modules.is_template(file) or not target.exists():
                raise BadInput.of(f"no such task file: {file}", entry.where(key))
            return self._file(target, role, inherit(_outer(entry), outer), stack)
        include = sorted(ROLE_INCLUDES & keys.keys())
        if include:
            key = keys[include[0]]
            _refuse_unknown(entry, INHERITED | {key}, "include")
            name = entry[key]["name"] if isinstance(entry[key], dict) else entry[key]
            return self.role(str(name), entry, outer, stack)
        return [task_from(entry, role, outer)]


def _outer(mapping: MarkedDict) -> Task:
    """What a play, block or include passes down, as a task without a module."""
    name = str(mapping.get("name") or "")
    return Task(name, "", {}, mapping.source, **inherited_keywords(mapping))


def _enter(path: Path, stack: tuple[Path, ...]) -> tuple[Path, ...]:
    resolved = path.resolve()
    if resolved in stack:
        chain = " → ".join(step.name for step in [*stack[stack.index(resolved) :], resolved])
        raise BadInput.of(f"files include each other in a loop: {chain}", Source(str(path)))
    return (*stack, resolved)


def _list_of_mappings(path: Path, expectation: str) -> list[MarkedDict]:
    content = load_yaml(path)
    if content is None:
        content = []
    if not isinstance(content, list):
        raise BadInput.of(expectation, Source(str(path), 1))
    for index, entry in enumerate(content):
        if not isinstance(entry, MarkedDict):
            raise BadInput.of(expectation, content.item_sources[index])  # type: ignore[attr-defined]
    return content


def _refuse_unknown(mapping: MarkedDict, known: frozenset[str], what: str) -> None:
    problems = [
        Problem(f"unknown {what} keyword {key!r}", mapping.where(key), _advice(key, known))
        for key in mapping
        if key not in known
    ]
    if problems:
        raise BadInput(problems)


def _advice(key: Any, known: frozenset[str]) -> str:
    return modules.suggestion(str(key), sorted(known)) or "it is outside the supported language"


def _main_file(directory: Path) -> Path | None:
    for suffix in SUFFIXES:
        file = directory / f"main{suffix}"
        if file.is_file():
            return file
    return None


def _variables(directory: Path) -> dict[str, Any]:
    file = _main_file(directory)
    content = load_yaml(file) if file else {}
    if content is not None and not isinstance(content, dict):
        raise BadInput.of("variables must be a mapping", Source(str(file), 1))
    return dict(content or {})


def _pattern(hosts: Any) -> str:
    return ",".join(str(host) for host in hosts) if isinstance(hosts, list) else str(hosts)
