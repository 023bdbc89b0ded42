"""From what was seen of a worker to its row; nothing here draws."""

from __future__ import annotations

from provisioner.agent.tui import views
from provisioner.agent.tui.sight import Sight
from provisioner.agent.tui.views import Cell, Row

COLUMNS = (
    "host", "ssh", "state", "pool", "cpu", "memory", "gpus", "models", "tunnel", "keepalive", "why",
)  # fmt: skip


def row(name: str, sight: Sight, now: float) -> Row:
    """The cells of COLUMNS; of a worker that is out of reach, as they last were."""
    status, inference = sight.status, sight.inference
    metrics = status.get("metrics") or {}
    why = sight.trouble or "; ".join(views.problems(status))
    return (
        Cell(name, "bold"),
        _ssh(sight),
        _state(sight),
        Cell(views.clean(str(status.get("pool") or views.NONE))),
        views.percent(metrics.get("cpu_utilization_pct")),
        views.percent(metrics.get("memory_utilization_pct")),
        views.gpus(status) if status else Cell(views.NONE),
        _models(inference) if inference else Cell(views.NONE),
        views.tunnel(status) if status else Cell(views.NONE),
        views.keepalive(status, now) if status else Cell(views.NONE),
        Cell(" ".join(views.clean(why).split()), views.BAD if sight.trouble else views.BUSY),
    )


def _ssh(sight: Sight) -> Cell:
    if sight.reached:
        return Cell("ok", views.GOOD)
    return Cell("down", views.BAD) if sight.trouble else Cell("calling", views.BUSY)


def _state(sight: Sight) -> Cell:
    if sight.trouble:
        return Cell("no agent" if sight.reached else "unreachable", views.BAD)
    state = str(sight.status.get("state") or views.NONE)
    return Cell(views.clean(state), views.style(state))


def _models(inference: views.Json) -> Cell:
    state = str(inference.get("status"))
    count = len(inference.get("models") or ())
    return Cell(str(count)) if state == "running" else Cell(views.clean(state), views.style(state))
