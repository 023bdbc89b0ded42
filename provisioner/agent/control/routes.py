"""What each path of the control API does."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import NamedTuple, Union

from provisioner.agent.control import exposition
from provisioner.agent.control.desk import Desk
from provisioner.agent.control.web import Answer, Refused, Request, json_answer
from provisioner.agent.inference.backend import (
    BackendError,
    Busy,
    NotThere,
    Unsupported,
    is_model_name,
)
from provisioner.agent.pods import LOG_LINES, MOST_LOG_LINES, NAME, NoSuchPod, PodsProblem

STREAM_TYPE = "text/event-stream"
LOG_TYPE = "text/plain; charset=utf-8"
BREATH = 15.0  # seconds between two signs of life of a stream


class Stream(NamedTuple):
    """An answer that goes on; its pieces come at least every BREATH seconds."""

    pieces: Iterator[bytes]


Reply = Union[Answer, Stream]  # noqa: UP007 (Python 3.9)
Handler = Callable[..., Reply]


class Route(NamedTuple):
    """A path, with `(…)` for its parts, and what each method of it does."""

    path: re.Pattern[str]
    methods: dict[str, Handler]


def answer(desk: Desk, request: Request) -> Reply:
    """Do what was asked. Raises Refused."""
    for route in ROUTES:
        found = route.path.fullmatch(request.path)
        if found is None:
            continue
        handler = route.methods.get(request.method)
        if handler is None:
            raise Refused(405, f"{request.method} is not for {request.path}",
                          Allow=", ".join(route.methods))  # fmt: skip
        try:
            return handler(desk, request, *found.groups())
        except (NotThere, NoSuchPod) as problem:
            raise Refused(404, str(problem)) from None
        except (Busy, Unsupported) as problem:
            raise Refused(409, str(problem)) from None
        except (BackendError, PodsProblem) as problem:
            raise Refused(503, str(problem)) from None
    raise Refused(404, f"there is no {request.path}; see /openapi.json")


def changes(request: Request) -> bool:
    """Whether it does anything but look."""
    return request.method not in ("GET", "HEAD")


def _health(desk: Desk, request: Request) -> Reply:
    return json_answer({"status": "ok"})


def _status(desk: Desk, request: Request) -> Reply:
    return json_answer(desk.status())


def _metrics(desk: Desk, request: Request) -> Reply:
    found = exposition.families(desk.status(), desk.inference.status())
    return Answer(200, exposition.render(found), exposition.TYPE)


def _openapi(desk: Desk, request: Request) -> Reply:
    from provisioner.agent.control.openapi import DOCUMENT

    return json_answer(DOCUMENT)


def _inference(desk: Desk, request: Request) -> Reply:
    return json_answer(desk.inference.status())


def _start(desk: Desk, request: Request) -> Reply:
    return json_answer(desk.inference.start(), 202)


def _stop(desk: Desk, request: Request) -> Reply:
    return json_answer(desk.inference.stop(), 202)


def _pull(desk: Desk, request: Request) -> Reply:
    asked = request.json()
    model, insecure = asked.get("model"), asked.get("insecure", False)
    if not isinstance(model, str) or not is_model_name(model):
        raise Refused(400, "model must be a model's name, as in llama3.2 or gemma3:1b")
    if not isinstance(insecure, bool) or set(asked) - {"model", "insecure"}:
        raise Refused(400, "beside the model there is only insecure, true or false")
    return json_answer(desk.inference.pull(model, insecure), 202)


def _models(desk: Desk, request: Request) -> Reply:
    return json_answer({"models": [model._asdict() for model in desk.inference.models()]})


def _delete(desk: Desk, request: Request, name: str) -> Reply:
    desk.inference.delete(name)
    return json_answer({"deleted": name})


def _pods(desk: Desk, request: Request) -> Reply:
    return json_answer({"pods": [pod._asdict() for pod in desk.pods.ask()]})


def _pod_log(desk: Desk, request: Request, name: str) -> Reply:
    if not NAME.fullmatch(name):
        raise Refused(400, "that is no pod's name")
    return Answer(200, desk.pods.log(name, _tail(request.query)), LOG_TYPE)


def _tail(query: str) -> int:
    """Of `tail=N`, the number. Raises Refused."""
    key, _, value = query.partition("=")
    if not query:
        return LOG_LINES
    if key != "tail" or not re.fullmatch(r"[1-9][0-9]{0,4}", value) or int(value) > MOST_LOG_LINES:
        most = f"a number from 1 to {MOST_LOG_LINES}"
        raise Refused(400, f"beside the name there is only tail, {most}")
    return int(value)


def _events(desk: Desk, request: Request) -> Reply:
    last = request.headers.get("last-event-id", "")
    known = last.isascii() and last.isdecimal() and len(last) < 16
    return Stream(_happenings(desk, int(last) if known else 0))


def _happenings(desk: Desk, number: int) -> Iterator[bytes]:
    """What is kept, then what happens, as server-sent events."""
    yield b"retry: 2000\n\n"
    if number > desk.hub.number:  # of an agent before this one
        number = 0
    while True:
        news = desk.hub.wait(number, BREATH)
        for each in news:
            number = each.number
            data = json.dumps({"at": each.at, **each.data})
            yield f"id: {number}\nevent: {each.kind}\ndata: {data}\n\n".encode()
        if not news:
            yield b": still here\n\n"


def _route(path: str, **methods: Handler) -> Route:
    return Route(re.compile(path), methods)


ROUTES: tuple[Route, ...] = (
    _route("/health", GET=_health),
    _route("/status", GET=_status),
    _route("/metrics", GET=_metrics),
    _route("/events", GET=_events),
    _route("/openapi.json", GET=_openapi),
    _route("/pods", GET=_pods),
    _route("/pods/(.+)/log", GET=_pod_log),
    _route("/inference/status", GET=_inference),
    _route("/inference/start", POST=_start),
    _route("/inference/stop", POST=_stop),
    _route("/inference/pull", POST=_pull),
    _route("/inference/models", GET=_models),
    _route("/inference/models/(.+)", DELETE=_delete),
)
