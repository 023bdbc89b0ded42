"""Runs a playbook, reports it and says how to go on: what `up`, `down` and `play` share."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from provisioner import __version__
from provisioner.cli.ci import ci_sinks
from provisioner.cli.failures import FAILED, INTERRUPTED, say
from provisioner.cli.options import Request, output_kind
from provisioner.cli.recording import noted, record_run
from provisioner.cli.session import Session
from provisioner.engine.events import Event, RunFinished, Sink
from provisioner.inventory import is_gateway
from provisioner.paths import state_dir
from provisioner.report import Rerun, failed_hosts, fan_out, make_report, write_retry_file
from provisioner.secrets import mask


def run_playbook(
    session: Session,
    request: Request,
    command: Sequence[str],
    execute: Callable[[Session, Sink], RunFinished] = Session.execute,
    quiet: bool = False,
    record_as: Sequence[str] = (),
    again: str | None = None,
) -> int:
    """Run it, keep a record and report as asked; the exit code.

    `command` are the words that repeat it, `record_as` those that it was begun with where they are
    others. `quiet` leaves out all but the record. `again` is what to say in their place where a
    --limit is none of theirs.
    """
    retry = RetryFile(state_dir() / "retry" / f"{session.playbook.path.stem}.limit")

    def repeated(limit: str | None) -> str:
        if again is not None:
            return again
        return shlex.join([*command, *repeated_options(request)]) + _limit(limit)

    def rerun(hosts: list[str]) -> str:
        return repeated(retry.limit(hosts) if retry_hosts(hosts) else request.limit)

    def rerun_elsewhere(hosts: list[str]) -> str:
        return repeated(",".join(retry_hosts(hosts)) or request.limit)

    words = record_as or [*command, *repeated_options(request), *_once_options(request)]
    files = [] if quiet else _files(request, mask(shlex.join(words)), rerun)
    recording = record_run(session, request, words, rerun, retry.path)
    sinks: list[Sink] = [recording.journal]
    report = None
    if not quiet:
        report = make_report(
            output_kind(request.output),
            stream=sys.stdout,
            rerun=rerun,
            diff=request.diff,
            verbose=request.verbose,
        )
        sinks = [retry, *files, *ci_sinks(rerun_elsewhere), *sinks, report]
    with noted(recording.journal.record), recording.journal as journal:
        try:
            code = exit_code(execute(recording.session, fan_out(*sinks)))
        finally:
            if report:
                report.close()
        journal.exit_code = code
    return code


def _files(request: Request, command: str, rerun: Rerun) -> list[Sink]:
    """The reports that are files. Raises BadInput where one can't be written."""
    sinks: list[Sink] = []
    if request.junit:
        from provisioner.report.junit import Junit

        sinks.append(Junit(request.junit))
    if request.report:
        from provisioner.report.html import HtmlReport

        sinks.append(HtmlReport(request.report, command, rerun, __version__))
    return sinks


def exit_code(finished: RunFinished) -> int:
    """0 when all hosts are well."""
    if finished.interrupted:
        return INTERRUPTED
    return FAILED if finished.unfinished or failed_hosts(finished.hosts) else 0


@dataclass
class RetryFile:
    """A sink that leaves the names of the hosts that failed, for --limit @FILE."""

    path: Path
    written: bool = True

    def __call__(self, event: Event) -> None:
        if isinstance(event, RunFinished):
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                write_retry_file(self.path, retry_hosts(failed_hosts(event.hosts)))
            except OSError as error:
                self.written = False
                say(f"warning: no list of failed hosts is kept: {self.path}: {error.strerror}")

    def limit(self, hosts: Sequence[str]) -> str:
        """What --limit takes for the hosts that failed."""
        return f"@{self.path}" if self.written else ",".join(retry_hosts(hosts))


def retry_hosts(hosts: Sequence[str]) -> list[str]:
    """The hosts that --limit can name: the gateway hosts are worked on whatever the limit is."""
    return [name for name in hosts if not is_gateway(name)]


def source_words(request: Request) -> list[str]:
    """The words that name the same hosts again."""
    if request.inventory:
        return [str(request.inventory)]
    words = [word for host in request.hosts for word in ("--host", host)]
    return [*words, "--gateway-host", request.gateway_host] if request.gateway_host else words


def repeated_options(request: Request) -> list[str]:
    """The options of a request that hold for its repetition; values of -e are not shown."""
    words = [word for item in request.extra_vars for word in ("-e", unvalued(item))]
    for option, values in (
        ("--pool", [request.pool]),
        ("--tags", request.tags),
        ("--skip-tags", request.skip_tags),
        ("--playbooks", [request.playbooks]),
        ("--templates", [request.templates]),
    ):
        words += [word for value in values if value is not None for word in (option, str(value))]
    if request.host_keys != Request.host_keys:
        words += ["--host-keys", request.host_keys]
    words += ["-K"] if request.ask_become_pass else []
    words += ["--check"] if request.check else []
    return words + (["--diff"] if request.diff else [])


def _once_options(request: Request) -> list[str]:
    """Those that are of this run alone."""
    words = ["--limit", request.limit] if request.limit else []
    words += ["--shard", "/".join(map(str, request.shard))] if request.shard else []
    words += ["--executor", request.executor] if request.executor else []
    return words + ([f"--resume={request.resume}"] if request.resume else [])


def unvalued(item: str) -> str:
    """An item of -e by its names only: what it sets may be a secret."""
    if item.startswith("@"):
        return item
    if item.lstrip().startswith("{"):
        return "{…}"
    return " ".join(f"{word.partition('=')[0]}=…" for word in shlex.split(item))


def _limit(limit: str | None) -> str:
    return f" --limit {shlex.quote(limit)}" if limit else ""
