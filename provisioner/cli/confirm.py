"""Asking before something is undone."""

from __future__ import annotations

import click

from provisioner.cli.failures import say


def agreed(question: str) -> bool:
    """Whether the user, who is asked on stderr, agrees. Ctrl-C and end of input raise Abort."""
    if click.confirm(question, err=True):
        return True
    say("nothing was done")
    return False
