"""One play's mapping → a Play."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from provisioner.errors import BadInput
from provisioner.playbook import modules
from provisioner.playbook.model import Play, Step, Task
from provisioner.playbook.reading import list_in, variables_in
from provisioner.playbook.steps import FindRole, Here, StepLoader
from provisioner.playbook.tasks import inherit, outer_of, refuse_unknown
from provisioner.yamlsource import MarkedDict

PLAY_KEYWORDS = frozenset(
    "name hosts vars vars_files environment tags become become_user gather_facts serial "
    "max_fail_percentage any_errors_fatal no_log ignore_errors check_mode diff run_once "
    "pre_tasks roles tasks post_tasks handlers".split()
)
SECTIONS = (("pre_tasks",), ("roles", "tasks"), ("post_tasks",))  # handlers run after each


class PlayLoader:
    """Loads the plays of the file `path`, which was reached by the imports of `stack`."""

    def __init__(self, find_role: FindRole, path: Path, stack: tuple[Path, ...]) -> None:
        self.find_role, self.path, self.stack = find_role, path, stack

    def play(self, entry: MarkedDict, outer: Task | None) -> Play:
        """The play of this mapping; `outer` is what imports of its file say. Raises BadInput."""
        refuse_unknown(entry, PLAY_KEYWORDS, "play")
        if not entry.get("hosts"):
            raise BadInput.of("a play without hosts", entry.source, "say `hosts: workers`")
        own = outer_of(entry)
        # these the play keeps for itself; the rest it passes down
        down = replace(own, vars={}, become=None, become_user=None, environment=())
        here = Here(self.path, None, inherit(down, outer), self.stack)
        loader = StepLoader(self.find_role, self.path.parent)
        sections = [_section(loader, entry, names, here) for names in SECTIONS]
        written = loader.handlers_of(list_in(entry, "handlers"), replace(here, outer=None))
        loader.handlers += written
        return Play(
            name=str(entry.get("name") or entry["hosts"]),
            hosts=_pattern(entry["hosts"]),
            where=entry.source,
            directory=self.path.parent,
            steps=tuple(_with_flushes(sections, entry, bool(loader.handlers))),
            handlers=tuple(loader.handlers),
            vars={**own.vars, **self._vars_files(entry)},
            role_vars=_merged(role.vars for role in loader.exported),
            role_defaults=_merged(role.defaults for role in loader.exported),
            environment=own.environment,
            become=_fixed(entry, own),
            become_user=own.become_user or "root",
            vars_files=tuple(
                name for name in list_in(entry, "vars_files") if modules.is_template(name)
            ),
            **_together(entry),
        )

    def _vars_files(self, entry: MarkedDict) -> dict[str, Any]:
        merged: dict[str, Any] = {}
        for name in list_in(entry, "vars_files"):
            if not isinstance(name, str):
                where = entry.where("vars_files")
                raise BadInput.of("vars_files must be a list of file names", where)
            if not modules.is_template(name):
                merged.update(variables_in(self.path.parent / name))
        return merged


def _section(
    loader: StepLoader, entry: MarkedDict, names: tuple[str, ...], here: Here
) -> list[Step]:
    steps: list[Step] = []
    for name in names:
        content = list_in(entry, name)
        steps += loader.roles(content, here) if name == "roles" else loader.steps(content, here)
    return steps


def _with_flushes(sections: list[list[Step]], entry: MarkedDict, handlers: bool) -> list[Step]:
    arguments, always = {"action": "flush_handlers"}, frozenset({"always"})
    flush = Task("run handlers", "meta", arguments, entry.source, tags=always)
    steps: list[Step] = []
    for section in sections:
        if section and steps and handlers:
            steps.append(flush)
        steps += section
    return steps


def _fixed(entry: MarkedDict, own: Task) -> bool:
    """A play's `become`, by which its conversations are opened. Raises BadInput."""
    if isinstance(own.become, str):
        advice = "say it in the tasks, or true or false here"
        raise BadInput.of("a play's become can't be an expression", entry.where("become"), advice)
    return bool(own.become)


def _together(entry: MarkedDict) -> dict[str, Any]:
    """What a play says of its hosts as a group."""
    serial = entry.get("serial")
    sizes = serial if isinstance(serial, list) else [] if serial is None else [serial]
    for size in sizes:
        if not _is_size(size):
            advice = "write a number of hosts, a percentage, or a list of these"
            raise BadInput.of(f"serial can't be {size!r}", entry.where("serial"), advice)
    percentage = entry.get("max_fail_percentage")
    try:
        bound = None if percentage is None else float(str(percentage).rstrip("%"))
    except ValueError:
        where = entry.where("max_fail_percentage")
        raise BadInput.of(
            f"max_fail_percentage must be a number, not {percentage!r}", where
        ) from None
    fatal = entry.get("any_errors_fatal", False)
    if not isinstance(fatal, bool):
        where = entry.where("any_errors_fatal")
        raise BadInput.of(f"any_errors_fatal must be true or false, not {fatal!r}", where)
    return {
        "serial": tuple(sizes),
        "max_fail_percentage": bound,
        "any_errors_fatal": fatal,
    }


def _is_size(size: Any) -> bool:
    digits = str(size).removesuffix("%")
    return not isinstance(size, bool) and digits.isdigit() and int(digits) > 0


def _merged(layers: Iterable[dict[str, Any]]) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for layer in layers:
        merged.update(layer)
    return merged


def _pattern(hosts: Any) -> str:
    return ",".join(str(host) for host in hosts) if isinstance(hosts, list) else str(hosts)
