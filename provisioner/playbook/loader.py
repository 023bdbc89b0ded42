"""Playbook files → plays, with the playbooks that they import."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from provisioner.errors import BadInput, Problem, Source
from provisioner.paths import data_dir
from provisioner.playbook import modules
from provisioner.playbook.model import Play, Playbook, Task
from provisioner.playbook.plays import PlayLoader
from provisioner.playbook.reading import enter, mappings_in
from provisioner.playbook.tasks import inherit, mapping_of, outer_of, refuse_unknown
from provisioner.yamlsource import MarkedDict


class Loader:
    """Reads playbooks; what they refer to is looked for in `overrides`, then beside the playbook,
    then in `role_paths` and among the shipped playbooks."""

    def __init__(self, role_paths: list[Path], overrides: Path | None = None) -> None:
        self.role_paths = role_paths
        self.overrides = overrides

    def playbook(self, path: Path) -> Playbook:
        """Read `path` and all that it refers to. Raises BadInput with every problem found."""
        return Playbook(path, tuple(self._plays(path, (), None)))

    def _plays(self, path: Path, stack: tuple[Path, ...], outer: Task | None) -> list[Play]:
        stack = enter(path, stack)
        plays: list[Play] = []
        problems: list[Problem] = []
        for entry in mappings_in(path, "a playbook is a list of plays"):
            try:
                if "import_playbook" in entry:
                    plays += self._imported(entry, path, stack, outer)
                else:
                    play = PlayLoader(self.find_role, path, stack).play(entry, outer)
                    _refuse_unknown_handlers(play)
                    plays.append(play)
            except BadInput as error:
                problems += error.problems
        if problems:
            raise BadInput(problems)
        return plays

    def _imported(
        self, entry: MarkedDict, path: Path, stack: tuple[Path, ...], outer: Task | None
    ) -> list[Play]:
        known = frozenset({"import_playbook", "name", "tags", "vars", "when"})
        refuse_unknown(entry, known, "import")
        target = self._find_playbook(str(entry["import_playbook"]), path.parent)
        if target is None:
            where = entry.where("import_playbook")
            raise BadInput.of(f"no such playbook: {entry['import_playbook']}", where)
        variables = mapping_of(entry, "vars")
        inner = inherit(replace(outer_of(entry), vars={}), outer)
        return [
            replace(play, vars={**play.vars, **variables})
            for play in self._plays(target, stack, inner)
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


def _refuse_unknown_handlers(play: Play) -> None:
    known = {name for handler in play.handlers for name in (*handler.names, *handler.listen)}
    problems = [
        Problem(f"there is no handler {name!r}", task.where, modules.suggestion(name, list(known)))
        for task in play.tasks
        for name in task.notify
        if name not in known and not modules.is_template(name)
    ]
    if problems and not _may_bring_handlers(play):
        raise BadInput(problems)


def _may_bring_handlers(play: Play) -> bool:
    """Whether a role whose name is known only in the run may have handlers."""
    return any(
        task.module == "include_role" and modules.is_template(task.arguments) for task in play.tasks
    )
