"""Runs a playbook, reports it and says how to go on: what `up`, `down` and `play` share."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from provisioner.cli.failures import FAILED, INTERRUPTED
from provisioner.cli.options import Request, output_kind
from provisioner.cli.session import Session
from provisioner.engine.events import Event, RunFinished, Sink
from provisioner.engine.run import GATEWAY
from provisioner.paths import state_dir
from provisioner.report import failed_hosts, fan_out, make_report, write_retry_file


def run_playbook(session: Session, request: Request, command: Sequence[str]) -> int:
    """Run it and report as asked; the exit code. `command` are the words that repeat it."""
    retry = RetryFile(state_dir() / "retry" / f"{session.playbook.path.stem}.limit")

    def rerun(hosts: list[str]) -> str:
        limit = f"@{retry.path}" if retry_hosts(hosts) else request.limit
        return shlex.join([*command, *repeated_options(request)]) + _limit(limit)

    sinks: list[Sink] = [retry]
    if request.junit:
        from provisioner.report.junit import Junit

        sinks.append(Junit(request.junit))
    report = make_report(
        output_kind(request.output),
        stream=sys.stdout,
        rerun=rerun,
        diff=request.diff,
        verbose=request.verbose,
    )
    try:
        return exit_code(session.execute(fan_out(*sinks, report)))
    finally:
        report.close()


def exit_code(finished: RunFinished) -> int:
    """0 when all hosts are well."""
    if finished.interrupted:
        return INTERRUPTED
    return FAILED if finished.unfinished or failed_hosts(finished.hosts) else 0


@dataclass(frozen=True)
class RetryFile:
    """A sink that leaves the names of the hosts that failed, for --limit @FILE."""

    path: Path

    def __call__(self, event: Event) -> None:
        if isinstance(event, RunFinished):
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_retry_file(self.path, retry_hosts(failed_hosts(event.hosts)))


def retry_hosts(hosts: Sequence[str]) -> list[str]:
    """The hosts that --limit can name: the gateway host is worked on whatever the limit is."""
    return [name for name in hosts if name != GATEWAY]


def source_words(request: Request) -> list[str]:
    """The words that name the same hosts again."""
    if request.inventory:
        return [str(request.inventory)]
    words = [word for host in request.hosts for word in ("--host", host)]
    return [*words, "--gateway-host", request.gateway_host] if request.gateway_host else words


def repeated_options(request: Request) -> list[str]:
    """The options of a request that hold for its repetition; values of -e are not shown."""
    words = [word for item in request.extra_vars for word in ("-e", _unvalued(item))]
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
    words += ["--check"] if request.check else []
    return words + (["--diff"] if request.diff else [])


def _unvalued(item: str) -> str:
    """An item of -e by its names only: what it sets may be a secret."""
    if item.startswith("@"):
        return item
    if item.lstrip().startswith("{"):
        return "{…}"
    return " ".join(f"{word.partition('=')[0]}=…" for word in shlex.split(item))


def _limit(limit: str | None) -> str:
    return f" --limit {shlex.quote(limit)}" if limit else ""
