"""Which tasks `--tags` and `--skip-tags` select."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from provisioner.errors import BadInput, Problem
from provisioner.playbook.modules import suggestion

_SPECIAL = frozenset({"all", "always", "never", "tagged", "untagged"})


@dataclass(frozen=True)
class TagFilter:
    """Ansible's rules: `always` runs unless skipped by name, `never` only when asked for."""

    only: frozenset[str] = frozenset()
    skip: frozenset[str] = frozenset()

    def selects(self, tags: frozenset[str]) -> bool:
        """Whether a task with these tags is to run."""
        if tags & self.skip:
            return False
        if "never" in tags and not tags & self.only:
            return False
        if not self.only or "all" in self.only:
            return True
        if tags & self.only or ("tagged" in self.only and tags):
            return True
        return "always" in tags or ("untagged" in self.only and not tags)

    def refuse_unknown(self, known: Collection[str]) -> None:
        """Raise BadInput for tags that no task has: a misspelt one would silently do nothing, or
        everything."""
        problems = [
            Problem(f"{option} {tag}: no task has this tag", None, suggestion(tag, sorted(known)))
            for option, tags in (("--tags", self.only), ("--skip-tags", self.skip))
            for tag in sorted(tags - _SPECIAL - set(known))
        ]
        if problems:
            raise BadInput(problems)
