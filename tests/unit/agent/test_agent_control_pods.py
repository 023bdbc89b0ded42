"""What the control API tells of pods; what the agent learns of them is in test_agent_pods.py."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from test_agent_control import TOKEN, Control, controlled

POD = {"name": "worker-gpu-1-x", "status": "Running", "ready": 1, "containers": 1, "age": "5m"}


@pytest.fixture
def control() -> Iterator[Control]:
    with controlled() as running:
        yield running


def test_the_pods(control: Control) -> None:
    assert control.ask("GET", "/pods").json() == {"pods": [POD]}


def test_why_there_are_none_to_see(control: Control) -> None:
    control.pods.problem = "cannot reach 127.0.0.1:6443: Connection refused"
    for path in ("/pods", "/pods/worker-gpu-1-x/log"):
        answer = control.ask("GET", path)
        assert (answer.status_code, answer.json()) == (503, {"error": control.pods.problem})


def test_what_a_pod_wrote(control: Control) -> None:
    answer = control.ask("GET", "/pods/worker-gpu-1-x/log")
    assert answer.content == b"hello\n\xff\x1b[31mred\n"  # as it is
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert control.ask("GET", "/pods/worker-gpu-1-x/log?tail=7").status_code == 200
    assert control.pods.tails == [500, 7]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("other/log", 404),
        ("worker-gpu-1-x/log?tail=0", 400),
        ("worker-gpu-1-x/log?tail=10001", 400),
        ("worker-gpu-1-x/log?tail=7&container=x", 400),
        ("worker-gpu-1-x/log?follow=true", 400),
        ("worker-gpu-1-x%3Ftail/log", 400),
        ("%2E%2E/log", 400),
        ("a%2Flog%3Fx/log", 400),
        ("Worker/log", 400),
        ("worker-gpu-1-x", 404),
    ],
)
def test_what_it_refuses(control: Control, path: str, status: int) -> None:
    answer = control.ask("GET", f"/pods/{path}")
    assert answer.status_code == status and answer.json()["error"]
    assert control.pods.tails == []


def test_pods_are_for_who_may_ask_the_rest() -> None:
    with controlled(TOKEN) as control:
        for path in ("/pods", "/pods/worker-gpu-1-x/log"):
            assert control.ask("GET", path).status_code == 401
            headers = {"Authorization": f"Bearer {TOKEN}"}
            assert control.ask("GET", path, headers=headers).status_code == 200


def test_web_pages_see_no_pods(control: Control) -> None:
    headers = {"Origin": "https://example.org"}
    assert control.ask("GET", "/pods/worker-gpu-1-x/log", headers=headers).status_code == 403
