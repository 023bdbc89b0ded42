"""Runs a playbook whose hosts are called first: what `up` and `play` share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from provisioner.cli.calling import call_hosts
from provisioner.cli.options import Request


def run_called(request: Request, playbook: Path, words: Sequence[str]) -> int:
    """Run it; the exit code. `words` and those that name the hosts repeat the command."""
    called = call_hosts(request, playbook)
    # the greater part of the program, for which the hosts need not wait
    from provisioner.cli.run_playbook import run_playbook, source_words
    from provisioner.cli.session import agent_zipapp, open_session

    session = open_session(request, playbook, {"b9agent_pyz": agent_zipapp()}, called)
    return run_playbook(session, request, [*words, *source_words(request)])
