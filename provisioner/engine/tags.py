"""Which tasks `--tags` and `--skip-tags` select."""

from __future__ import annotations

from dataclasses import dataclass


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
