"""Runs hosts on a Dask cluster instead of in threads; events come back in one stream.

Each host is one Dask task: a run of the whole playbook with that host alone. When a worker process
dies, Dask gives its hosts to others, which is safe as every run only does what is still to be done.
The gateway host's own plays come first, here.
"""

from __future__ import annotations

import pickle
import threading
import time
import uuid
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from provisioner import secrets
from provisioner.engine.events import (
    Event,
    HostSummary,
    HostUnreachable,
    PlayStarted,
    RunFinished,
    RunStarted,
    Sink,
)
from provisioner.engine.run import Options, Run
from provisioner.errors import BadInput
from provisioner.inventory import Inventory
from provisioner.playbook.loader import Loader
from provisioner.playbook.model import Play, Playbook

SCHEMES = {"dask": "tcp", "dask+tls": "tls"}
CONNECT_LIMIT = 15.0  # seconds to reach the cluster's scheduler
LAST_EVENTS = 10.0  # seconds for a host's events to arrive after its end


@dataclass(frozen=True)
class Work:
    """What a Dask worker needs for one host. Its files are read where the worker runs."""

    host: str
    playbook: Path
    role_paths: list[Path]
    overrides: Path | None
    inventory: Inventory
    options: Options
    topic: str


@dataclass(frozen=True)
class Done:
    """How a host's task ended; `events` is how many it sent under `attempt`."""

    summary: HostSummary
    attempt: str
    events: int


@dataclass
class _Received:
    """Events by attempt; `told` hears of each but the begin and end of single runs."""

    told: Sink
    counts: dict[str, int] = field(default_factory=dict)
    change: threading.Condition = field(default_factory=threading.Condition)

    def __call__(self, message: tuple[float, bytes]) -> None:
        attempt, event = pickle.loads(message[1])  # noqa: S301 — of the cluster's own members
        with self.change:
            if not isinstance(event, (RunStarted, RunFinished, PlayStarted)):
                self.told(event)
            self.counts[attempt] = self.counts.get(attempt, 0) + 1
            self.change.notify_all()

    def wait_for(self, done: Done) -> None:
        """Wait until all events of an ended host are here, or it takes too long."""
        with self.change:
            self.change.wait_for(
                lambda: self.counts.get(done.attempt, 0) >= done.events, LAST_EVENTS
            )


def spread(
    address: str,
    playbook: Playbook,
    loader: Loader,
    inventory: Inventory,
    options: Options,
    sink: Sink,
) -> RunFinished:
    """Run the playbook on the Dask cluster at `address` (dask://HOST:PORT, dask+tls://HOST:PORT).

    Raises BadInput when there is no such cluster, and for playbooks whose hosts need each other.
    """
    _refuse_hosts_that_need_each_other(playbook)
    client = _connect(address)
    started = time.monotonic()
    try:
        return _spread(client, playbook, loader, inventory, options, sink, started)
    finally:
        client.close()


def _spread(
    client: Any,
    playbook: Playbook,
    loader: Loader,
    inventory: Inventory,
    options: Options,
    sink: Sink,
    started: float,
) -> RunFinished:
    first = Run(playbook, inventory, replace(options, part="gateway"), _inner(sink))
    names = first.chosen
    sink(RunStarted(str(playbook.path), tuple(names), options.check))
    ends = dict(first.execute().hosts)
    known = {name: first.hosts[name].vars.facts for name in inventory.gateway.hosts}
    topic = f"b9prov-{uuid.uuid4().hex}"
    received = _Received(sink)
    client.subscribe_topic(topic, received)
    works = [
        Work(
            host=name,
            playbook=playbook.path,
            role_paths=loader.role_paths,
            overrides=loader.overrides,
            inventory=inventory,
            options=replace(options, limit=name, shard=None, part="workers", facts=known),
            topic=topic,
        )
        for name in names
    ]
    futures = [client.submit(run_host, work, pure=False, retries=2) for work in works]
    interrupted = False
    try:
        for name, future in zip(names, futures, strict=True):
            ends[name] = _end_of(name, future, received)
    except KeyboardInterrupt:
        client.cancel(futures, force=True)
        interrupted = True
    unfinished = tuple(name for name in names if name not in ends)
    ends = {name: ends.get(name, HostSummary()) for name in (*names, *ends)}
    finished = RunFinished(ends, time.monotonic() - started, interrupted, unfinished)
    sink(finished)
    return finished


def run_host(work: Work) -> Done:
    """On a Dask worker: run the playbook for one host and send its events."""
    from distributed import get_worker

    worker, attempt, sent = get_worker(), uuid.uuid4().hex, 0

    def send(event: Event) -> None:
        nonlocal sent
        worker.log_event(work.topic, pickle.dumps((attempt, masked(event))))
        sent += 1

    playbook = Loader(work.role_paths, work.overrides).playbook(work.playbook)
    finished = Run(playbook, work.inventory, work.options, send).execute()
    return Done(_masked(finished.hosts[work.host]), attempt, sent)


def masked(event: Event) -> Event:
    """The event without the secrets that only this process knows."""
    return replace(
        event, **{each.name: _masked(getattr(event, each.name)) for each in fields(event)}
    )


def _masked(value: Any) -> Any:
    if isinstance(value, str):
        return secrets.mask(value)
    if isinstance(value, dict):
        return {key: _masked(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_masked(item) for item in value)
    if isinstance(value, HostSummary):
        return replace(value, reason=secrets.mask(value.reason), advice=secrets.mask(value.advice))
    return value


def _end_of(name: str, future: Any, received: _Received) -> HostSummary:
    """How the host ended, once all of its events were told."""
    try:
        done: Done = future.result()
    except Exception as error:
        reason = f"the Dask cluster did not finish it: {str(error) or type(error).__name__}"
        advice = "look at the cluster's workers; then run the same command again"
        received.told(HostUnreachable(name, reason, advice))
        return HostSummary(unreachable=True, reason=reason, advice=advice)
    received.wait_for(done)
    return done.summary


def _inner(sink: Sink) -> Sink:
    def tell(event: Event) -> None:
        if not isinstance(event, (RunStarted, RunFinished)):
            sink(event)

    return tell


def _connect(address: str) -> Any:
    scheme, _, place = address.partition("://")
    if scheme not in SCHEMES or not place:
        advice = "write dask://HOST:PORT, the address of a Dask scheduler"
        raise BadInput.of(f"--executor: {address!r} is no address of a cluster", advice=advice)
    try:
        from distributed import Client
    except ImportError:
        advice = "pip install 'b9prov[dask]'"
        raise BadInput.of("--executor dask://… needs dask.distributed", advice=advice) from None
    try:
        client: Any = Client
        return client(f"{SCHEMES[scheme]}://{place}", timeout=CONNECT_LIMIT, set_as_default=False)
    except (OSError, ValueError) as error:
        advice = "is the scheduler running there? (dask scheduler)"
        raise BadInput.of(
            f"--executor: no Dask cluster at {place}: {error}", advice=advice
        ) from None


def _refuse_hosts_that_need_each_other(playbook: Playbook) -> None:
    for play in playbook.plays:
        what = _what_joins(play)
        if what:
            raise BadInput.of(
                f"{what} needs all hosts in one place, not spread over a cluster",
                play.where,
                "leave out --executor",
            )


def _what_joins(play: Play) -> str | None:
    if play.serial:
        return "serial"
    if play.any_errors_fatal or play.max_fail_percentage is not None:
        return "any_errors_fatal" if play.any_errors_fatal else "max_fail_percentage"
    return "run_once" if any(task.run_once for task in play.tasks) else None
