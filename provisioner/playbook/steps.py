"""Lists of tasks → steps: blocks, and imports and includes of tasks and roles."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from provisioner.errors import BadInput, Problem, Source
from provisioner.playbook import modules
from provisioner.playbook.model import Block, Include, Included, Role, Step, Task
from provisioner.playbook.reading import enter, list_in, mappings_in, yaml_file
from provisioner.playbook.roles import (
    ROLE_OPTIONS,
    dependencies_of,
    may_repeat,
    role_at,
    tasks_file_of,
)
from provisioner.playbook.tasks import (
    INHERITED,
    inherit,
    inherited_keywords,
    loop_keywords,
    mapping_of,
    outer_of,
    refuse_unknown,
    refuse_unsupported,
    short_name,
    task_from,
)
from provisioner.yamlsource import MarkedDict, MarkedList

OF_TASKS = frozenset({"import_tasks", "include_tasks"})
OF_ROLES = frozenset({"import_role", "include_role"})
OF_INCLUDES = frozenset("name when vars tags loop with_items loop_control".split())

FindRole = Callable[[str, Path, Source], Path]


@dataclass(frozen=True)
class Here:
    """Where one is: file, role, what the blocks around pass down, and the files on the way."""

    path: Path
    role: Role | None
    outer: Task | None
    stack: tuple[Path, ...]

    def within(self, outer: Task) -> Here:
        """The same place within a further block."""
        return replace(self, outer=inherit(outer, self.outer))


class StepLoader:
    """Loads the steps of a play; `handlers` gathers those of roles, `exported` are the roles whose
    variables all of the play sees."""

    def __init__(self, find_role: FindRole, directory: Path) -> None:
        self.find_role, self.directory = find_role, directory
        self.handlers: list[Task] = []
        self.exported: list[Role] = []
        self._used: set[tuple[Any, ...]] = set()

    def roles(self, entries: list[Any], here: Here, chain: tuple[Path, ...] = ()) -> list[Step]:
        """The steps of roles that are listed; one that was there in the same way is not repeated.

        `chain` are the roles that depend on them. Raises BadInput.
        """
        steps: list[Step] = []
        for index, entry in enumerate(entries):
            use = _use_of_role(entry, entries, index, here)
            role = role_at(self._find(use, here), _name_of(use), _params(use))
            key = (role.path, repr(sorted(use.items())), here.outer and here.outer.when)
            if key in self._used and not may_repeat(role):
                continue
            self._used.add(key)
            self.exported.append(role)
            steps += self._role_steps(role, {}, here.within(outer_of(use)), use, chain)
        return steps

    def _find(self, use: MarkedDict, here: Here) -> Path:
        beside = self.directory
        if here.role and (here.role.path.parent / _name_of(use)).is_dir():
            beside = here.role.path.parent
        return self.find_role(_name_of(use), beside, use.source)

    def _role_steps(
        self,
        role: Role,
        files: Mapping[str, str],
        here: Here,
        use: MarkedDict,
        chain: tuple[Path, ...] = (),
    ) -> list[Step]:
        """The steps of a role, those of its dependencies first; its handlers are kept.

        `files` has other names than `main`, by `tasks` and `handlers`.
        """
        inside = replace(here, role=role)
        steps = self.roles(dependencies_of(role), inside, enter(role.path, chain))
        tasks = tasks_file_of(role, files.get("tasks"), use)
        steps += self._file(tasks, inside) if tasks else []
        handlers = yaml_file(role.path / "handlers", files.get("handlers", "main"))
        if handlers and not any(handler.role == role for handler in self.handlers):
            entries = mappings_in(handlers, "a list of handlers was expected")
            place = replace(inside, path=handlers, stack=enter(handlers, inside.stack))
            self.handlers += self.handlers_of(entries, place)
        return steps

    def _file(self, path: Path, here: Here) -> list[Step]:
        stack = enter(path, here.stack)
        content = mappings_in(path, "a list of tasks was expected")
        return self.steps(content, replace(here, path=path, stack=stack))

    def steps(self, entries: list[Any], here: Here) -> list[Step]:
        """The steps of a list, with imports opened up. Raises BadInput with all problems."""
        steps: list[Step] = []
        problems: list[Problem] = []
        for entry in entries:
            try:
                if not isinstance(entry, MarkedDict):
                    raise BadInput.of("a task must be a mapping", here_source(here))
                steps += self._entry(entry, here)
            except BadInput as error:
                problems += error.problems
        if problems:
            raise BadInput(problems)
        return steps

    def _entry(self, entry: MarkedDict, here: Here) -> list[Step]:
        keys = {short_name(key): key for key in entry}
        if "block" in keys:
            return self._block(entry, here)
        for name in sorted(keys.keys() & (OF_TASKS | OF_ROLES)):
            if name.startswith("import"):
                return self._import(entry, name, keys[name], here)
            return [self._include(entry, name, keys[name], here)]
        return [task_from(entry, here.role, here.outer)]

    def _block(self, entry: MarkedDict, here: Here) -> list[Step]:
        parts = ("block", "rescue", "always")
        refuse_unknown(entry, INHERITED | set(parts), "block")
        inner = here.within(outer_of(entry))
        steps, rescue, always = (self.steps(list_in(entry, part), inner) for part in parts)
        if not rescue and not always:
            return steps
        return [Block(tuple(steps), tuple(rescue), tuple(always))]

    def _import(self, entry: MarkedDict, name: str, key: Any, here: Here) -> list[Step]:
        """As if the tasks stood there."""
        refuse_unknown(entry, INHERITED | {key}, "import")
        inner = here.within(outer_of(entry))
        if name in OF_TASKS:
            return self._file(_task_file(_imported_file(entry, key), entry.where(key), here), inner)
        options = _role_options(entry, name, key)
        params = mapping_of(entry, "vars")
        role = self._role(options, params, here, entry)
        self.exported.append(role)
        return self._role_steps(role, _files_of(options), inner, entry)

    def _include(self, entry: MarkedDict, name: str, key: Any, here: Here) -> Include:
        """The condition, loop and variables of an include hold for all of it as such."""
        lost = sorted(entry.keys() & (INHERITED - OF_INCLUDES))
        if lost:
            raise BadInput.of(
                f"{name} does not pass {lost[0]!r} on to its tasks",
                entry.where(lost[0]),
                f"say it under `apply`, or use import_{name.partition('_')[2]}",
            )
        refuse_unknown(entry, OF_INCLUDES | {key}, "include")
        of_tasks = name in OF_TASKS
        options = _task_options(entry, key) if of_tasks else _role_options(entry, name, key)
        inner = here.within(_applied(options, entry.where(key)))
        keywords = {**inherited_keywords(entry), **loop_keywords(entry)}
        arguments = {name: value for name, value in options.items() if name != "apply"}
        own = Task(str(entry.get("name") or name), name, arguments, entry.source, **keywords)
        task = replace(inherit(own, here.outer), role=here.role)

        def load(evaluated: Mapping[str, Any]) -> Included:
            loader = StepLoader(self.find_role, self.directory)
            return loader._included(evaluated, entry, inner)

        if modules.is_template(arguments):
            return Include(task, own, load)
        fixed = self._included(arguments, entry, inner)
        return Include(task, own, load, replace(fixed, handlers=()))

    def _included(self, options: Mapping[str, Any], entry: MarkedDict, inner: Here) -> Included:
        """What an include with these arguments brings in."""
        if "file" in options:
            file = _task_file(str(options["file"]), entry.source, inner)
            return Included(str(file), tuple(self._file(file, inner)), tuple(self.handlers))
        role = self._role(options, {}, inner, entry)
        steps = self._role_steps(role, _files_of(options), inner, entry)
        return Included(role.name, tuple(steps), tuple(self.handlers))

    def _role(
        self, options: Mapping[str, Any], params: dict[str, Any], here: Here, entry: MarkedDict
    ) -> Role:
        use = _marked({"role": str(options.get("name") or "")}, entry.source)
        return role_at(
            self._find(use, here),
            _name_of(use),
            params,
            vars_from=str(options.get("vars_from") or "main"),
            defaults_from=str(options.get("defaults_from") or "main"),
        )

    def handlers_of(self, entries: list[Any], here: Here) -> list[Task]:
        """The handlers of a list. Raises BadInput for what is no task."""
        handlers: list[Task] = []
        for step in self.steps(entries, here):
            if not isinstance(step, Task):
                where = step.task.where if isinstance(step, Include) else here_source(here)
                advice = "use import_tasks, or a block without rescue and always"
                raise BadInput.of("a handler must be a task", where, advice)
            handlers.append(step)
        return handlers


def here_source(here: Here) -> Source:
    """The file one is in."""
    return Source(str(here.path))


def _use_of_role(entry: Any, entries: list[Any], index: int, here: Here) -> MarkedDict:
    """One entry of a list of roles, as a mapping."""
    use: MarkedDict = entry
    if not isinstance(entry, MarkedDict):
        where = entries.item_sources[index] if isinstance(entries, MarkedList) else None
        name = entry if isinstance(entry, str) else None
        use = _marked({"role": name}, where or here_source(here))
    refuse_unsupported(use)
    return use


def _params(use: MarkedDict) -> dict[str, Any]:
    """The parameters of a listed role: its `vars`, and whatever else is no keyword."""
    plain = {key: value for key, value in use.items() if key not in INHERITED | {"role"}}
    return {**inherited_keywords(use)["vars"], **plain}


def _marked(content: dict[str, Any], where: Source) -> MarkedDict:
    mapping = MarkedDict(content)
    mapping.source, mapping.key_sources = where, {}
    return mapping


def _name_of(use: MarkedDict) -> str:
    return str(use.get("role") or use.get("name") or "")


def _applied(options: dict[str, Any], where: Source) -> Task:
    """What `apply` passes down to the included tasks."""
    mapping = options.get("apply") or {}
    if not isinstance(mapping, dict):
        raise BadInput.of("apply must be a mapping", where)
    marked = mapping if isinstance(mapping, MarkedDict) else _marked(dict(mapping), where)
    refuse_unknown(marked, INHERITED - {"name"}, "apply")
    return outer_of(marked)


def _task_options(entry: MarkedDict, key: Any) -> dict[str, Any]:
    """The file of an include of tasks, and what it applies to them."""
    value = entry[key]
    options = {"file": value} if isinstance(value, str) else mapping_of(entry, key)
    unknown = sorted(options.keys() - {"file", "apply"})
    if unknown or not isinstance(options.get("file"), str):
        what = f"can't take {unknown[0]!r}" if unknown else "needs the name of a file"
        raise BadInput.of(f"{key} {what}", entry.where(key))
    return options


def _imported_file(entry: MarkedDict, key: Any) -> str:
    """The file that an import of tasks names."""
    options = _task_options(entry, key)
    if "apply" in options or modules.is_template(options["file"]):
        raise BadInput.of(f"{key} needs the fixed name of a file, and no more", entry.where(key))
    return str(options["file"])


def _task_file(name: str, where: Source, here: Here) -> Path:
    """The file of tasks: beside the file one is in, or among its role's tasks."""
    places = [here.path.parent, *([here.role.path / "tasks"] if here.role else [])]
    for place in places:
        if (place / name).is_file():
            return place / name
    raise BadInput.of(f"no such task file: {places[0] / name}", where)


def _role_options(entry: MarkedDict, name: str, key: Any) -> dict[str, Any]:
    options = mapping_of(entry, key)
    known = ROLE_OPTIONS | ({"apply"} if name == "include_role" else set())
    unknown = sorted(options.keys() - known)
    if unknown:
        advice = modules.suggestion(str(unknown[0]), sorted(known))
        raise BadInput.of(f"{name} can't take {unknown[0]!r} here", entry.where(key), advice)
    if name == "import_role" and modules.is_template(options):
        raise BadInput.of("import_role needs a fixed name", entry.where(key), "use include_role")
    return options


def _files_of(options: Mapping[str, Any]) -> dict[str, str]:
    """The files of a role that are to be used instead of `main`."""
    named = {"tasks": options.get("tasks_from"), "handlers": options.get("handlers_from")}
    return {part: str(name) for part, name in named.items() if name}
