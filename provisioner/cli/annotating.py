"""An error that ends a command, as GitHub Actions shows it beside the code."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace

from provisioner.errors import BadInput, Problem
from provisioner.report.workflow import command, on_github, place
from provisioner.secrets import mask


def annotate(error: BaseException, texts: Sequence[str]) -> None:
    """Have GitHub Actions show an error that ends the command, at its place in the workspace.

    `texts` are what was said of it.
    """
    if not on_github():
        return
    problems = error.problems if isinstance(error, BadInput) else [Problem(text) for text in texts]
    for problem in problems:
        where = problem.where and place(problem.where.file, problem.where.line)
        shown = str(replace(problem, where=None) if where else problem)
        print(command("error", mask(shown), **(where or {}), title="b9prov"), file=sys.stderr)
