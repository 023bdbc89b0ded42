"""k3s_node: cordoned, drained and open again, by a kubectl that a script stands in for."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from provisioner.remote.module import ModuleFailed

# nodes and pods are files; what is called is written down; drain ends the pods of `ends`
KUBECTL_STAND_IN = """\
#!/bin/sh
cd {folder}
echo "$*" >> called
case "$1 $2" in
"get nodes") cat nodes ;;
"get --raw") cat pods ;;
drain*) [ ! -e refusal ] || {{ cat refusal >&2; cp left pods; exit 1; }}; echo drained ;;
esac
"""


def pod(name: str, **more: Any) -> dict[str, Any]:
    about = {"name": name, "namespace": "default", **more.pop("about", {})}
    return {"metadata": about, "status": {"phase": "Running", **more}}


DAEMON = pod("plugin", about={"ownerReferences": [{"kind": "DaemonSet"}]})
STATIC = pod("proxy", about={"annotations": {"kubernetes.io/config.mirror": "x"}})
LEFT_ALONE = [DAEMON, STATIC, pod("over", phase="Succeeded")]


class Kubernetes:
    """What the stand-in knows."""

    def __init__(self, folder: Path, apply: Callable[..., Any]) -> None:
        self.folder, self._apply = folder, apply
        self.program = folder / "kubectl-stand-in"
        self.program.write_text(KUBECTL_STAND_IN.format(folder=folder))
        self.program.chmod(0o755)
        self.nodes("w1")
        self.pods()

    def nodes(self, *names: str, closed: bool = False) -> None:
        spec = {"unschedulable": True} if closed else {}
        items = [{"metadata": {"name": name}, "spec": spec} for name in names]
        (self.folder / "nodes").write_text(json.dumps({"items": items}))

    def pods(self, *names: str, file: str = "pods") -> None:
        items = [*map(pod, names), *LEFT_ALONE]
        (self.folder / file).write_text(json.dumps({"items": items}))

    def set(self, state: str, name: str = "w1", **more: Any) -> dict[str, Any]:
        """The module's result, for this state."""
        words = [str(self.program)]
        found: dict[str, Any] = self._apply(
            "k3s_node", name=name, state=state, kubectl=words, **more
        )
        return found

    @property
    def changes(self) -> list[str]:
        called = (self.folder / "called").read_text().splitlines()
        return [line for line in called if not line.startswith("get ")]


@pytest.fixture
def kubernetes(tmp_path: Path, apply: Callable[..., Any]) -> Kubernetes:
    return Kubernetes(tmp_path, apply)


def test_it_is_closed_and_opened_once(kubernetes: Kubernetes) -> None:
    assert kubernetes.set("open")["changed"] is False
    assert kubernetes.set("closed") == {
        "changed": True, "node": "w1", "was_open": True, "evicted": [], "stays": [],
    }  # fmt: skip
    kubernetes.nodes("w1", closed=True)
    assert kubernetes.set("closed")["changed"] is False
    assert kubernetes.set("open")["changed"] is True
    assert kubernetes.changes == ["cordon w1", "uncordon w1"]


def test_check_mode_touches_nothing(kubernetes: Kubernetes) -> None:
    kubernetes.pods("job")
    found = kubernetes.set("drained", check=True)
    assert (found["changed"], found["evicted"]) == (True, ["default/job"])
    assert kubernetes.changes == []


def test_a_drain_names_what_it_ended_and_is_done_once(kubernetes: Kubernetes) -> None:
    kubernetes.pods("one", "two")
    assert kubernetes.set("drained", timeout=7)["evicted"] == ["default/one", "default/two"]
    (called,) = kubernetes.changes
    assert called.startswith("drain w1 --ignore-daemonsets") and called.endswith("--timeout=7s")
    kubernetes.pods()
    kubernetes.nodes("w1", closed=True)
    assert kubernetes.set("drained")["changed"] is False


@pytest.mark.parametrize(
    "said",
    [
        'error: unable to drain node "w1" due to error: global timeout reached: 7s',
        'There are pending pods in node "w1" when an error occurred: error when waiting for pod '
        '"stays" in namespace "default" to terminate: context deadline exceeded',
    ],
)
def test_a_drain_names_what_stays(kubernetes: Kubernetes, said: str) -> None:
    kubernetes.pods("goes", "stays")
    kubernetes.pods("stays", file="left")
    (kubernetes.folder / "refusal").write_text(said)
    with pytest.raises(ModuleFailed) as failed:
        kubernetes.set("drained", timeout=7)
    assert failed.value.msg == "default/stays did not end within 7 s; the node takes no new pods"
    assert failed.value.extra["stays"] == ["default/stays"]
    assert failed.value.extra["evicted"] == ["default/goes"]


def test_what_kubectl_refuses_is_told(kubernetes: Kubernetes) -> None:
    kubernetes.pods("bare")
    kubernetes.pods("bare", file="left")
    (kubernetes.folder / "refusal").write_text(
        "error: cannot delete Pods that declare no controller"
    )
    with pytest.raises(ModuleFailed, match="declare no controller"):
        kubernetes.set("drained")


def test_which_node_is_meant(kubernetes: Kubernetes) -> None:
    assert kubernetes.set("closed", name="by-another-name")["node"] == "w1"
    kubernetes.nodes("w1", "w2")
    assert kubernetes.set("closed", name="w2")["node"] == "w2"
    with pytest.raises(ModuleFailed, match=r"no node w3 \(nodes: w1, w2\)"):
        kubernetes.set("closed", name="w3")
