"""What a playbook would write to a host, found without connecting.

What only the host or the gateway knows (facts, registered results) shows as `‹name›`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from provisioner.engine import actions
from provisioner.engine.events import Event
from provisioner.engine.host import HostState
from provisioner.engine.run import Options, Run
from provisioner.errors import BadInput
from provisioner.inventory import Inventory
from provisioner.playbook.model import Play, Playbook, Reached, Task
from provisioner.playbook.scope import Scope
from provisioner.playbook.templating import Templar, TemplateFailed
from provisioner.remote.facts import gather

# facts that this machine lacks where no sshd runs on it, as in a container
_HOST_KEYS = [f"ansible_ssh_host_key_{kind}_public" for kind in ("ed25519", "ecdsa", "rsa")]


@dataclass(frozen=True)
class RenderedFile:
    """A file on `host`; `mode` and `owner` are empty where the playbook leaves them open."""

    host: str
    path: str
    mode: str
    owner: str
    content: str


class Unknown(str):
    """Stands for a value that only a run can tell, and for everything inside it."""

    __slots__ = ()

    def __getattr__(self, name: str) -> Unknown:
        if name.startswith("__"):
            raise AttributeError(name)
        return unknown(f"{self.strip('‹›')}.{name}")

    def __getitem__(self, key: Any) -> Unknown:
        return unknown(f"{self.strip('‹›')}.{key}")

    def get(self, key: str, default: Any = None) -> Any:
        """What a result test such as `is skipped` asks: take the ordinary course."""
        return default


def unknown(name: str) -> Unknown:
    """The stand-in for variable `name`."""
    return Unknown(f"‹{name}›")


def render_host(
    playbook: Playbook, inventory: Inventory, host_name: str, options: Options
) -> list[RenderedFile]:
    """The files that `playbook` writes to `host_name`, in order. Raises BadInput."""
    run = Run(playbook, inventory, options, _ignore)
    if host_name not in run.hosts:
        raise BadInput.of(f"no such host: {host_name}")
    for host in run.hosts.values():
        host.vars.facts = {name: unknown(name) for name in (*gather(), *_HOST_KEYS)}
    return list(_Renderer(run, run.hosts[host_name]).files())


def _ignore(event: Event) -> None:
    return None


class _Renderer:
    """Walks the plays of one host."""

    def __init__(self, run: Run, host: HostState) -> None:
        self.run, self.host = run, host

    def files(self) -> Iterator[RenderedFile]:
        for play in self.run.playbook.plays:
            if self.host in self.run.hosts_of(play):
                self.host.vars.magic["playbook_dir"] = str(play.directory)
                for reached in play.reached:
                    yield from self._task(play, reached)

    def _task(self, play: Play, reached: Reached) -> Iterator[RenderedFile]:
        task = reached.task
        if not self.run.options.tags.selects(task.tags):
            return
        templar = self.run.templar(play, task)
        for scope in self._scopes(play, reached, templar):
            if not all(self._takes_place(each, scope, templar) for each in (*reached.around, task)):
                continue
            if task.module == "set_fact":
                self._set_facts(task, scope, templar)
            elif task.module in ("template", "copy") and not task.delegate_to:
                yield from self._file(play, task, scope, templar)
        if task.register:
            self.host.vars.results[task.register] = unknown(task.register)

    def _scopes(self, play: Play, reached: Reached, templar: Templar) -> Iterator[Scope]:
        task, around = reached.task, reached.around
        scope = self.host.scope(play, task, {}, around)
        if task.loop is None:
            yield scope
            return
        try:
            items = templar.value(task.loop, scope)
        except TemplateFailed:
            return
        for item in [items] if isinstance(items, Unknown) else items:
            yield self.host.scope(play, task, {task.loop_var: item}, around)

    def _takes_place(self, task: Task, scope: Scope, templar: Templar) -> bool:
        try:
            return templar.all(task.when, scope)
        except TemplateFailed:
            return True

    def _set_facts(self, task: Task, scope: Scope, templar: Templar) -> None:
        for name, raw in task.arguments.items():
            try:
                value = templar.value(raw, scope)
            except TemplateFailed:
                value = unknown(name)
            self.host.vars.results[name] = value

    def _file(
        self, play: Play, task: Task, scope: Scope, templar: Templar
    ) -> Iterator[RenderedFile]:
        try:
            arguments = templar.value(task.arguments, scope)
            call = actions.call(task, play, arguments, templar, scope)
        except (TemplateFailed, actions.ActionFailed) as error:
            raise BadInput.of(f"can't be rendered: {error}", task.where) from None
        content = call.arguments.get("content")
        if content is None:
            content = f"‹{call.arguments.get('_original_basename', 'file')}, binary›\n"
        yield RenderedFile(
            host=self.host.name,
            path=str(call.arguments.get("dest") or call.arguments.get("path")),
            mode=str(call.arguments.get("mode") or ""),
            owner=str(call.arguments.get("owner") or ""),
            content=str(content),
        )
