"""Asking before something is undone."""

from __future__ import annotations

import sys

import click

from provisioner.cli.failures import say
from provisioner.errors import BadInput


def agreed(question: str) -> bool:
    """Whether the user, who is asked on stderr, agrees. Ctrl-C and end of input raise Abort."""
    if click.confirm(question, err=True):
        return True
    say("nothing was done")
    return False


def confirmed(question: str, unasked: str = "") -> bool:
    """The same; where nobody is there to be asked, a BadInput, which says `unasked`."""
    if not sys.stdin.isatty():
        problem = unasked or f"{question} Nobody is here to confirm"
        raise BadInput.of(problem, advice="say --yes")
    return agreed(question)
