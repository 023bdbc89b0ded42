"""Writes how an Ansible run went: the recap's counts and each task's end, for each host."""

from __future__ import annotations

import json
import os
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
    name: oracle
    type: aggregate
    short_description: counts and ends of tasks as JSON
    description: [Writes them to the file that ORACLE_RESULT names.]
"""


class CallbackModule(CallbackBase):  # type: ignore[misc]
    """Gathering facts is counted apart: it is a task to Ansible alone."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "oracle"

    def __init__(self) -> None:
        super().__init__()
        self.tasks: list[dict[str, Any]] = []
        self.gathered: dict[str, int] = {}

    def _ended(self, result: Any, status: str) -> None:
        name, host = result.task.get_name(), result.host.get_name()
        if result.task.action == "gather_facts" and name == "Gathering Facts" and status == "ok":
            self.gathered[host] = self.gathered.get(host, 0) + 1
            return
        msg = str(result.result.get("msg", ""))
        self.tasks.append({"host": host, "task": name, "status": status, "msg": msg})

    def v2_runner_on_ok(self, result: Any) -> None:
        """A task went well."""
        self._ended(result, "changed" if result.result.get("changed") else "ok")

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        """A task failed."""
        self._ended(result, "ignored" if ignore_errors else "failed")

    def v2_runner_on_skipped(self, result: Any) -> None:
        """A task was skipped."""
        self._ended(result, "skipped")

    def v2_runner_on_unreachable(self, result: Any) -> None:
        """A host could not be reached."""
        self._ended(result, "unreachable")

    def v2_playbook_on_stats(self, stats: Any) -> None:
        """The end of the run."""
        counts = {host: stats.summarize(host) for host in stats.processed}
        for host, count in self.gathered.items():
            counts[host]["ok"] -= count
        with open(os.environ["ORACLE_RESULT"], "w") as file:
            json.dump({"counts": counts, "tasks": self.tasks}, file)
