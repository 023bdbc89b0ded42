"""From samples to figures: of contenders that took turns, and the lines of tables."""

from __future__ import annotations

import statistics
from typing import Any

from benchmarks.measure import PHASES, Sample, Samples

# By phase and contender: `seconds` and `cpu` of every turn, and `mib` at the most.
Figures = dict[str, dict[str, dict[str, Any]]]


def figures(samples: Samples) -> Figures:
    """What is kept of samples."""
    return {
        phase: {name: _row(taken[phase]) for name, taken in samples.items()} for phase in PHASES
    }


def _row(taken: list[Sample]) -> dict[str, Any]:
    sizes = [sample.mib for sample in taken if sample.mib is not None]
    return {
        "seconds": [round(sample.seconds, 3) for sample in taken],
        "cpu": [round(sample.cpu, 3) for sample in taken if sample.cpu is not None],
        "mib": round(max(sizes)) if sizes else None,
    }


def ratio(figures: Figures, phase: str, above: str, below: str) -> float | None:
    """The median of `above` to `below` in the same turn; None when one was not measured.

    Pairs of the same turn, so that a machine that is busy for a while weighs on both.
    """
    rows = figures[phase]
    if above not in rows or below not in rows:
        return None
    pairs = zip(rows[above]["seconds"], rows[below]["seconds"], strict=True)
    return float(statistics.median(one / other for one, other in pairs))


def table(title: str, figures: Figures, lowest: str) -> list[str]:
    """Lines with min, median and max seconds, the ratio to `lowest`, CPU seconds and memory."""
    columns = ("min", "median", "max", "ratio", "CPU s", "RSS MiB")
    lines = ["", f"{title:38}" + "".join(f"{column:>9}" for column in columns)]
    for phase, rows in figures.items():
        for name, row in rows.items():
            to_lowest = ratio(figures, phase, name, lowest)
            cells = [*spread(row["seconds"]), to_lowest]
            cells.append(statistics.median(row["cpu"]) if row["cpu"] else None)
            shown = "".join(f"{cell:9.2f}" if cell is not None else f"{'-':>9}" for cell in cells)
            lines.append(f"{name + ', ' + phase:38}{shown}{row['mib'] or '-':>9}")
    return lines


def spread(values: list[float]) -> tuple[float, float, float]:
    """Minimum, median and maximum."""
    return min(values), statistics.median(values), max(values)


def row(title: str, *cells: str) -> str:
    """A line of a table whose cells are text."""
    return f"{title:38}" + "".join(f"{cell:>14}" for cell in cells)
