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


def confirmed(question: str) -> bool:
    """The same; where nobody is there to be asked, a BadInput."""
    if not sys.stdin.isatty():
        raise BadInput.of(f"{question} Nobody is here to confirm", advice="say --yes")
    return agreed(question)
