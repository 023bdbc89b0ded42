"""Whether a node of Kubernetes takes new pods, and drained the end of those that it has.

Not of Ansible. Arguments: `name` of the node, `state` (`open`, `closed` or `drained`), `kubectl`,
the words that it is called by, and `timeout`, the seconds that pods may take to end.

A node that is alone in its cluster is meant whatever its name. Pods of DaemonSets, static ones and
those that have ended are left alone, as `kubectl drain` does. When some do not end in time the node
stays closed, and the failure names them.
"""

from __future__ import annotations

import json
from typing import Any

from provisioner.remote import process
from provisioner.remote.arguments import Argument
from provisioner.remote.module import Context, ModuleFailed, Result

ARGUMENTS = {
    "name": Argument("str", required=True),
    "state": Argument("str", required=True, choices=("open", "closed", "drained")),
    "kubectl": Argument("list", default=["k3s", "kubectl"]),
    "timeout": Argument("int", default=300),  # seconds
}
QUICK = 30.0
_MIRROR = "kubernetes.io/config.mirror"
_OVER = ("Succeeded", "Failed")
# how kubectl says so, of pods that it could not evict and of those that don't end
_TOO_LATE = ("global timeout reached", "context deadline exceeded")


def run(arguments: dict[str, Any], context: Context) -> Result:
    """`node`, its name; `was_open`; `evicted` and `stays`, pods as NAMESPACE/NAME."""
    kubectl = [str(word) for word in arguments["kubectl"]]
    node = _node(kubectl, arguments["name"])
    name, is_open = node["metadata"]["name"], not node["spec"].get("unschedulable")
    wants_open, drains = arguments["state"] == "open", arguments["state"] == "drained"
    pods = _pods(kubectl, name) if drains else []
    result: Result = {
        "changed": is_open != wants_open or bool(pods),
        "node": name,
        "was_open": is_open,
        "evicted": pods,
        "stays": [],
    }
    if context.check or not result["changed"]:
        return result
    if drains:
        return result | _drain(kubectl, name, pods, arguments["timeout"])
    _ask(kubectl, "uncordon" if wants_open else "cordon", name)
    return result


def _node(kubectl: list[str], name: str) -> dict[str, Any]:
    """The node of that name, or the only one."""
    nodes = json.loads(_ask(kubectl, "get", "nodes", "-o", "json"))["items"]
    named = [node for node in nodes if node["metadata"]["name"] == name]
    found = named or (nodes if len(nodes) == 1 else [])
    if found:
        return dict(found[0])
    names = ", ".join(node["metadata"]["name"] for node in nodes) or "none"
    raise ModuleFailed(
        f"its Kubernetes has no node {name} (nodes: {names})",
        advice="cordon or drain it where its node is: b9prov knows it by the host's name",
    )


def _pods(kubectl: list[str], node: str) -> list[str]:
    """The pods that a drain has to end."""
    path = f"/api/v1/pods?fieldSelector=spec.nodeName%3D{node}"
    found = json.loads(_ask(kubectl, "get", "--raw", path))["items"]
    return [_name(pod) for pod in found if _is_to_go(pod)]


def _is_to_go(pod: dict[str, Any]) -> bool:
    about = pod["metadata"]
    kinds = [owner.get("kind") for owner in about.get("ownerReferences", [])]
    is_kept = "DaemonSet" in kinds or _MIRROR in about.get("annotations", {})
    return not is_kept and pod.get("status", {}).get("phase") not in _OVER


def _name(pod: dict[str, Any]) -> str:
    return f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"


def _drain(kubectl: list[str], node: str, pods: list[str], seconds: int) -> Result:
    words = ["drain", node, "--ignore-daemonsets", "--delete-emptydir-data"]
    done = process.run([*kubectl, *words, f"--timeout={seconds}s"], timeout=seconds + QUICK)
    if done.rc == 0:
        return {}
    left = _pods(kubectl, node)
    gone = [pod for pod in pods if pod not in left]
    outcome = {"changed": True, "node": node, "evicted": gone, "stays": left}
    if not left or not any(words in done.stderr for words in _TOO_LATE):
        raise ModuleFailed(f"kubectl drain: {done.said or done.rc}", **outcome)
    raise ModuleFailed(
        f"{', '.join(left)} did not end within {seconds} s; the node takes no new pods",
        advice="end them or drain again with a longer --timeout; uncordon takes it back",
        stderr=done.stderr,
        **outcome,
    )


def _ask(kubectl: list[str], *words: str) -> str:
    done = process.run([*kubectl, *words], timeout=QUICK)
    if done.rc:
        raise ModuleFailed(f"{' '.join([*kubectl, *words[:2]])}: {done.said or done.rc}")
    return done.stdout
