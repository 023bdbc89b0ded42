"""Playbook files → plays: imports, roles, includes and blocks are resolved here."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from provisioner.errors import BadInput, Problem, Source
from provisioner.paths import data_dir
from provisioner.playbook import modules
from provisioner.playbook.model import Gate, Play, Playbook, Role, Task
from provisioner.playbook.tasks import (
    INHERITED,
    inherit,
    inherited_keywords,
    mapping_of,
    refuse_unknown,
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
OF_INCLUDES = frozenset({"name", "when", "vars"})
SECTIONS = (("pre_tasks",), ("roles", "tasks"), ("post_tasks",))  # handlers run after each
SUFFIXES = (".yaml", ".yml")


class Loader:
    """Reads playbooks; what they refer to is looked for in `overrides`, then beside the playbook,
    then in `role_paths` and among the shipped playbooks."""

    def __init__(self, role_paths: list[Path], overrides: Path | None = None) -> None:
        self.role_paths = role_paths
        self.overrides = overrides

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
        refuse_unknown(entry, frozenset({"import_playbook", "name", "tags", "vars"}), "import")
        target = self._find_playbook(str(entry["import_playbook"]), path.parent)
        if target is None:
            where = entry.where("import_playbook")
            raise BadInput.of(f"no such playbook: {entry['import_playbook']}", where)
        variables = mapping_of(entry, "vars")
        outer = replace(_outer(entry), vars={})
        return [
            replace(
                play,
                vars={**play.vars, **variables},
                tasks=tuple(inherit(task, outer) for task in play.tasks),
            )
            for play in self._plays(target, stack)
        ]

    def _find_playbook(self, name: str, beside: Path) -> Path | None:
        first = [self.overrides] if self.overrides else []
        candidates = [directory / name for directory in (*first, beside, data_dir("playbooks"))]
        return next((file for file in candidates if file.is_file()), None)

    def find_role(self, name: str, beside: Path, where: Source) -> Path:
        """The directory of role `name`. Raises BadInput."""
        if not name:
            raise BadInput.of("a role without a name", where, "say `role: NAME`")
        first = [self.overrides / "roles", self.overrides] if self.overrides else []
        for directory in [*first, beside / "roles", beside, *self.role_paths]:
            if (directory / name).is_dir():
                return directory / name
        raise BadInput.of(f"no such role: {name}", where, "roles live in roles/ by the playbook")


class _PlayLoader:
    """Loads one play; `handlers` gathers those of its roles too, `exported` are the roles whose
    variables all of the play sees."""

    def __init__(self, loader: Loader, path: Path, stack: tuple[Path, ...]) -> None:
        self.loader, self.path, self.stack = loader, path, stack
        self.handlers: list[Task] = []
        self.exported: list[Role] = []

    def play(self, entry: MarkedDict) -> Play:
        refuse_unknown(entry, PLAY_KEYWORDS, "play")
        if not entry.get("hosts"):
            raise BadInput.of("a play without hosts", entry.source, "say `hosts: workers`")
        outer = _outer(entry)
        parts = [self._section(entry, names, outer) for names in SECTIONS]
        handlers = self.tasks(_list_in(entry, "handlers"), self.path, None, None, self.stack)
        self.handlers += handlers
        play_tags = replace(outer, when=(), vars={}, become=None, become_user=None, environment={})
        play = Play(
            name=str(entry.get("name") or entry["hosts"]),
            hosts=_pattern(entry["hosts"]),
            where=entry.source,
            directory=self.path.parent,
            tasks=tuple(inherit(task, play_tags) for task in self._with_flushes(parts, entry)),
            handlers=tuple(self.handlers),
            vars={**outer.vars, **self._vars_files(entry)},
            role_vars=_merged(role.vars for role in self.exported),
            role_defaults=_merged(role.defaults for role in self.exported),
            environment=outer.environment,
            become=bool(outer.become),
            become_user=outer.become_user or "root",
            gather_facts=entry.get("gather_facts", True) is not False,
        )
        _refuse_unknown_handlers(play)
        return play

    def _section(self, entry: MarkedDict, names: tuple[str, ...], outer: Task) -> list[Task]:
        tasks: list[Task] = []
        for name in names:
            content = _list_in(entry, name)
            if name == "roles":
                tasks += self._roles(content, outer)
            else:
                tasks += self.tasks(content, self.path, None, None, self.stack)
        return tasks

    def _with_flushes(self, parts: list[list[Task]], entry: MarkedDict) -> list[Task]:
        flush = Task(
            "run handlers",
            "meta",
            {"action": "flush_handlers"},
            entry.source,
            tags=frozenset({"always"}),
        )
        tasks: list[Task] = []
        for part in parts:
            if part and tasks and self.handlers:
                tasks.append(flush)
            tasks += part
        return tasks

    def _vars_files(self, entry: MarkedDict) -> dict[str, Any]:
        merged: dict[str, Any] = {}
        for name in _list_in(entry, "vars_files"):
            if not isinstance(name, str) or modules.is_template(name):
                where = entry.where("vars_files")
                raise BadInput.of("vars_files must be a list of file names", where)
            merged.update(_variables_in(self.path.parent / name))
        return merged

    def _roles(self, entries: list[Any], outer: Task) -> list[Task]:
        tasks: list[Task] = []
        for index, entry in enumerate(entries):
            if isinstance(entry, MarkedDict):
                mapping = entry
            else:
                mapping = MarkedDict(role=entry if isinstance(entry, str) else None)
                where = entries.item_sources[index] if isinstance(entries, MarkedList) else None
                mapping.source, mapping.key_sources = where or outer.where, {}
            refuse_unknown(mapping, INHERITED | {"role"}, "role")
            name = str(mapping.get("role") or mapping.get("name") or "")
            role = self._role(name, mapping, inherited_keywords(mapping)["vars"])
            self.exported.append(role)
            tasks += self._role_tasks(role, "main", _outer(mapping), mapping, self.stack)
        return tasks

    def _role(self, name: str, use: MarkedDict, params: dict[str, Any]) -> Role:
        path = self.loader.find_role(name, self.path.parent, use.source)
        meta = _main_file(path / "meta")
        if meta and _variables_in(meta).get("dependencies"):
            raise BadInput.of(
                "dependencies of roles are not supported",
                Source(str(meta)),
                "list the roles in the play's roles",
            )
        defaults, own = _variables(path / "defaults"), _variables(path / "vars")
        return Role(name, path, defaults=defaults, vars=own, params=params)

    def _role_tasks(
        self, role: Role, file: str, around: Task, use: MarkedDict, stack: tuple[Path, ...]
    ) -> list[Task]:
        """The tasks of a role; its handlers are kept, unless they are there already."""
        tasks_file = _main_file(role.path / "tasks", file)
        if tasks_file is None and file != "main":
            raise BadInput.of(f"role {role.name} has no tasks {file!r}", use.source)
        tasks = self._file(tasks_file, role, around, stack) if tasks_file else []
        handlers = _main_file(role.path / "handlers")
        if handlers and not any(handler.role == role for handler in self.handlers):
            self.handlers += self._file(handlers, role, around, stack)
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
            refuse_unknown(entry, INHERITED | {"block"}, "block")
            inner = inherit(_outer(entry), outer)
            return self.tasks(_list_in(entry, "block"), path, role, inner, stack)
        for name in sorted(keys.keys() & (INCLUDES | ROLE_INCLUDES)):
            key = keys[name]
            around = inherit(_include(entry, name, key), outer)
            if name in ROLE_INCLUDES:
                return self._role_include(entry, name, key, around, stack)
            target = path.parent / _file_name(entry, key)
            if not target.is_file():
                raise BadInput.of(f"no such task file: {target}", entry.where(key))
            return self._file(target, role, around, stack)
        return [task_from(entry, role, outer)]

    def _role_include(
        self, entry: MarkedDict, name: str, key: Any, around: Task, stack: tuple[Path, ...]
    ) -> list[Task]:
        options = mapping_of(entry, key)
        unknown = options.keys() - {"name", "tasks_from"}
        if unknown:
            raise BadInput.of(f"{name} can't take {min(unknown)!r} here", entry.where(key))
        imported = name == "import_role"
        params = mapping_of(entry, "vars") if imported else {}
        role = self._role(str(options.get("name") or ""), entry, params)
        if imported:
            self.exported.append(role)
        file = Path(str(options.get("tasks_from") or "main")).stem
        return self._role_tasks(role, file, around, entry, stack)


def _outer(mapping: MarkedDict) -> Task:
    """What a play, block or import passes down, as a task without a module."""
    name = str(mapping.get("name") or "")
    return Task(name, "", {}, mapping.source, **inherited_keywords(mapping))


def _include(entry: MarkedDict, name: str, key: Any) -> Task:
    """What an import or include passes down.

    An import is as if its tasks stood there. The condition of an include holds for all of it,
    whatever its tasks change, and its variables are stronger than theirs.
    """
    if name.startswith("import"):
        refuse_unknown(entry, INHERITED | {key}, "import")
        return _outer(entry)
    lost = sorted(entry.keys() & (INHERITED - OF_INCLUDES))
    if lost:
        raise BadInput.of(
            f"{name} does not pass {lost[0]!r} on to its tasks",
            entry.where(lost[0]),
            f"import_{name.partition('_')[2]} does",
        )
    refuse_unknown(entry, OF_INCLUDES | {key}, "include")
    outer = _outer(entry)
    gates = (Gate(outer.when),) if outer.when else ()
    return replace(outer, when=(), gates=gates, vars={}, include_vars=outer.vars)


def _file_name(entry: MarkedDict, key: Any) -> str:
    """The file that an import or include of tasks names."""
    value = entry[key]
    if isinstance(value, dict) and set(value) == {"file"}:
        value = value["file"]
    if not isinstance(value, str) or modules.is_template(value):
        raise BadInput.of(f"{key} needs the name of a file", entry.where(key))
    return value


def _refuse_unknown_handlers(play: Play) -> None:
    known = {name for handler in play.handlers for name in (*handler.names, *handler.listen)}
    problems = [
        Problem(f"there is no handler {name!r}", task.where, modules.suggestion(name, list(known)))
        for task in (*play.tasks, *play.handlers)
        for name in task.notify
        if name not in known and not modules.is_template(name)
    ]
    if problems:
        raise BadInput(problems)


def _list_in(mapping: MarkedDict, key: str) -> list[Any]:
    value = mapping.get(key)
    if value is None:
        return []
    if not isinstance(value, list):
        raise BadInput.of(f"{key} must be a list", mapping.where(key))
    return value


def _merged(layers: Iterable[dict[str, Any]]) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for layer in layers:
        merged.update(layer)
    return merged


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


def _main_file(directory: Path, name: str = "main") -> Path | None:
    for suffix in SUFFIXES:
        file = directory / f"{name}{suffix}"
        if file.is_file():
            return file
    return None


def _variables(directory: Path) -> dict[str, Any]:
    file = _main_file(directory)
    return _variables_in(file) if file else {}


def _variables_in(file: Path) -> dict[str, Any]:
    content = load_yaml(file)
    if content is not None and not isinstance(content, dict):
        raise BadInput.of("variables must be a mapping", Source(str(file), 1))
    return dict(content or {})


def _pattern(hosts: Any) -> str:
    return ",".join(str(host) for host in hosts) if isinstance(hosts, list) else str(hosts)
