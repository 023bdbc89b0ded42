"""A run: plays one after another, their hosts side by side, one stream of events."""

from __future__ import annotations

import functools
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from provisioner.engine.events import (
    HostConnected,
    HostUnreachable,
    HostWaiting,
    PlayStarted,
    RunFinished,
    RunStarted,
    Sink,
)
from provisioner.engine.host import HostState, HostVarsView
from provisioner.engine.resume import Memory
from provisioner.engine.setting import Setting, Stopped
from provisioner.engine.strand import Strand
from provisioner.engine.tags import TagFilter
from provisioner.engine.teller import Teller
from provisioner.engine.together import CutOff, Together, batches
from provisioner.errors import BadInput
from provisioner.inventory import GATEWAY, GATEWAYS, Host, Inventory, is_gateway
from provisioner.paths import data_dir
from provisioner.playbook.check import check_playbook
from provisioner.playbook.model import Play, Playbook, Task
from provisioner.playbook.scope import HostVars
from provisioner.playbook.templating import OMIT, Templar
from provisioner.ssh.bootstrap import program
from provisioner.ssh.connect import Unreachable
from provisioner.ssh.pool import LOCALHOST, Pool

INTERRUPT_GRACE = 1.5  # seconds that strands have to stop after Ctrl-C
LOOK_UP = 0.2  # seconds after which the main thread looks for a Ctrl-C that did not wake it
_GATEWAY_PLAYS = (GATEWAY, GATEWAYS)


@dataclass(frozen=True)
class Options:
    """How to run. `limit` is a host pattern; `lock_wait` is in seconds; `magic` holds further
    variables for every task; `template_dirs` are searched before a role's own. `shard` (i, n)
    takes the i-th of n equal parts of the hosts, counted from 1. `part` is which plays to run:
    all, the gateway host's, or the workers'; `facts` are those of hosts that an earlier part met.
    `memory` notes what is done, and knows what an earlier run has done.
    """

    check: bool = False
    diff: bool = False
    forks: int = 50
    limit: str | None = None
    tags: TagFilter = field(default_factory=TagFilter)
    extra: Mapping[str, Any] = field(default_factory=dict)
    magic: Mapping[str, Any] = field(default_factory=dict)
    host_keys: str = "strict"
    lock_wait: float = 60.0
    template_dirs: tuple[Path, ...] = ()
    shard: tuple[int, int] | None = None
    part: str = "all"
    facts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    memory: Memory | None = None


