"""From a request to what a run needs: inventory, playbook and options, all checked."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from provisioner import __version__
from provisioner.cli.asking import with_passwords
from provisioner.cli.calling import Called
from provisioner.cli.options import Request
from provisioner.cli.sources import extra_variables, open_inventory
from provisioner.engine.events import Event, RunFinished, Sink
from provisioner.engine.host import HostState
from provisioner.engine.run import Options, Run
from provisioner.engine.tags import TagFilter
from provisioner.inventory import Inventory
from provisioner.operator import operator
from provisioner.paths import cache_dir, data_dir, state_dir
from provisioner.playbook.loader import Loader
from provisioner.playbook.model import Playbook
from provisioner.ssh.pool import Pool


@dataclass(frozen=True)
class Session:
    """Input that was found good."""

    playbook: Playbook
    inventory: Inventory
    options: Options
    loader: Loader
    executor: str | None = None
    pool: Pool | None = None

    def run(self, sink: Sink) -> Run:
        """A run, not yet begun, that tells `sink`. With a `pool`, one alone can be executed."""
        return Run(self.playbook, self.inventory, self.options, sink, pool=self.pool)

    def ask(self, sink: Sink | None = None) -> list[HostState] | None:
        """The chosen hosts as a run leaves them that shows nothing but to `sink`; None when the
        user interrupted it."""
        run = self.run(sink or quiet)
        if run.execute().interrupted:
            return None
        return [run.hosts[host.name] for host in self.inventory.select(self.options.limit)]

    def execute(self, sink: Sink) -> RunFinished:
        """Run here, or on the cluster that was asked for. Raises BadInput."""
        if self.executor is None:
            return self.run(sink).execute()
        from provisioner.engine.spread import spread

        inputs = (self.playbook, self.loader, self.inventory, self.options)
        return spread(self.executor, *inputs, sink)


def open_session(
    request: Request, playbook: Path, magic: dict[str, Any], called: Called | None = None
) -> Session:
    """Load and check everything; nothing but what is already `called` is contacted.

    Raises BadInput.
    """
    extra = called.extra if called else extra_variables(request)
    inventory = (
        called.inventory if called else with_passwords(open_inventory(request, extra), request)
    )
    loader = Loader([data_dir("playbooks") / "roles"], request.playbooks)
    session = Session(
        loader.playbook(playbook),
        inventory,
        Options(
            check=request.check,
            diff=request.diff,
            forks=request.forks,
            limit=request.limit,
            tags=TagFilter(_words(request.tags), _words(request.skip_tags)),
            extra=extra,
            magic={
                "b9prov_version": __version__,
                "b9prov_state_dir": str(state_dir()),
                "b9prov_controller_time": time.time(),
                "b9prov_operator": operator(),
                **magic,
            },
            host_keys=request.host_keys,
            lock_wait=request.lock_wait,
            shard=request.shard,
            template_dirs=(request.templates,) if request.templates else (),
        ),
        loader,
        request.executor,
        called.pool if called else None,
    )
    session.run(quiet).check()
    return session


def quiet(event: Event) -> None:
    """A sink that shows nothing."""


def agent_zipapp() -> str:
    """The agent, built from the installed package, for playbooks to copy to hosts."""
    from provisioner.agent.build import build_zipapp

    path = cache_dir() / "agent" / "b9agent.pyz"
    half = path.with_name(f".{path.name}.{os.getpid()}")
    build_zipapp(half, path.parent)
    half.replace(path)
    return str(path)


def _words(lists: tuple[str, ...]) -> frozenset[str]:
    return frozenset(word.strip() for text in lists for word in text.split(",") if word.strip())
