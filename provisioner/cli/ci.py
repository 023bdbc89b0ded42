"""What a run in a CI system does besides: annotations of its tasks, a summary of the job, masks.

Other systems read the JUnit report and the exit code, and know secrets only by b9prov's own masks.
"""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from pathlib import Path

from provisioner.cli.failures import say
from provisioner.engine.events import Event, Sink
from provisioner.report.verdict import Rerun
from provisioner.report.workflow import command, on_github
from provisioner.secrets import on_secret


def mask_in_log() -> None:
    """Have GitHub Actions mask every secret that becomes known from here on.

    It is told by a line with the value, which it takes out of the log; where stderr leads to a file
    or a terminal nobody would, and nothing is told.
    """
    if not on_github() or not _is_read():
        return
    told: set[str] = set()

    def tell(value: str) -> None:
        if value not in told and value.strip():
            told.add(value)
            with contextlib.suppress(OSError):  # nobody reads: then nothing is to be masked
                print(command("add-mask", value), file=sys.stderr, flush=True)

    on_secret(tell)


def ci_sinks(rerun: Rerun) -> list[Sink]:
    """What GitHub Actions wants to see of a run; nothing elsewhere."""
    if not on_github():
        return []
    from provisioner.report.github import Annotations

    path = os.environ.get("GITHUB_STEP_SUMMARY")
    return [Annotations(sys.stderr), *([_summary(Path(path), rerun)] if path else [])]


def _summary(path: Path, rerun: Rerun) -> Sink:
    from provisioner.report.summary import JobSummary

    summary = JobSummary(path, rerun)

    def written(event: Event) -> None:
        try:
            summary(event)
        except OSError as error:
            say(f"warning: no summary of the job is written: {path}: {error.strerror}")

    return written


def _is_read() -> bool:
    """Whether stderr goes to another program, as a step's does to the runner."""
    try:
        mode = os.fstat(sys.stderr.fileno()).st_mode
    except (OSError, ValueError):
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)
