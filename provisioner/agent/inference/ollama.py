"""Ollama. Source: https://github.com/ollama/ollama/blob/main/docs/api.md"""

from __future__ import annotations

import json
from typing import Any

from provisioner.agent.http import Endpoint, HTTPProblem, lines
from provisioner.agent.inference.backend import (
    DEADLINE,
    NAMES_DEADLINE,
    BackendError,
    Model,
    NotThere,
    Progress,
    ask,
    is_well,
)
from provisioner.agent.log import one_line

SILENCE = 600.0  # seconds: a big model is verified without a word


class Ollama:
    """The Ollama at `endpoint`."""

    name = "ollama"
    unit = "ollama.service"

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint

    def command(self) -> list[str]:
        """`ollama serve`."""
        return ["ollama", "serve"]

    def environment(self) -> dict[str, str]:
        """Where it is to listen."""
        return {"OLLAMA_HOST": str(self.endpoint)}

    def healthy(self) -> bool:
        """Whether it tells its version."""
        return is_well(self.endpoint, "/api/version")

    def models(self) -> list[Model]:
        """What is on its disk, and whether it is in memory. Raises BackendError."""
        loaded = {str(each["name"]) for each in self._list("/api/ps")}
        return [
            Model(str(each["name"]), _size(each), str(each["name"]) in loaded)
            for each in self._list("/api/tags")
        ]

    def names(self) -> list[str]:
        """What is on its disk. Raises BackendError."""
        return [str(each["name"]) for each in self._list("/api/tags", NAMES_DEADLINE)]

    def pull(self, model: str, insecure: bool, progress: Progress) -> None:
        """Fetch a model from its registry. Raises BackendError."""
        body = json.dumps({"model": model, "insecure": insecure, "stream": True}).encode()
        said = ""
        try:
            for status, line in lines(self.endpoint, "POST", "/api/pull", body, idle=SILENCE):
                if not line.strip():
                    continue
                told = _object(line)
                if "error" in told or status != 200:
                    raise BackendError(one_line(str(told.get("error", f"status {status}"))))
                said = str(told.get("status", ""))
                progress(one_line(said), _size(told, "completed"), _size(told, "total"))
        except HTTPProblem as problem:
            raise BackendError(str(problem)) from None
        if said != "success":
            raise BackendError(f"the pull ended early, after: {one_line(said) or 'nothing'}")

    def delete(self, model: str) -> None:
        """Remove a model from its disk. Raises BackendError."""
        body = json.dumps({"model": model}).encode()
        answer = ask(self.endpoint, "DELETE", "/api/delete", body, timeout=30.0)
        if answer.status == 404:
            raise NotThere(f"there is no model {model}")
        if answer.status != 200:
            raise BackendError(_refusal(answer.status, answer.body))

    def _list(self, path: str, timeout: float = DEADLINE) -> list[dict[str, Any]]:
        answer = ask(self.endpoint, "GET", path, timeout=timeout)
        if answer.status != 200:
            raise BackendError(_refusal(answer.status, answer.body))
        found = _object(answer.body).get("models", 0)
        listed = [] if found is None else found
        if not (isinstance(listed, list) and all(map(_is_named, listed))):
            raise BackendError("the answer is not Ollama's")
        return listed


def _object(text: bytes) -> dict[str, Any]:
    try:
        told = json.loads(text)
    except (ValueError, RecursionError):
        told = None
    if not isinstance(told, dict):
        raise BackendError("the answer is not Ollama's")
    return told


def _is_named(each: Any) -> bool:
    return isinstance(each, dict) and "name" in each


def _refusal(status: int, body: bytes) -> str:
    try:
        said = str(_object(body)["error"])
    except (BackendError, KeyError):
        said = body.decode(errors="replace")
    return f"status {status}: {one_line(said)}"


def _size(told: dict[str, Any], key: str = "size") -> int:
    value = told.get(key, 0)
    return value if isinstance(value, int) and value >= 0 else 0
