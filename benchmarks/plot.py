"""A picture of the 24 tasks: seconds of every contender, on a logarithmic scale."""

from __future__ import annotations

import math
import statistics
from html import escape
from typing import Any

from benchmarks.measure import PHASES
from benchmarks.parts.tasks24 import OURS

WIDTH, LEFT, RIGHT = 860, 170, 70
BAR, GAP, PANEL_GAP, HEAD = 15, 5, 44, 40
_OURS, _THEIRS, _LINE, _TEXT = "#2563eb", "#94a3b8", "#e2e8f0", "#1e293b"
_TICKS = (0.1, 0.3, 1, 3, 10, 30, 100, 300)


def svg(part: dict[str, Any], hosts: int) -> str:
    """One panel for each round-trip time and phase, on so many hosts; medians of the turns."""
    panels = [
        (f"{phase}, RTT {setting['rtt_ms']} ms", _medians(setting["phases"][phase]))
        for setting in part["settings"]
        if setting["hosts"] == hosts
        for phase in PHASES
    ]
    values = [seconds for _, bars in panels for seconds in bars.values()]
    scale = _Scale(min(values) / 1.5, max(values))
    y, shapes = HEAD, []
    for title, bars in panels:
        height = len(bars) * (BAR + GAP)
        shapes += [_text(LEFT, y + 10, title, weight="bold"), *scale.grid(y + 18, height)]
        for number, (name, seconds) in enumerate(bars.items()):
            shapes += _bar(scale, y + 18 + number * (BAR + GAP), name, seconds)
        y += height + PANEL_GAP
    title = f"24 tasks on {hosts} hosts: seconds, less is better (logarithmic)"
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y}" '
            'font-family="sans-serif" font-size="12">',
            f'<rect width="{WIDTH}" height="{y}" fill="#ffffff"/>',
            _text(LEFT, 20, title, size=14),
            *shapes,
            "</svg>\n",
        ]
    )


def _medians(rows: dict[str, Any]) -> dict[str, float]:
    return {name: statistics.median(row["seconds"]) for name, row in rows.items()}


class _Scale:
    """Seconds to pixels."""

    def __init__(self, lowest: float, highest: float) -> None:
        self.lowest = lowest
        self.per_e = (WIDTH - LEFT - RIGHT) / math.log(highest / lowest)

    def length(self, seconds: float) -> float:
        return math.log(seconds / self.lowest) * self.per_e

    def grid(self, top: float, height: float) -> list[str]:
        """Lines at round numbers."""
        shapes = []
        for tick in _TICKS:
            x = LEFT + self.length(tick)
            if LEFT <= x <= WIDTH - RIGHT:
                shapes.append(
                    f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{top:.1f}" y2="{top + height:.1f}" '
                    f'stroke="{_LINE}"/>'
                )
                shapes.append(_text(x, top + height + 12, f"{tick:g}", size=10, anchor="middle"))
        return shapes


def _bar(scale: _Scale, top: float, name: str, seconds: float) -> list[str]:
    length = scale.length(seconds)
    color = _OURS if name == OURS else _THEIRS
    return [
        _text(LEFT - 8, top + 12, name, anchor="end", weight="bold" if name == OURS else "normal"),
        f'<rect x="{LEFT}" y="{top:.1f}" width="{length:.1f}" height="{BAR}" fill="{color}"/>',
        _text(LEFT + length + 5, top + 12, f"{seconds:.2f}"),
    ]


def _text(
    x: float, y: float, text: str, size: int = 12, anchor: str = "start", weight: str = "normal"
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" '
        f'font-weight="{weight}" fill="{_TEXT}">{escape(text)}</text>'
    )
