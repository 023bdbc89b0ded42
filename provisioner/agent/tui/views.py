"""From what an agent tells to the words on the screen; nothing here draws."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from typing import Any, NamedTuple

Json = dict[str, Any]
NONE = "-"
GOOD, BAD, BUSY, PLAIN, DIM = "green", "red", "yellow", "", "dim"
_STYLES = {
    **dict.fromkeys(("ready", "running", "succeeded", "completed", "pulled", "up"), GOOD),
    **dict.fromkeys(
        ("refused", "expired", "failed", "error", "evicted", "down", "crashloopbackoff",
         "imagepullbackoff", "errimagepull", "oomkilled", "unreachable"), BAD),
    **dict.fromkeys(("pending", "registered", "starting", "stopping", "pulling", "connecting",
                     "containercreating", "terminating"), BUSY),
}  # fmt: skip
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|.)")
_LEVELS = {"error": BAD, "warning": BUSY, "debug": DIM}


class Cell(NamedTuple):
    """A piece of text, and in which style it is shown."""

    text: str
    style: str = PLAIN


Fact = tuple[str, Cell]
Row = tuple[Cell, ...]


def clean(text: str) -> str:
    """`text` without what a terminal would obey: pods write what they like."""
    text = _ESCAPES.sub("", text).replace("\r\n", "\n").expandtabs(8)
    return "".join(each for each in text if each.isprintable() or each == "\n")


def unmarked(text: str) -> str:
    """`text` for where Textual reads markup."""
    return clean(text).replace("[", "\\[")


def facts(status: Json, now: float) -> list[list[Fact]]:
    """The lines of the head, each of names and values."""
    metrics = status.get("metrics") or {}
    state = str(status.get("state", ""))
    return [
        [
            ("Status", Cell(state.upper(), style(state))),
            ("Gateway", _text(status.get("gateway"))),
            ("Pool", _text(status.get("pool"))),
            ("Uptime", Cell(span(_since(status.get("started"), now)))),
        ],
        [
            ("CPU", percent(metrics.get("cpu_utilization_pct"))),
            ("Memory", percent(metrics.get("memory_utilization_pct"))),
            ("GPUs", gpus(status)),
            ("Tunnel", tunnel(status)),
            ("Last keepalive", keepalive(status, now)),
        ],
    ]


def problems(status: Json) -> list[str]:
    """What is wrong, as the agent knows it: with the gateway, then with the rest."""
    known = [status.get("last_error"), *(status.get("problems") or ())]
    return [clean(str(each)) for each in known if each]


def title(name: str, status: Json) -> str:
    """Which agent it is."""
    known = [str(status[key]) for key in ("machine_id", "hostname") if status.get(key)]
    return " · ".join([name, *known])


def gpus(status: Json) -> Cell:
    """Free GPUs of all."""
    total = status.get("gpus")
    if not total:
        return Cell("0")
    free = int((status.get("metrics") or {}).get("free_gpu_count", 0))
    return Cell(f"{free}/{total} free")


def tunnel(status: Json) -> Cell:
    """Both of its directions."""
    ways = status.get("tunnel") or {}
    words = {True: "up", False: "down", None: "?"}
    both = [words.get(ways.get(way), "?") for way in ("outward", "inward")]
    return Cell(f"out {both[0]}, in {both[1]}", BAD if "down" in both else PLAIN)


def keepalive(status: Json, now: float) -> Cell:
    """How long ago the gateway took the last one; late after two of them."""
    seconds = _since(status.get("last_keepalive"), now)
    if seconds is None:
        return Cell("never", BUSY)
    return Cell(f"{span(seconds)} ago", BAD if seconds > 150 else PLAIN)


def pod_rows(pods: Iterable[Json]) -> list[tuple[str, Row]]:
    """Each pod's name, and its cells: name, status, containers, age."""
    rows: list[tuple[str, Row]] = []
    for pod in pods:
        state = str(pod.get("status", ""))
        row = (
            _text(pod.get("name")),
            Cell(clean(state), style(state)),
            Cell(f"{pod.get('ready', 0)}/{pod.get('containers', 0)}"),
            _text(pod.get("age")),
        )
        rows.append((str(pod.get("name")), row))
    return rows


def inference_lines(inference: Json) -> list[list[Fact]]:
    """What is said of the server of models, line by line."""
    state = str(inference.get("status", ""))
    loaded = set(inference.get("loaded") or ())
    models = [f"{name}*" if name in loaded else name for name in inference.get("models") or ()]
    found: list[list[Fact]] = [
        [
            ("Status", Cell(state, style(state))),
            ("Backend", _text(inference.get("backend"))),
            ("Endpoint", _text(inference.get("endpoint"))),
        ],
        [("Models", Cell(clean(", ".join(models)) or "none"))],
    ]
    found += [[("Pull", _pull(pull))] for pull in inference.get("pulls") or ()]
    if inference.get("error"):
        found.append([("Error", Cell(clean(str(inference["error"])), BAD))])
    return found


def _pull(pull: Json) -> Cell:
    state, total = str(pull.get("status", "")), pull.get("total") or 0
    done = f" {100 * pull.get('completed', 0) // total}%" if total else ""
    why = f": {pull['error']}" if pull.get("error") else ""
    return Cell(clean(f"{pull.get('model')} {state}{done}{why}"), style(state))


def event_line(kind: str, data: Json) -> Cell:
    """One line of the log."""
    moment = time.strftime("%H:%M:%S", time.localtime(float(data.get("at", 0))))
    if kind == "log":
        level = str(data.get("level", ""))
        return Cell(f"{moment} {clean(str(data.get('text')))}", _LEVELS.get(level, PLAIN))
    if kind == "tunnel":
        return Cell(f"{moment} tunnel: {tunnel({'tunnel': data}).text}", DIM)
    said = [str(value) for key, value in data.items() if key != "at" and value not in ("", None)]
    told = " ".join(said)
    return Cell(clean(f"{moment} {kind}: {told}"), DIM)


def style(state: str) -> str:
    """In which colour a state is shown."""
    return _STYLES.get(state.lower(), PLAIN)


def percent(value: Any) -> Cell:
    """A use of something."""
    if not isinstance(value, (int, float)):
        return Cell(NONE)
    return Cell(f"{value:.1f}%", BUSY if value >= 90 else PLAIN)


def span(seconds: float | None) -> str:
    """A time for people: 3s, 2m 05s, 2h 34m, 3d 4h."""
    if seconds is None:
        return NONE
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02d}s"
    if whole < 86400:
        return f"{whole // 3600}h {whole % 3600 // 60:02d}m"
    return f"{whole // 86400}d {whole % 86400 // 3600}h"


def _since(moment: Any, now: float) -> float | None:
    return max(0.0, now - float(moment)) if isinstance(moment, (int, float)) else None


def _text(value: Any) -> Cell:
    return Cell(clean(str(value)) if value not in (None, "") else NONE)
