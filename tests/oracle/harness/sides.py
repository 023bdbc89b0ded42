"""The two programs that run a playbook, and how each says how it went."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from harness.hosts import PYTHON, Inside
from provisioner.lab import Host
from provisioner.lab.rootfs import LOGIN

COUNTS = ("ok", "changed", "skipped", "failed", "unreachable", "rescued", "ignored")
GROUPS = {"front": ("h1", "h2"), "back": ("h3",)}
GROUP_VARS = {"front": {"tier": "front", "level": 1}, "back": {"tier": "back", "level": 2}}
GONE = "gone"
_HERE = Path(__file__).parent
_RUN_SECONDS = 120.0
_CLOSED_PORT = 9


@dataclass(frozen=True)
class Ran:
    """`counts` of each host and the ends of its tasks as lines; `said` is what a user saw."""

    code: int | None
    counts: dict[str, dict[str, int]]
    tasks: dict[str, list[str]] = field(default_factory=dict)
    said: str = ""


class Side(ABC):
    """One program with its hosts, loaded; `hosts` are named as in the inventory."""

    name: str
    python: Path
    program: str

    def __init__(self, hosts: dict[str, Host], folder: Path) -> None:
        self.hosts, self.folder = hosts, folder
        self.inside = {name: Inside(host) for name, host in hosts.items()}
        folder.mkdir(parents=True)
        argv = [str(self.python), "-u", str(_HERE / "loaded.py"), self.program]
        self._loaded = subprocess.Popen(
            argv,
            env=self.environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    @abstractmethod
    def environment(self) -> dict[str, str]:
        """What the program is started with."""

    @abstractmethod
    def inventory(self, names: Sequence[str]) -> dict[str, Any]:
        """The inventory file of these hosts."""

    @abstractmethod
    def argv(self, playbook: Path, inventory: Path, check: bool) -> list[str]:
        """The command line, up to what both sides share."""

    @abstractmethod
    def result(self, code: int | None, folder: Path, said: str) -> Ran:
        """What the run left in `folder` about how it went."""

    def run(
        self, playbook: Path, hosts: Sequence[str], arguments: Sequence[str], check: bool
    ) -> Ran:
        """Run a playbook once."""
        folder = self.folder / "run"
        folder.mkdir(exist_ok=True)
        for old in folder.iterdir():
            old.unlink()
        inventory = folder / "inventory.yaml"
        inventory.write_text(yaml.safe_dump(self.inventory(hosts), sort_keys=False))
        code = self._request(
            argv=[*self.argv(playbook, inventory, check), *arguments],
            cwd=str(playbook.parent),
            env={"ORACLE_RESULT": str(folder / "result"), "ORACLE_WORD": "from the environment"},
            stdout=str(folder / "stdout"),
            stderr=str(folder / "stderr"),
            seconds=_RUN_SECONDS,
        )
        said = (folder / "stderr").read_text() + (folder / "stdout").read_text()
        return self.result(code, folder, said)

    def _request(self, **request: Any) -> int | None:
        assert self._loaded.stdin and self._loaded.stdout
        self._loaded.stdin.write(json.dumps(request) + "\n")
        self._loaded.stdin.flush()
        answer = self._loaded.stdout.readline()
        if not answer:
            raise RuntimeError(f"the loaded {self.name} is gone")
        code: int | None = json.loads(answer)["code"]
        return code

    def close(self) -> None:
        """End the loaded program."""
        self._loaded.kill()
        self._loaded.wait()


class AnsibleCore(Side):
    """ansible-core, by a connection plugin that enters lab hosts without SSH."""

    name = "ansible-core"
    program = "ansible"

    def __init__(self, hosts: dict[str, Host], folder: Path, installed: Path) -> None:
        self.installed = installed
        self.python = installed / "venv" / "bin" / "python"
        super().__init__(hosts, folder)

    def environment(self) -> dict[str, str]:
        """Nobody's own settings; pipelining, which is its fastest way, and less busy waiting."""
        settings = self.folder / "ansible.cfg"
        settings.write_text("[defaults]\ninternal_poll_interval = 0.01\n")
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("ANSIBLE_", "PYTHON"))}
        return {
            **kept,
            "LC_ALL": "C.UTF-8",
            "ANSIBLE_CONFIG": str(settings),
            "ANSIBLE_HOME": str(self.folder / "home"),
            "ANSIBLE_PIPELINING": "True",
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_CALLBACK_PLUGINS": str(_HERE / "plugins" / "callback"),
            "ANSIBLE_CONNECTION_PLUGINS": str(_HERE / "plugins" / "connection"),
            "ANSIBLE_CALLBACKS_ENABLED": "oracle",
            "ANSIBLE_COLLECTIONS_PATH": str(self.installed / "collections"),
        }

    def inventory(self, names: Sequence[str]) -> dict[str, Any]:
        """Ansible's YAML inventory."""
        common = {
            "ansible_connection": "lab",
            "ansible_user": LOGIN,
            "ansible_python_interpreter": PYTHON,
            "region": "north",
        }
        leaders = {name: inside.leader for name, inside in self.inside.items()}
        hosts = {name: {"oracle_leader": leaders.get(name, 0), **own_vars(name)} for name in names}
        children = {
            group: {"hosts": dict.fromkeys(members), "vars": GROUP_VARS[group]}
            for group, members in members_of(names).items()
        }
        return {"all": {"hosts": hosts, "vars": common, "children": children}}

    def argv(self, playbook: Path, inventory: Path, check: bool) -> list[str]:
        """ansible-playbook."""
        return ["ansible-playbook", "-i", str(inventory), str(playbook), *["--check"] * check]

    def result(self, code: int | None, folder: Path, said: str) -> Ran:
        """What the callback plugin wrote."""
        file = folder / "result"
        if not file.exists():
            return Ran(code, {}, said=said)
        written = json.loads(file.read_text())
        counts = {
            host: {name: count[_ANSIBLE_NAMES.get(name, name)] for name in COUNTS}
            for host, count in written["counts"].items()
        }
        tasks: dict[str, list[str]] = {}
        for task in written["tasks"]:
            why = f" ({task['msg'][:200]})" if task["status"] in ("failed", "ignored") else ""
            tasks.setdefault(task["host"], []).append(f"{task['status']}: {task['task']}{why}")
        return Ran(code, counts, tasks, said)


