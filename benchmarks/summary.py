"""The figures by which the benchmark is remembered, and what they are to be.

Names that begin a figure: `first` and `noop` are runs that do everything and nothing. Every
`…_vs_floor` is our time as a multiple of the floor's; other `…_vs_…` say how many times faster
we are. `_50ms` is at that round-trip time, `_1host` and `_8hosts` are on so many instead of 4.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from benchmarks import peers, ratios
from benchmarks.measure import PHASES
from benchmarks.parts import artifact, fleet, start, tasks24, tasks200, up

HEADLINE_HOSTS = 4
_PHASES = dict(zip(("first", "noop"), PHASES, strict=True))
_PEERS = {"ansible": peers.ANSIBLE, "mitogen": peers.MITOGEN, "pyinfra": peers.PYINFRA}
_FLOORS = {"floor": tasks24.FLOOR, "fabric_floor": tasks24.FABRIC}


@dataclass(frozen=True)
class Aim:
    """What a figure is to be: at the most, or at the least."""

    key: str
    text: str
    most: float | None = None
    least: float | None = None

    @property
    def limit(self) -> str:
        """The aim in short."""
        return f"≤ {self.most:g}" if self.most is not None else f"≥ {self.least:g}"

    def is_held(self, value: float) -> bool:
        """Whether the figure is what it is to be."""
        if self.most is not None:
            return value <= self.most
        return self.least is None or value >= self.least


_24 = "24 tasks on 4 hosts, nothing to do"
_24_FIRST = "24 tasks on 4 hosts, first run"
AIMS = (
    Aim("noop_vs_floor", f"{_24}: time as a multiple of the floor's", most=1.5),
    Aim("noop_vs_ansible", f"{_24}: times faster than ansible-core", least=30),
    Aim("noop_vs_pyinfra", f"{_24}: times faster than pyinfra", least=6),
    Aim("noop_vs_mitogen", f"{_24}: times faster than Ansible with mitogen", least=10),
    Aim("noop_vs_pyinfra_50ms", f"{_24}, RTT 50 ms: times faster than pyinfra", least=10),
    Aim("first_vs_floor", f"{_24_FIRST}: time as a multiple of the floor's", most=1.3),
    Aim("first_vs_ansible", f"{_24_FIRST}: times faster than ansible-core", least=12),
    Aim("tasks200_far_vs_near", "200 tasks: time at RTT 50 ms less 5 RTT, to 0 ms", most=1.3),
    Aim("host_cpu_ms", "controller's CPU milliseconds for each further host", most=25),
    Aim("host_mib", "controller's MiB for each further host", most=1.5),
    Aim("threads_left", "threads left in the process after the run", most=0),
    Aim("files_left", "open files left in the process after the run", most=0),
    Aim("help_cpu_ms", "CPU milliseconds of `b9prov --help`", most=120),
    Aim("help_loads_paramiko", "`b9prov --help` loads paramiko (1) or not (0)", most=0),
    Aim("artifact_vs_scp", "a large file: rate as a part of scp's", least=0.8),
    Aim("artifact_cut_vs_scp", "the same, cut in the middle and resumed", least=0.8),
    Aim("up_vs_floor", "`up` of 3 workers: time as a multiple of the scripts'", most=2),
)
_FAR_ROUND_TRIPS = 5  # those that the distance may cost beside


def summary(parts: dict[str, Any]) -> dict[str, float]:
    """The figures of all parts that were measured."""
    found: dict[str, float | None] = {}
    makers = {
        "up": _up,
        "tasks24": _tasks24,
        "tasks200": _tasks200,
        "fleet": _fleet,
        "start": _start,
        "artifact": _artifact,
    }
    for name, part in parts.items():
        found.update(makers[name](part))
    return {key: _rounded(value) for key, value in found.items() if value is not None}


def _up(part: dict[str, Any]) -> dict[str, float | None]:
    return {
        "up_vs_floor": ratios.ratio(part["phases"], _PHASES["first"], up.OURS, up.FLOOR),
        "up_noop_vs_floor": ratios.ratio(part["phases"], _PHASES["noop"], up.OURS, up.FLOOR),
    }


def _tasks24(part: dict[str, Any]) -> dict[str, float | None]:
    found = {}
    for setting in part["settings"]:
        where = setting_name(setting["hosts"], setting["rtt_ms"])
        for short, phase in _PHASES.items():
            of = setting["phases"]
            for name, other in _FLOORS.items():
                found[f"{short}_vs_{name}{where}"] = ratios.ratio(of, phase, tasks24.OURS, other)
            for name, other in _PEERS.items():
                found[f"{short}_vs_{name}{where}"] = ratios.ratio(of, phase, other, tasks24.OURS)
    return found


def setting_name(hosts: int, rtt_ms: int) -> str:
    """What tells a figure's setting from the headline's."""
    many = "" if hosts == HEADLINE_HOSTS else f"_{hosts}host{'s' * (hosts > 1)}"
    return many + (f"_{rtt_ms}ms" if rtt_ms else "")


def _tasks200(part: dict[str, Any]) -> dict[str, float | None]:
    near, far = (ratios.spread(part[key])[1] for key in ("near", "far"))
    return {
        "tasks200_far_vs_near": (far - _FAR_ROUND_TRIPS * part["rtt_ms"] / 1000) / near,
        "tasks200_round_trips": tasks200.round_trips(part),
    }


def _fleet(part: dict[str, Any]) -> dict[str, float | None]:
    return {
        "host_cpu_ms": fleet.per_host(part, "cpu") * 1000,
        "host_mib": fleet.per_host(part, "mib"),
        "threads_left": fleet.left(part, "threads"),
        "files_left": fleet.left(part, "files"),
    }


def _start(part: dict[str, Any]) -> dict[str, float | None]:
    return {
        "help_cpu_ms": start.cpu_ms(part, "help"),
        "version_cpu_ms": start.cpu_ms(part, "version"),
        "help_loads_paramiko": float("paramiko" in part["loaded"]),
    }


def _artifact(part: dict[str, Any]) -> dict[str, float | None]:
    runner, controller = part["memory"]["runner"], part["memory"]["controller"]
    return {
        "artifact_vs_scp": artifact.rate_ratio(part, artifact.WHOLE, to=artifact.SCP),
        "artifact_cut_vs_scp": artifact.rate_ratio(part, artifact.CUT, to=artifact.SCP),
        "artifact_vs_scp_synced": artifact.rate_ratio(part, artifact.WHOLE, to=artifact.SYNCED),
        "artifact_runner_mib_more": runner[1] - runner[0],
        "artifact_controller_mib_more": controller[1] - controller[0],
    }


def _rounded(value: float) -> float:
    return round(value, 2) if abs(value) < 100 else round(value)


def judged(figures: dict[str, float]) -> list[tuple[Aim, float, bool]]:
    """Each aim whose figure was measured, the figure, and whether the aim is held."""
    return [
        (aim, figures[aim.key], aim.is_held(figures[aim.key])) for aim in AIMS if aim.key in figures
    ]


def table(figures: dict[str, float]) -> list[str]:
    """Lines with every aim and its figure."""
    lines = ["", f"{'':76}{'aim':>10}{'figure':>10}"]
    for aim, value, held in judged(figures):
        lines.append(f"{aim.text:76}{aim.limit:>10}{value:>10g}{'' if held else '  MISSED'}")
    return lines
