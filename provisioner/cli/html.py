"""The HTML report of a command that only asks its hosts."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from provisioner import __version__
from provisioner.cli.options import Request
from provisioner.cli.run_playbook import repeated_options, source_words
from provisioner.engine.events import Sink


def html_report(path: Path | None, request: Request, command: Sequence[str]) -> Sink | None:
    """A sink that writes it where it was asked for. `command` are the words before the hosts.

    Raises BadInput.
    """
    if path is None:
        return None
    from provisioner.report.html import HtmlReport

    words = [*command, *source_words(request), *repeated_options(request)]

    def rerun(hosts: list[str]) -> str:
        return shlex.join([*words, "--limit", ",".join(hosts)])

    told = [*words, *(["--limit", request.limit] if request.limit else [])]
    return HtmlReport(path, shlex.join(told), rerun, __version__, by_tables=True)