class Run:
    """Executes a playbook on the hosts of an inventory."""

    def __init__(
        self,
        playbook: Playbook,
        inventory: Inventory,
        options: Options,
        sink: Sink,
        executor: Callable[[int], Executor] = ThreadPoolExecutor,
        pool: Pool | None = None,
    ) -> None:
        self.playbook, self.inventory, self.options = playbook, inventory, options
        self._sink = sink
        self._executor = executor
        self._templars: dict[tuple[Path, Path | None], Templar] = {}
        self._interrupted = threading.Event()
        self._needed: set[str] = set()  # hosts of the plays behind the one that runs
        self._seen: set[str] = set()
        self.chosen = [host.name for host in inventory.chosen(options.limit, options.shard)]
        shared = frozenset(inventory.gateway.hosts)
        self.pool = pool or Pool(options.host_keys, options.lock_wait, shared)
        self.hosts = {name: self._state(host) for name, host in self._all_hosts().items()}
        for name, facts in options.facts.items():
            self.hosts[name].learn(facts)
        for state in self.hosts.values():
            state.vars.magic["hostvars"] = HostVarsView(self.hosts, state.name, Templar([]))

    def check(self) -> None:
        """Raise BadInput for what is wrong with the playbook on these hosts; touches nothing."""
        self.options.tags.refuse_unknown(
            {tag for play in self.playbook.plays for task in play.tasks for tag in task.tags}
        )
        hosts = {play: self.hosts_of(play) for play in self.playbook.plays}
        for play in hosts:
            if GATEWAY not in self.hosts and uses_gateway(play):
                raise BadInput.of(
                    f"{play.name!r} needs the gateway host, and the inventory names none",
                    play.where,
                    "set gateway.host, also where the API is reached by gateway.url",
                )
        check_playbook(
            self.playbook,
            {*self.hosts, LOCALHOST},
            lambda play, reached: {
                host.name: host.scope(play, reached.task, {}, reached.around)
                for host in hosts[play]
            },
            self.templar,
            is_selected=lambda task: self.options.tags.selects(task.tags),
        )

    def execute(self) -> RunFinished:
        """Run all plays; the outcome of every host is in the last event, which is returned."""
        with Teller(self._sink) as teller:
            self._emit = teller.tell
            return self._all_plays()

    def _all_plays(self) -> RunFinished:
        started = time.monotonic()
        names = tuple(name for name in self.chosen if name in self.hosts)
        self._emit(RunStarted(str(self.playbook.path), names, self.options.check))
        self.pool.on_connect = lambda host, seconds: self._emit(HostConnected(host, seconds))
        self.pool.on_wait = lambda host, holder: self._emit(HostWaiting(host, holder))
        # the runner is packed while the hosts are being connected
        threading.Thread(target=program, daemon=True).start()
        try:
            self._call_gateway()
            plays = [play for play in self.playbook.plays if self._has_part(play)]
            for number, play in enumerate(plays, 1):
                self._needed = {
                    host.name for each in plays[number:] for host in self.hosts_of(each)
                }
                if not self._play(play):
                    break
        except KeyboardInterrupt:
            self._interrupted.set()
        finally:
            self.pool.close()
        touched = {name: h for name, h in self.hosts.items() if name in self._seen or name in names}
        finished = RunFinished(
            hosts={name: host.summary for name, host in touched.items()},
            seconds=time.monotonic() - started,
            interrupted=self._interrupted.is_set(),
            unfinished=tuple(name for name, host in touched.items() if not host.finished),
        )
        self._emit(finished)
        return finished

    def _has_part(self, play: Play) -> bool:
        part = "gateway" if play.hosts in _GATEWAY_PLAYS else "workers"
        return self.options.part in ("all", part)

    def _call_gateway(self) -> None:
        """Begin to connect to the gateway host beside the workers, if the run is to need it."""
        play = next(filter(uses_gateway, self.playbook.plays), None)
        if play is not None and GATEWAY in self.hosts and self.chosen:
            user = play.become_user if play.become else None
            self.pool.call(self.hosts[GATEWAY].target, user)

    def _all_hosts(self) -> dict[str, Host]:
        return {**self.inventory.hosts, **self.inventory.gateway.hosts}

    def _state(self, host: Host) -> HostState:
        groups = self.inventory.groups
        magic = {
            "inventory_hostname": host.name,
            "inventory_hostname_short": host.name.split(".")[0],
            "groups": self._groups,
            "group_names": sorted(name for name, members in groups.items() if host.name in members),
            "ansible_host": host.address,
            "ansible_check_mode": self.options.check,
            "ansible_diff_mode": self.options.diff,
            "ansible_play_hosts": self.chosen,
            "omit": OMIT,
            **self.options.magic,
        }
        settings = {**host.variables, "gateway": self._gateway_settings()}
        # the inventory has them already merged with what they override in part
        extra = {name: settings.get(name, value) for name, value in self.options.extra.items()}
        return HostState(host, HostVars(host.name, settings, extra, magic=magic))

    @functools.cached_property
    def _groups(self) -> dict[str, list[str]]:
        """What playbooks see as `groups`."""
        groups = {name: list(members) for name, members in self.inventory.groups.items()}
        everyone, grouped = list(self.inventory.hosts), set().union(*groups.values())
        ungrouped = [name for name in everyone if name not in grouped]
        return {"all": everyone, "workers": everyone, "ungrouped": ungrouped, **groups}

    def _gateway_settings(self) -> dict[str, Any]:
        """What playbooks see as `gateway`."""
        gateway = self.inventory.gateway
        host = gateway.host
        address = gateway.tunnel_address or (host.address if host else None)
        port = gateway.tunnel_port or (host.port if host else None)
        first = [(GATEWAY, address, port)] if host else []
        rest = [(each.host.name, each.tunnel_address, each.tunnel_port) for each in gateway.standby]
        names = ("name", "tunnel_address", "tunnel_port")
        return {
            "address": host.address if host else None,
            "tunnel_address": address,
            "tunnel_port": port,
            "hosts": [dict(zip(names, each, strict=True)) for each in (*first, *rest)],
            "api": gateway.api,
            "url": gateway.url,
            "admin_token": gateway.admin_token,
            "manage": gateway.manage,
            "addresses": gateway.addresses,
            "forwards": gateway.forwards,
        }

    def hosts_of(self, play: Play) -> list[HostState]:
        """The hosts of a play that are within the limit. Raises BadInput."""
        if play.hosts == GATEWAYS:
            return [self.hosts[name] for name in self.inventory.gateway.hosts]
        if play.hosts == GATEWAY:
            return [self.hosts[GATEWAY]] if GATEWAY in self.hosts else []
        try:
            selected = self.inventory.played_on(play.hosts)
        except BadInput as error:
            raise BadInput.of(error.problems[0].message, play.where) from None
        chosen = frozenset(self.chosen)
        return [self.hosts[host.name] for host in selected if host.name in chosen]

    def _play(self, play: Play) -> bool:
        """Run a play; whether the plays behind it may go on."""
        everyone = self.hosts_of(play)
        hosts = [host for host in everyone if host.alive]
        # with no worker left to serve, the gateway host is left as it is
        if not hosts or not any(self.hosts[name].alive for name in self.chosen):
            return True
        names = tuple(host.name for host in hosts)
        self._emit(PlayStarted(play.name, names))
        self._seen.update(names)
        magic = {
            "playbook_dir": str(play.directory),
            "ansible_play_name": play.name,
            "ansible_play_hosts": list(names),
            "ansible_play_hosts_all": [each.name for each in everyone],
        }
        for host in hosts:
            host.vars.magic.update(magic)
        parts = batches(play.serial, hosts)
        for number, batch in enumerate(parts):
            self._batch(play, batch)
            if play.serial and not any(host.alive for host in batch):
                return self._give_up(parts[number + 1 :], "all hosts before it failed")
            if any(host.summary.stopped for host in batch):
                return self._give_up(parts[number + 1 :], "too many hosts before it failed")
        return True

    def _give_up(self, rest: list[list[HostState]], why: str) -> bool:
        for host in (host for batch in rest for host in batch):
            host.summary.stopped = f"not begun, since {why}"
        return False

    def _batch(self, play: Play, hosts: list[HostState]) -> None:
        names = [host.name for host in hosts]
        together = Together(play, names, self._interrupted)
        setting = self._setting(play, together)
        for host in hosts:
            host.finished = False
            host.vars.magic["ansible_play_batch"] = names
        # hosts that wait for each other all need a thread
        at_once = len(hosts) if together.in_step else min(self.options.forks, len(hosts))
        executor = self._executor(max(1, at_once))
        try:
            self._await([executor.submit(self._strand, setting, host) for host in hosts])
        finally:
            # an interrupted run does not wait for a strand that is stuck
            executor.shutdown(wait=not self._interrupted.is_set(), cancel_futures=True)

    def _await(self, futures: list[Future[None]]) -> None:
        try:
            # A signal that the system gives to another thread does not end a wait of this one.
            for future in futures:
                while not future.done():
                    wait([future], timeout=LOOK_UP)
        except KeyboardInterrupt:
            self._interrupted.set()
            self.pool.close()
            wait(futures, timeout=INTERRUPT_GRACE)
            raise
        for future in futures:
            future.result()

    def _strand(self, setting: Setting, host: HostState) -> None:
        try:
            self._greet(setting.play, host)
            memory = self.options.memory
            Strand(setting, host, memory.of(host) if memory else None).run()
            host.finished = True
        except CutOff as cut:
            host.finished = not self._interrupted.is_set()
            host.summary.stopped = "" if self._interrupted.is_set() else str(cut)
        except Stopped:
            host.finished = not self._interrupted.is_set()
        except Unreachable as error:
            if self._interrupted.is_set():
                return
            host.finished = True
            host.summary.unreachable = True
            host.summary.reason, host.summary.advice = error.reason, error.advice
            self._emit(HostUnreachable(host.name, error.reason, error.advice))
        except Exception as error:  # of our own: no reason to leave the other hosts
            host.finished = True
            host.summary.stopped, host.summary.advice = _own_error(error), "please report this"
        finally:
            if host.name not in self._needed and not is_gateway(host.name):
                self.pool.release(host.target)
            setting.together.leave(host.name, failed=not host.alive)

    def _greet(self, play: Play, host: HostState) -> None:
        user = play.become_user if play.become else None
        facts = self.pool.conversation(host.target, user).facts
        host.learn(facts)

    def _setting(self, play: Play, together: Together) -> Setting:
        return Setting(
            play=play,
            pool=self.pool,
            templar_for=lambda task: self.templar(play, task),
            find_host=self._find_host,
            emit=self._emit,
            tags=self.options.tags,
            check=self.options.check,
            diff=self.options.diff,
            interrupted=self._interrupted,
            together=together,
        )

    def templar(self, play: Play, task: Task | None) -> Templar:
        """The templar that finds the files of a task."""
        place = (play.directory, task.role.path if task and task.role else None)
        if place not in self._templars:
            search = template_search(self.options.template_dirs, play, task)
            self._templars[place] = Templar(list(search))
        return self._templars[place]

    def _find_host(self, name: str) -> Host:
        if name == LOCALHOST:
            return Host(name=LOCALHOST, address=LOCALHOST)
        if name not in self.hosts:
            raise Unreachable(f"delegate_to names {name!r}, which is not in the inventory", "")
        return self.hosts[name].target


def _own_error(error: Exception) -> str:
    """What an error that nobody foresaw says of itself, and where it was."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    what = f"{type(error).__name__}: {error}"
    return f"an error in b9prov, {what} ({Path(frame.filename).name}:{frame.lineno})"


def uses_gateway(play: Play) -> bool:
    """Whether the play, or a task of it, runs on the gateway host."""
    return play.hosts in _GATEWAY_PLAYS or any(task.delegate_to == GATEWAY for task in play.tasks)


def template_search(first: tuple[Path, ...], play: Play, task: Task | None) -> tuple[Path, ...]:
    """Where template files are looked for: the user's, the role's, the playbook's, ours."""
    role = (task.role.path / "templates", task.role.path / "files") if task and task.role else ()
    beside = (play.directory / "templates", play.directory / "files", play.directory)
    return (*first, *role, *beside, data_dir("templates"))
