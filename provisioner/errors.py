"""Errors that are the user's to mend: each says what is wrong, where, and what to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Source:
    """A place in a file; `line` and `column` count from 1, 0 when unknown."""

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


@dataclass(frozen=True)
class Problem:
    """One thing wrong with the input: what, where, and the way out."""

    message: str
    where: Source | None = None
    advice: str = ""

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        return f"{place}{self.message}" + (f" ({self.advice})" if self.advice else "")


class BadInput(Exception):
    """Usage, inventory or playbook is wrong; nothing was touched. The command exits with 2."""

    def __init__(self, problems: Problem | Sequence[Problem]) -> None:
        self.problems = [problems] if isinstance(problems, Problem) else list(problems)
        super().__init__("\n".join(str(p) for p in self.problems))

    @classmethod
    def of(cls, message: str, where: Source | None = None, advice: str = "") -> BadInput:
        """A BadInput of a single problem."""
        return cls(Problem(message, where, advice))
