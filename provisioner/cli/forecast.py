"""What a run in check mode predicts of each host, as plans hold it."""

from __future__ import annotations

from pathlib import PurePath
from typing import Any

from provisioner.cli.digests import inputs
from provisioner.cli.session import Session
from provisioner.engine.events import Event, RunFinished, Sink, TaskFinished
from provisioner.engine.run import Run
from provisioner.journal.planfile import HostPlan, Prediction, Seal
from provisioner.report import fan_out
from provisioner.report.text import masked

# What playbooks decide by and what does not change by itself.
FACTS = (
    "machine_id",
    "hostname",
    "distribution",
    "distribution_version",
    "kernel",
    "architecture",
    "processor_vcpus",
    "python_version",
    "service_mgr",
    "pkg_mgr",
)


class Forecast:
    """Collects the predictions of a run; `digests` are those of its inputs, under `salt` (hex)."""

    def __init__(self, session: Session, salt: str) -> None:
        seals = {name: Seal(salt, source) for name, source in inputs(session).items()}
        self.digests = {name: seal.of(name) for name, seal in seals.items()}
        self._seal = seals["inventory"]
        self._tasks: dict[str, list[Prediction]] = {}
        self._run: Run | None = None
        self._finished: RunFinished | None = None

    def execute(self, session: Session, sink: Sink) -> RunFinished:
        """Run it, listening."""
        self._run = session.run(fan_out(self, sink))
        self._finished = self._run.execute()
        return self._finished

    def __call__(self, event: Event) -> None:
        if isinstance(event, TaskFinished):
            self._tasks.setdefault(event.host, []).append(self._prediction(event))

    @property
    def hosts(self) -> dict[str, HostPlan]:
        """The plans of all hosts on which all went well."""
        assert self._run and self._finished
        unfinished = self._finished.unfinished
        return {
            name: HostPlan(self._facts(self._run, name), self._tasks.get(name, []))
            for name, end in self._finished.hosts.items()
            if end.well and name not in unfinished
        }

    @property
    def reasons(self) -> dict[str, str]:
        """Why the other hosts have none."""
        assert self._finished
        return {
            name: end.reason or end.stopped or "its check did not come to an end"
            for name, end in self._finished.hosts.items()
            if name not in self.hosts
        }

    def _facts(self, run: Run, host: str) -> dict[str, Any]:
        known = run.hosts[host].vars.facts
        found = {name: known.get(f"ansible_{name}") for name in FACTS}
        facts: dict[str, Any] = masked(found)
        return facts

    def _prediction(self, event: TaskFinished) -> Prediction:
        # without its folder, which may be named in several ways
        words = {"play": event.play, "task": event.task, "where": PurePath(event.where).name}
        diff = event.result.get("diff")
        return Prediction(
            **masked(words),
            status=event.status,
            item=masked(event.item),
            diff=self._seal.of(diff) if diff else "",
        )
