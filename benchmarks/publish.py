"""Where the figures go: a JSON file, a picture, and the table in the README."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks import plot
from benchmarks.measure import PHASES
from benchmarks.ratios import spread
from benchmarks.summary import HEADLINE_HOSTS, judged, summary

BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"
_SHORT = dict(zip(PHASES, ("first", "no-op"), strict=True))
SAME = ("machine", "versions")  # parts that differ in these do not go into one file


def merged(earlier: dict[str, Any], measured: dict[str, Any]) -> dict[str, Any]:
    """The result with all parts; those of an earlier run stay if all else was the same."""
    alike = all(earlier.get(key) == measured[key] for key in SAME)
    parts = {**(earlier.get("parts", {}) if alike else {}), **measured["parts"]}
    return {**summary(parts), **measured, "parts": parts}


def write(folder: Path, measured: dict[str, Any]) -> dict[str, Any]:
    """Write latest.json and the picture; the result with what stayed of an earlier run."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "latest.json"
    result = merged(json.loads(path.read_text()) if path.exists() else {}, measured)
    path.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    part = result["parts"].get("tasks24")
    if part:
        (folder / "tasks24.svg").write_text(plot.svg(part, HEADLINE_HOSTS))
    return result


def fill_readme(readme: Path, result: dict[str, Any]) -> None:
    """Put the figures between the README's markers."""
    text = readme.read_text("utf-8")
    before, _, rest = text.partition(BEGIN)
    _, found, after = rest.partition(END)
    if not found:
        raise SystemExit(f"{readme.name} has lost its markers {BEGIN} and {END}")
    readme.write_text(f"{before}{BEGIN}\n{markdown(result)}{END}{after}", "utf-8")


def markdown(result: dict[str, Any]) -> str:
    """The figures as Markdown."""
    machine = result["machine"]
    lines = [
        f"{machine['cores']} cores, {machine['memory_gib']} GiB, {machine['architecture']}; "
        + "; ".join(f"{name} {version}" for name, version in result["versions"].items())
        + ".",
        "",
        "| Figure | Aim | Measured | |",
        "|---|---|---|---|",
    ]
    for aim, value, held in judged(result):
        lines.append(f"| {aim.text} | {aim.limit} | {value:g} | {'held' if held else 'missed'} |")
    if "tasks24" in result["parts"]:
        lines += ["", *_tasks24(result["parts"]["tasks24"])]
    return "\n".join(lines) + "\n"


def _tasks24(part: dict[str, Any]) -> list[str]:
    """Median seconds of the 24 tasks: a row for each contender, a column for each setting."""
    columns = [(setting, phase) for setting in part["settings"] for phase in PHASES]
    names = {name: None for setting, phase in columns for name in setting["phases"][phase]}
    titles = [f"{s['hosts']}, {s['rtt_ms']} ms, {_SHORT[phase]}" for s, phase in columns]
    lines = [f"Median seconds of the 24 tasks in {part['runs']} runs, by hosts and RTT:", ""]
    lines += [f"| | {' | '.join(titles)} |", "|---" * (len(titles) + 1) + "|"]
    for name in names:
        cells = []
        for setting, phase in columns:
            row = setting["phases"][phase].get(name)
            cells.append(f"{spread(row['seconds'])[1]:.2f}" if row else "")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines
