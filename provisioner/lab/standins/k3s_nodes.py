"""The stand-in's nodes: its own, and those of agents that joined; none of them runs anything."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from provisioner.lab.standins import versions

Json = dict[str, Any]


class Nodes:
    """Nodes by name, each with whether it takes no new pods."""

    def __init__(self, own: str, kept: Json, save: Callable[[], None]) -> None:
        self.kept = {own: False, **kept}
        self._save = save

    def join(self, name: str) -> None:
        """A node of an agent; the second time it is the same."""
        if name not in self.kept:
            self.kept[name] = False
            self._save()

    @property
    def open(self) -> bool:
        """Whether any node takes new pods."""
        return not all(self.kept.values())

    def all(self) -> Iterable[Json]:
        """The nodes as Kubernetes has them."""
        return [self._node(name) for name in sorted(self.kept)]

    def get(self, name: str) -> Json | None:
        """One node."""
        return self._node(name) if name in self.kept else None

    def patch(self, name: str, body: Json) -> Json | None:
        """Cordon or uncordon it."""
        if name in self.kept:
            self.kept[name] = bool(body.get("spec", {}).get("unschedulable"))
            self._save()
        return self.get(name)

    def _node(self, name: str) -> Json:
        ready = {"type": "Ready", "status": "True", "reason": "KubeletReady"}
        return {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
            "spec": {"unschedulable": True} if self.kept[name] else {},
            "status": {"conditions": [ready], "nodeInfo": {"kubeletVersion": versions.K3S}},
        }
