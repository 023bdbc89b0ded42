"""What the agent knows, in Prometheus' text format.

Written by hand: `prometheus_client` would more than double the memory of this agent.
Source: https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from provisioner.agent.states import State

TYPE = "text/plain; version=0.0.4; charset=utf-8"
STATES = tuple(state.value for state in State)
INFERENCE_STATES = ("running", "starting", "stopping", "stopped", "failed")


class Sample(NamedTuple):
    """One value with its labels."""

    value: float
    labels: Mapping[str, str] = {}


class Family(NamedTuple):
    """A metric: its name, what it is, and its samples."""

    name: str
    help: str
    kind: str
    samples: list[Sample]


def render(families: Iterable[Family]) -> bytes:
    """The text."""
    lines: list[str] = []
    for family in families:
        lines += [f"# HELP {family.name} {_escaped(family.help)}"]
        lines += [f"# TYPE {family.name} {family.kind}"]
        for sample in family.samples:
            labels = ",".join(f'{name}="{_quoted(text)}"' for name, text in sample.labels.items())
            lines.append(f"{family.name}{'{' + labels + '}' if labels else ''} {sample.value!r}")
    return "\n".join([*lines, ""]).encode()


def gauge(name: str, help: str, *samples: Sample) -> Family:
    """A value that goes up and down."""
    return Family(name, help, "gauge", list(samples))


def counter(name: str, help: str, *samples: Sample) -> Family:
    """A value that only grows."""
    return Family(name, help, "counter", list(samples))


def one_of(name: str, help: str, label: str, names: Iterable[str], now: str) -> Family:
    """1 for the state that it is in, 0 for the others."""
    samples = [
        Sample(float(each == now), {label: each}) for each in {**dict.fromkeys(names), now: 0}
    ]
    return Family(name, help, "gauge", samples)


def families(status: Mapping[str, Any], inference: Mapping[str, Any]) -> list[Family]:
    """All that the agent exports, from what `/status` and `/inference/status` say."""
    about = {key: str(status[key]) for key in ("version", "machine_id", "pool")}
    found = [
        gauge("b9agent_info", "The agent and its machine.", Sample(1.0, about)),
        one_of("b9agent_state", "What the gateway takes the machine for.", "state", STATES,
               str(status["state"])),
        gauge("b9agent_start_time_seconds", "When the agent was started.",
              Sample(float(status["started"]))),
        counter("b9agent_keepalives_total", "Keepalives that the gateway took.",
                Sample(float(status["keepalives"]))),
        counter("b9agent_failures_total", "Requests that the gateway did not do.",
                Sample(float(status["failures"]))),
        gauge("b9agent_problems", "What is amiss on the machine, as `status` tells.",
              Sample(float(len(status["problems"])))),
        one_of("b9agent_inference_state", "How the server of models fares.", "state",
               INFERENCE_STATES, str(inference["status"])),
        gauge("b9agent_inference_models", "Models on the disk.",
              Sample(float(len(inference["models"])))),
        gauge("b9agent_inference_loaded_models", "Models in memory.",
              Sample(float(len(inference["loaded"])))),
    ]  # fmt: skip
    if status.get("last_keepalive"):
        last = Sample(float(status["last_keepalive"]))
        found.append(gauge("b9agent_last_keepalive_time_seconds", "When the last one was taken.",
                           last))  # fmt: skip
    ways = {way: up for way, up in status["tunnel"].items() if up is not None}
    if ways:
        samples = [Sample(float(up), {"direction": way}) for way, up in ways.items()]
        found.append(gauge("b9agent_tunnel_up", "Whether the tunnel carries.", *samples))
    for key, (name, help, scale) in _METRICS.items():
        if key in status["metrics"]:
            found.append(gauge(name, help, Sample(float(status["metrics"][key]) * scale)))
    return found


# of a keepalive, in Prometheus' base units
_METRICS = {
    "cpu_utilization_pct": ("b9agent_cpu_utilization_ratio", "CPU in use, 0 to 1.", 0.01),
    "memory_utilization_pct": ("b9agent_memory_utilization_ratio", "Memory in use, 0 to 1.", 0.01),
    "total_cpu_available": ("b9agent_offered_cpus", "CPUs offered.", 0.001),
    "total_memory_available": ("b9agent_offered_memory_bytes", "Memory offered.", 1048576.0),
    "total_disk_space_bytes": ("b9agent_disk_size_bytes", "Size of the disk.", 1.0),
    "total_disk_free_bytes": ("b9agent_disk_free_bytes", "What is free of it.", 1.0),
    "free_gpu_count": ("b9agent_free_gpus", "GPUs without a process.", 1.0),
    "worker_count": ("b9agent_worker_pods", "Pods of the gateway's Jobs.", 1.0),
    "container_count": ("b9agent_containers", "Containers in them.", 1.0),
}


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")


def _quoted(text: str) -> str:
    return _escaped(text).replace('"', '\\"')
