"""From what an agent tells to the words on the screen."""

from __future__ import annotations

import time
from typing import Any

import pytest
from scripted_agent import INFERENCE, PODS, STATUS

from provisioner.agent.tui import views
from provisioner.agent.tui.sight import Sight
from provisioner.dashboard import rows

NOW = 1000.0


def words(lines: list[list[views.Fact]]) -> dict[str, str]:
    return {name: cell.text for line in lines for name, cell in line}


def test_the_head() -> None:
    assert words(views.facts(STATUS, NOW)) == {
        "Status": "READY",
        "Gateway": "127.0.0.1:1994",
        "Pool": "gpu",
        "Uptime": "15m 00s",
        "CPU": "12.5%",
        "Memory": "91.0%",
        "GPUs": "3/4 free",
        "Tunnel": "out up, in ?",
        "Last keepalive": "3s ago",
    }
    assert views.title("w1", STATUS) == "w1 · e13daa82 · 10.199.0.7"


def test_of_an_agent_that_knows_nothing_yet() -> None:
    """Before its first keepalive, and of an older version without some fields."""
    shown = words(views.facts({"state": "pending", "last_keepalive": None, "metrics": {}}, NOW))
    assert shown["Status"] == "PENDING" and shown["Last keepalive"] == "never"
    assert (shown["CPU"], shown["GPUs"], shown["Uptime"], shown["Gateway"]) == ("-", "0", "-", "-")
    assert shown["Tunnel"] == "out ?, in ?"


def test_what_wants_attention_is_seen() -> None:
    assert views.facts(STATUS, NOW)[1][1][1].style == views.BUSY  # memory
    assert views.keepalive(STATUS, NOW).style == views.PLAIN
    assert views.keepalive(STATUS, NOW + 200).style == views.BAD
    assert views.tunnel({"tunnel": {"outward": True, "inward": False}}).style == views.BAD
    assert [views.style(state) for state in ("ready", "Refused", "ContainerCreating", "odd")] == [
        views.GOOD,
        views.BAD,
        views.BUSY,
        views.PLAIN,
    ]


def test_pods() -> None:
    shown = [(key, [cell.text for cell in row]) for key, row in views.pod_rows(PODS)]
    assert shown == [
        ("worker-gpu-1-x", ["worker-gpu-1-x", "Running", "1/1", "5m"]),
        ("worker-gpu-2-y", ["worker-gpu-2-y", "Failed", "0/1", "9m"]),
    ]


def test_the_server_of_models() -> None:
    shown = words(views.inference_lines(INFERENCE))
    assert shown["Models"] == "gemma3:1b, llama3.2*"  # one is in memory
    pull = {"model": "qwen3", "status": "pulling", "completed": 30, "total": 120, "error": ""}
    failed = {**INFERENCE, "status": "failed", "models": [], "pulls": [pull], "error": "no memory"}
    shown = words(views.inference_lines(failed))
    assert shown == {**shown, "Models": "none", "Pull": "qwen3 pulling 25%", "Error": "no memory"}


@pytest.mark.parametrize(
    ("kind", "data", "shown"),
    [
        ("log", {"level": "error", "text": "no \x1b[31mroute"}, "no route"),
        ("state", {"state": "ready", "error": ""}, "state: ready"),
        ("tunnel", {"outward": True, "inward": False}, "tunnel: out up, in down"),
        ("pull", {"model": "m", "status": "pulled", "total": 9}, "pull: m pulled 9"),
        ("log", {}, "None"),
    ],
)
def test_events(kind: str, data: dict[str, Any], shown: str) -> None:
    moment = time.strftime("%H:%M:%S", time.localtime(NOW))
    assert views.event_line(kind, {"at": NOW, **data}).text == f"{moment} {shown}"


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (None, "-"), (-5, "0s"), (59.9, "59s"), (60, "1m 00s"), (3599, "59m 59s"),
        (9240, "2h 34m"), (266400, "3d 2h"),
    ],
)  # fmt: skip
def test_spans(seconds: float | None, shown: str) -> None:
    assert views.span(seconds) == shown


def test_a_terminal_obeys_nobody_else() -> None:
    """A pod may write what it likes; on the screen it is text."""
    wicked = "a\x1b]0;title\x07b\x1b[2Jc\x1bcd\x9b31me\x00\x08\x7ff\rg\r\nh\ti\u202ej"
    assert views.clean(wicked) == "abcd31mefg\nh       ij"
    assert views.unmarked("[red]x[/red]") == "\\[red]x\\[/red]"


def cells(sight: Sight) -> dict[str, str]:
    shown = rows.row("w1", sight, NOW)
    return dict(zip(rows.COLUMNS, [cell.text for cell in shown], strict=True))


def test_the_row_of_a_worker() -> None:
    assert cells(Sight(STATUS, INFERENCE, reached=True)) == {
        "host": "w1", "ssh": "ok", "state": "ready", "pool": "gpu", "cpu": "12.5%",
        "memory": "91.0%", "gpus": "3/4 free", "models": "2", "tunnel": "out up, in ?",
        "keepalive": "3s ago", "why": "",
    }  # fmt: skip


def test_the_row_of_one_that_is_out_of_reach() -> None:
    """It keeps what was last known, and says why that is all."""
    assert cells(Sight())["ssh"] == "calling"
    gone = cells(Sight(trouble="nothing answers\nthere"))
    assert (gone["ssh"], gone["state"], gone["why"]) == (
        "down",
        "unreachable",
        "nothing answers there",
    )
    assert {gone[name] for name in ("cpu", "gpus", "models", "tunnel", "keepalive")} == {"-"}
    quiet = cells(Sight(STATUS, INFERENCE, trouble="nothing listens there", reached=True))
    assert (quiet["ssh"], quiet["state"], quiet["cpu"]) == ("ok", "no agent", "12.5%")


def test_a_row_tells_what_is_wrong() -> None:
    status = {**STATUS, "state": "refused", "last_error": "401", "problems": ["disk: full"]}
    refused = cells(Sight(status, {}, reached=True))
    assert (refused["state"], refused["models"]) == ("refused", "-")
    assert refused["why"] == "401; disk: full"
    stopped = cells(Sight(STATUS, {**INFERENCE, "status": "stopped"}, reached=True))
    assert stopped["models"] == "stopped"
