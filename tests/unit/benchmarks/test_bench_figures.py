"""What the benchmark makes of samples: ratios, the figures to remember, and where they go."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from benchmarks import plot, publish, ratios, recovery, summary
from benchmarks.left import what_differs
from benchmarks.measure import PHASES, Contender, Sample, command, take_turns
from benchmarks.parts import artifact, fleet, tasks24, tasks200

MACHINE = {"cores": 2, "memory_gib": 8, "architecture": "x86_64"}
FIRST, NOOP = PHASES


def rows(**seconds: list[float]) -> dict[str, Any]:
    return {name: {"seconds": taken, "cpu": [], "mib": None} for name, taken in seconds.items()}


def setting(hosts: int, rtt_ms: int, **noop: list[float]) -> dict[str, Any]:
    named = {
        {"floor": tasks24.FLOOR, "ours": tasks24.OURS, "ansible": "ansible-core"}[name]: taken
        for name, taken in noop.items()
    }
    first = {name: [10 * one for one in taken] for name, taken in named.items()}
    return {
        "hosts": hosts,
        "rtt_ms": rtt_ms,
        "phases": {FIRST: rows(**first), NOOP: rows(**named)},
    }


def tasks24_part() -> dict[str, Any]:
    near = setting(4, 0, floor=[1.0, 2.0, 1.0], ours=[1.5, 3.0, 9.0], ansible=[30.0, 60.0, 30.0])
    far = setting(4, 50, floor=[1.0], ours=[2.0], ansible=[50.0])
    return {"runs": 3, "settings": [near, far, setting(1, 0, floor=[1.0], ours=[1.0])]}


def test_a_ratio_is_the_median_of_pairs_of_one_turn() -> None:
    figures = {NOOP: rows(ours=[1.0, 20.0, 3.0], theirs=[2.0, 10.0, 2.0])}
    assert ratios.ratio(figures, NOOP, "ours", "theirs") == 1.5
    assert ratios.ratio(figures, NOOP, "ours", "nobody") is None


def test_multiples_of_the_floor_and_times_faster_than_peers() -> None:
    figures = summary.summary({"tasks24": tasks24_part()})
    assert figures["noop_vs_floor"] == figures["first_vs_floor"] == 1.5
    assert figures["noop_vs_ansible"] == 20
    assert figures["noop_vs_ansible_50ms"] == 25
    assert figures["noop_vs_floor_1host"] == 1
    assert "noop_vs_ansible_1host" not in figures


def test_settings_are_named_by_what_tells_them_from_the_headlines() -> None:
    assert summary.setting_name(4, 0) == ""
    assert summary.setting_name(1, 50) == "_1host_50ms"
    assert summary.setting_name(8, 0) == "_8hosts"


def test_the_distance_may_cost_five_round_trips() -> None:
    part = {"tasks": 200, "rtt_ms": 50, "near": [1.0, 2.0, 1.0], "far": [1.45, 1.45, 9.0]}
    assert tasks200.round_trips(part) == pytest.approx(9)
    assert summary.summary({"tasks200": part})["tasks200_far_vs_near"] == 1.2


def test_what_each_host_takes_is_the_slope() -> None:
    taken = [
        {"hosts": hosts, "cpu": 1.0 + 0.02 * hosts, "mib": 50 + hosts, "threads": 0, "files": 1}
        for hosts in (0, 50, 200)
    ]
    part = {"rows": taken, "tasks": 24, "runs": 1, "large": {**taken[-1], "hosts": 2000}}
    figures = summary.summary({"fleet": part})
    assert figures["host_cpu_ms"] == 20
    assert figures["host_mib"] == 1
    assert (figures["threads_left"], figures["files_left"]) == (0, 1)
    table = fleet.table(part)
    assert any("20.0 ms" in line for line in table)
    assert any(line.startswith("2000 ") for line in table)


def test_rates_are_parts_of_scps() -> None:
    seconds = {artifact.SCP: [4.0], artifact.SYNCED: [8.0]}
    seconds |= {artifact.WHOLE: [5.0], artifact.CUT: [10.0]}
    memory = {"runner": [20.0, 21.0], "controller": [60.0, 60.0]}
    part = {"mib": 100, "small_mib": 1, "seconds": seconds, "memory": memory}
    figures = summary.summary({"artifact": part})
    assert (figures["artifact_vs_scp"], figures["artifact_cut_vs_scp"]) == (0.8, 0.4)
    assert figures["artifact_vs_scp_synced"] == 1.6
    assert figures["artifact_runner_mib_more"] == 1


def test_aims_are_held_or_missed() -> None:
    held = {aim.key: held for aim, _, held in summary.judged({"noop_vs_floor": 1.5, "host_mib": 2})}
    assert held == {"noop_vs_floor": True, "host_mib": False}
    held = {aim.key: held for aim, _, held in summary.judged({"noop_vs_ansible": 29})}
    assert held == {"noop_vs_ansible": False}


def test_the_picture_is_xml_with_a_bar_for_each_contender() -> None:
    root = ElementTree.fromstring(plot.svg(tasks24_part(), hosts=4))
    bars = [rect for rect in root.findall("{*}rect") if rect.get("x")]
    assert len(bars) == 2 * 2 * 3
    assert all(float(bar.get("width", 0)) > 0 for bar in bars)


def measured(**parts: Any) -> dict[str, Any]:
    return {"machine": MACHINE, "versions": {"python": "3"}, "parts": parts}


def test_parts_of_an_earlier_run_stay(tmp_path: Path) -> None:
    part = {"tasks": 200, "rtt_ms": 50, "near": [1.0], "far": [1.5]}
    publish.write(tmp_path, measured(tasks24=tasks24_part()))
    result = publish.write(tmp_path, measured(tasks200=part))
    assert set(result["parts"]) == {"tasks24", "tasks200"}
    assert result["noop_vs_floor"] == 1.5
    assert json.loads((tmp_path / "latest.json").read_text()) == result
    assert (tmp_path / "tasks24.svg").exists()


def test_parts_of_other_versions_do_not(tmp_path: Path) -> None:
    publish.write(tmp_path, measured(tasks24=tasks24_part()))
    result = publish.write(tmp_path, {**measured(), "versions": {"python": "4"}})
    assert result["parts"] == {} and "noop_vs_floor" not in result


def test_the_readme_is_filled_between_its_markers(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{publish.BEGIN}\nold\n{publish.END}\nafter\n")
    result = publish.merged({}, measured(tasks24=tasks24_part()))
    for _ in range(2):
        publish.fill_readme(readme, result)
    text = readme.read_text()
    assert text.startswith(f"before\n{publish.BEGIN}\n2 cores") and text.endswith("\nafter\n")
    assert "old" not in text and "| ≥ 30 | 20 | missed |" in text
    readme.write_text("nothing")
    with pytest.raises(SystemExit):
        publish.fill_readme(readme, result)


def test_contenders_take_turns_and_start_in_turn() -> None:
    log: list[str] = []

    def contender(name: str) -> Contender:
        def run() -> Sample:
            log.append(name)
            return Sample(1.0)

        return Contender(name, run, close=lambda: log.append("close"))

    samples = take_turns(
        [contender("a"), contender("b")],
        2,
        fresh=lambda: log.append("fresh"),
        after_first=lambda name: log.append(f"look {name}"),
    )
    one, other = (["fresh", name, f"look {name}", name, "close"] for name in "ab")
    assert log == [*one, *other, *other, *one]
    assert len(samples["a"][FIRST]) == len(samples["b"][NOOP]) == 2


def test_a_command_is_measured_and_its_failure_is_told(tmp_path: Path) -> None:
    sample = command(["/bin/sh", "-c", "echo hello"], tmp_path / "log")
    assert sample.seconds > 0 and sample.mib and sample.cpu is not None
    with pytest.raises(SystemExit, match=r"exited 3(.|\n)*no luck"):
        command(["/bin/sh", "-c", "echo no luck >&2; exit 3"], tmp_path / "log")


def test_what_differs_is_told_by_name() -> None:
    assert what_differs({"a": 1, "b": 2}, {"a": 1, "b": 3, "c": 4}) == [
        "  b: 3, not 2",
        "  c: 4, not None",
    ]


def test_the_document_has_the_figures_of_recovery_as_they_were_measured() -> None:
    figures = json.loads(recovery.RESULTS.read_text())
    assert set(figures) <= set(recovery.FAULTS)
    assert all(by[name]["n"] >= recovery.ENOUGH for by in figures.values() for name in by)
    text = (recovery.RESULTS.parents[2] / "docs" / "reliability.md").read_text("utf-8")
    assert "\n".join(recovery.table(figures)) in text
