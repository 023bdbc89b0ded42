"""From what was seen of a worker to its row on the page."""

from __future__ import annotations

from typing import Any

from provisioner.agent.tui import views
from provisioner.agent.tui.sight import Sight
from provisioner.agent.tui.views import Cell
from provisioner.inventory import Host
from provisioner.secrets import mask
from provisioner.web.units import States

# Each row's cells, with their headings.
COLUMNS = {
    "ready": "",
    "pool": "pool",
    "address": "address",
    "tunnel": "tunnel",
    "agent": "agent",
    "k3s": "k3s",
    "ollama": "Ollama",
    "gpus": "GPUs",
    "cpu": "CPU",
    "memory": "memory",
    "keepalive": "keepalive",
}
_KINDS = {views.GOOD: "good", views.BAD: "bad", views.BUSY: "busy"}
_ACTIVE = "active"


def row(host: Host, sight: Sight, units: States) -> dict[str, Any]:
    """Its `name`, `cells` of text and kind, `seen` (when the gateway took the last keepalive, Unix
    seconds) and `why`; what is not known of a worker that is away is a dash."""
    status = sight.status if not sight.trouble else {}
    metrics = status.get("metrics") or {}
    cells = {
        "ready": _ready(host, sight, units),
        "pool": Cell(str(host.variables.get("pool") or views.NONE)),
        "address": _text(sight.status.get("hostname")),
        "tunnel": _tunnel(status, units),
        "agent": _agent(sight, units),
        "k3s": _unit(units.get("k3s"), _has_k3s(host)),
        "ollama": _ollama(host, sight, units),
        "gpus": views.gpus(status) if status else Cell(views.NONE),
        "cpu": views.percent(metrics.get("cpu_utilization_pct")),
        "memory": views.percent(metrics.get("memory_utilization_pct")),
    }
    last = sight.status.get("last_keepalive")
    return {
        "name": host.name,
        "cells": {
            name: [_shown(cell.text), _KINDS.get(cell.style, "")] for name, cell in cells.items()
        },
        "seen": last if isinstance(last, (int, float)) else None,
        "why": _shown(sight.trouble or "; ".join(views.problems(status))),
    }


def _ready(host: Host, sight: Sight, units: States) -> Cell:
    if not sight.reached and not sight.trouble:
        return Cell("calling", views.BUSY)
    if sight.trouble:
        return Cell("no agent" if sight.reached else "unreachable", views.BAD)
    ways = (sight.status.get("tunnel") or {}).values()
    well = sight.status.get("state") == "ready" and False not in ways
    k3s = not _has_k3s(host) or units.get("k3s", _ACTIVE) == _ACTIVE
    return Cell("ready", views.GOOD) if well and k3s else Cell("not ready", views.BAD)


def _has_k3s(host: Host) -> bool:
    """Whether it has a k3s of ours: another Kubernetes has other units."""
    k3s = host.variables["k3s"]
    return bool(k3s["enabled"]) and k3s["mode"] != "existing"


def _tunnel(status: views.Json, units: States) -> Cell:
    if not status:
        return _unit(units.get("b9-tunnel"))
    ways = status.get("tunnel") or {}
    down = [word for word, way in (("out", "outward"), ("in", "inward")) if ways.get(way) is False]
    return Cell(f"{' and '.join(down)} down", views.BAD) if down else Cell("up", views.GOOD)


def _agent(sight: Sight, units: States) -> Cell:
    state = str(sight.status.get("state") or "")
    if state and not sight.trouble:
        return Cell(state, views.style(state))
    return _unit(units.get("b9agent"))


def _ollama(host: Host, sight: Sight, units: States) -> Cell:
    """What the agent says of it, since an adopted one may have another unit; else its unit."""
    state = "" if sight.trouble else str(sight.inference.get("status") or "")
    if not host.variables["ollama"]["enabled"] or not state:
        return _unit(units.get("ollama"), host.variables["ollama"]["enabled"])
    models = sight.inference.get("models") or ()
    told = f"{len(models)} model{'s' if len(models) > 1 else ''}" if models else state
    return Cell(told, views.style(state))


def _unit(state: str | None, wanted: bool = True) -> Cell:
    """The state of a unit; of one that is not wanted it does not matter."""
    if not wanted or state is None:
        return Cell(views.NONE)
    busy = state in ("activating", "reloading", "deactivating")
    return Cell(state, views.GOOD if state == _ACTIVE else views.BUSY if busy else views.BAD)


def _text(value: object) -> Cell:
    return Cell(str(value) if value else views.NONE)


def _shown(text: str) -> str:
    """On one line, without secrets and what does not show."""
    return mask(" ".join(views.clean(text).split()))
