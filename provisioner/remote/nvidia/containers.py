"""Rows on the way from the container toolkit to GPUs that Kubernetes gives to pods."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

from provisioner.remote.checks import Checks
from provisioner.remote.nvidia.machine import Machine, text
from provisioner.remote.nvidia.smi import Gpu

RUNTIME = "nvidia-container-runtime"
CONTAINERD = "/var/lib/rancher/k3s/agent/etc/containerd/config.toml"
_NAMED = re.compile(r"""\.runtimes\.['"]?nvidia['"]?\]""")


class Cluster(NamedTuple):
    """How to ask Kubernetes, and what its node is called where it is not by the host's name."""

    kubectl: list[str]
    node: str = ""
    containerd: str = CONTAINERD


def toolkit(machine: Machine, checks: Checks, severity: str) -> None:
    """Note whether containers can be given GPUs at all."""
    found = machine.which(RUNTIME)
    fix = "install the container toolkit: nvidia.toolkit in the inventory does"
    checks.add(
        "container toolkit", found is not None, found or "not there", "installed", fix, severity
    )


def rows(machine: Machine, checks: Checks, gpus: list[Gpu], cluster: Cluster) -> None:
    """Note what Kubernetes makes of it."""
    config = text(Path(cluster.containerd))
    if config:
        named = _NAMED.search(config) is not None
        fix = "restart k3s, which looks for the runtime when it starts: systemctl restart k3s"
        found = f"containerd {'has' if named else 'has no'} runtime nvidia"
        checks.add("k3s runtime", named, found, "containerd has runtime nvidia", fix)
    else:
        checks.skip("k3s runtime", "no k3s has run here yet")
    if machine.which(cluster.kubectl[0]):
        _runtime_class(machine, checks, cluster)
        _allocatable(machine, checks, gpus, cluster)
    else:
        for name in ("RuntimeClass", "allocatable"):
            checks.skip(name, f"no {cluster.kubectl[0]} here yet")


def _runtime_class(machine: Machine, checks: Checks, cluster: Cluster) -> None:
    outcome = machine.ask(*cluster.kubectl, "get", "runtimeclass", "nvidia", "-o", "name")
    missing = "NotFound" in outcome.stderr
    if outcome.rc != 0 and not missing:
        checks.skip("RuntimeClass", _why(outcome.said))
        return
    fix = "run `b9prov up` again, which makes it; or: k3s kubectl apply of a RuntimeClass nvidia"
    checks.add("RuntimeClass", not missing, "none" if missing else "nvidia", "nvidia", fix)


def _allocatable(machine: Machine, checks: Checks, gpus: list[Gpu], cluster: Cluster) -> None:
    outcome = machine.ask(*cluster.kubectl, "get", "nodes", "-o", "json")
    nodes = _items(outcome.stdout) if outcome.rc == 0 else None
    if nodes is None:
        checks.skip("allocatable", _why(outcome.said))
        return
    names = (cluster.node.lower(), text(machine.procfs / "sys/kernel/hostname").lower())
    own = _own(nodes, names)
    if own is None:
        checks.skip("allocatable", "this host is no node of its cluster yet")
        return
    given = own.get("status", {}).get("allocatable", {})
    counts = {
        name.partition("/")[2]: int(count)
        for name, count in given.items()
        if re.fullmatch(r"nvidia\.com/(gpu|mig-.+)", name) and str(count).isdigit()
    }
    wanted = sum(gpu.slices() or 1 for gpu in gpus)
    found = ", ".join(f"{count} x {name}" for name, count in sorted(counts.items())) or "no GPU"
    fix = "see why the device plugin does not offer them: k3s kubectl -n kube-system logs "
    fix += "daemonset/nvidia-device-plugin"
    checks.add("allocatable", sum(counts.values()) == wanted, found, f"{wanted} in all", fix)


def _items(output: str) -> list[dict[str, Any]] | None:
    try:
        return list(json.loads(output)["items"])
    except (ValueError, KeyError, TypeError):
        return None


def _own(nodes: list[dict[str, Any]], names: tuple[str, ...]) -> dict[str, Any] | None:
    """The node that this host is: the one with one of its names, or the only one."""
    named = [n for n in nodes if n.get("metadata", {}).get("name") in names]
    return next(iter(named or (nodes if len(nodes) == 1 else [])), None)


def _why(said: str) -> str:
    return f"Kubernetes does not tell: {(said.splitlines() or ['no word'])[-1]}"
