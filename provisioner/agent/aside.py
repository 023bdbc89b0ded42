"""Runs a function in a child process, so that the memory it takes goes when it is done.

Reading YAML takes a parser of three megabytes, which an agent that lives for months needs once.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any

from provisioner.agent.settings import BadSettings


def aside(function: Callable[[], Any]) -> Any:
    """What `function` returns as JSON has it, or the BadSettings that it raises. Call it before any
    thread."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        _answer(writer, function)
    os.close(writer)
    with open(reader, encoding="utf-8") as stream:
        text = stream.read()
    os.waitpid(child, 0)
    answer: dict[str, Any] = json.loads(text or "{}")
    if "value" not in answer:
        raise BadSettings(answer.get("problems", ["the settings could not be read"]))
    return answer["value"]


def _answer(writer: int, function: Callable[[], Any]) -> None:
    """In the child: write the outcome and end, whatever happens, without the parent's clean-up."""
    try:
        try:
            answer: dict[str, Any] = {"value": function()}
        except BadSettings as problem:
            answer = {"problems": problem.problems}
        with open(writer, "w", encoding="utf-8") as stream:
            json.dump(answer, stream)
    finally:
        os._exit(0)
