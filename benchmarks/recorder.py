"""Runs a playbook and keeps every operation that a host was asked to do, with its result."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from provisioner.cli.options import Request
from provisioner.cli.session import agent_zipapp, open_session, quiet
from provisioner.inventory import GATEWAY
from provisioner.remote.arguments import normalise
from provisioner.ssh.conversation import Conversation, Operation, Reply


@dataclass
class Recorded:
    """An operation on `host` on behalf of `origin`; `arguments` has every one of the module."""

    origin: str
    host: str
    module: str
    arguments: dict[str, Any]
    blobs: dict[str, Path | bytes]
    future: Future[Reply] = field(compare=False)

    @property
    def result(self) -> dict[str, Any]:
        """What the module returned."""
        return self.future.result().result


def record(playbook: Path, inventory: Path) -> list[Recorded]:
    """Run `playbook`, which has to succeed on every host; the operations in order.

    Further tries of the same operation are left out: the last one's result is kept.
    """
    session = open_session(Request(inventory=inventory), playbook, {"b9agent_pyz": agent_zipapp()})
    run = session.run(quiet)
    tape: list[Recorded] = []
    run.pool.conversation = _tapped(run.pool.conversation, tape)  # type: ignore[method-assign]
    finished = run.execute()
    failed = {
        name: host.reason or host.stopped for name, host in finished.hosts.items() if not host.well
    }
    if failed:
        raise SystemExit(f"the recorded run failed: {failed}")
    return _without_retries(tape)


def _without_retries(tape: list[Recorded]) -> list[Recorded]:
    last: dict[str, Recorded] = {}
    kept = []
    for each in tape:
        before = last.get(each.origin)
        if before == each:
            before.future = each.future
        else:
            kept.append(each)
            last[each.origin] = each
    return kept


def _tapped(open_one: Callable[..., Conversation], tape: list[Recorded]) -> Callable[..., Any]:
    # each strand has a thread, which asks for its own host's conversation before any other
    origin = threading.local()

    def conversation(target: Any, become_user: str | None, lend: bool = False) -> Any:
        if target.name != GATEWAY or not hasattr(origin, "name"):
            origin.name = target.name
        return _Tap(open_one(target, become_user, lend), origin.name, target.name, tape)

    return conversation


class _Tap:
    """A conversation that is written down."""

    def __init__(self, real: Conversation, origin: str, host: str, tape: list[Recorded]) -> None:
        self._real, self._origin, self._host, self._tape = real, origin, host, tape

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Tap) and self._real is other._real

    def submit(self, operation: Operation) -> Future[Reply]:
        future = self._real.submit(operation)
        spec = import_module(f"provisioner.remote.modules.{operation.module}").ARGUMENTS
        plain = {k: v for k, v in operation.arguments.items() if not k.startswith("_")}
        self._tape.append(
            Recorded(
                self._origin,
                self._host,
                operation.module,
                normalise(plain, spec),
                operation.blobs,
                future,
            )
        )
        return future