class B9prov(Side):
    """b9prov play, over SSH as a user runs it."""

    name = "b9prov"
    program = "b9prov"
    python = Path(sys.executable)

    def __init__(self, hosts: dict[str, Host], folder: Path, identity_file: Path) -> None:
        self.identity_file = identity_file
        super().__init__(hosts, folder)

    def environment(self) -> dict[str, str]:
        """No terminal, no ssh agent, a home of its own."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("SSH_", "B9", "XDG_"))}
        return {**kept, "HOME": str(self.folder), "TERM": "dumb", "NO_COLOR": "1"}

    def inventory(self, names: Sequence[str]) -> dict[str, Any]:
        """Our YAML inventory."""
        hosts = {}
        for name in names:
            host = self.hosts.get(name, self.hosts["h1"])
            where: dict[str, Any] = {"address": host.address, "host_key": host.host_key}
            if name not in self.hosts:
                where["port"] = _CLOSED_PORT
            hosts[name] = {**where, "vars": own_vars(name)}
        groups = {
            group: {"hosts": members, "vars": GROUP_VARS[group]}
            for group, members in members_of(names).items()
        }
        defaults = {
            "user": LOGIN,
            "identity_file": str(self.identity_file),
            "vars": {"region": "north"},
        }
        return {"defaults": defaults, "groups": groups, "hosts": hosts}

    def argv(self, playbook: Path, inventory: Path, check: bool) -> list[str]:
        """b9prov play."""
        words = ["b9prov", "play", str(playbook), "-i", str(inventory), "--output", "json"]
        return [*words, *["--check"] * check]

    def result(self, code: int | None, folder: Path, said: str) -> Ran:
        """The JSON lines."""
        lines = (folder / "stdout").read_text().splitlines()
        events = [json.loads(line) for line in lines]
        if not events or events[-1]["event"] != "summary":
            return Ran(code, {}, said=said)
        counts = {
            host: {name: int(count.get(name, 0)) for name in COUNTS}
            for host, count in events[-1]["hosts"].items()
        }
        tasks: dict[str, list[str]] = {}
        for event in events:
            if event["event"] == "task_finished":
                tasks.setdefault(event["host"], []).append(_line(event))
        return Ran(code, counts, tasks, said)


_ANSIBLE_NAMES = {"failed": "failures"}


def own_vars(name: str) -> dict[str, Any]:
    """The variables of one host."""
    return {"number": int(name[1:]) if name[1:].isdigit() else 0}


def members_of(names: Sequence[str]) -> dict[str, list[str]]:
    """The groups of which there are hosts."""
    present = {group: [m for m in members if m in names] for group, members in GROUPS.items()}
    return {group: members for group, members in present.items() if members}


def _line(event: dict[str, Any]) -> str:
    status, item = event["status"], event["item"]
    why = str((event["result"] or {}).get("msg", ""))[:200]
    which = f" [{item}]" if item is not None else ""
    return f"{status}: {event['task']}{which}" + f" ({why})" * (status in ("failed", "ignored"))
