"""What the agent wants of a server of models, whichever it is."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple, Protocol

from provisioner.agent.http import Endpoint, HTTPProblem, Response, exchange

Progress = Callable[[str, int, int], None]
"""Called with what is being done, and the bytes so far and in all (0 when unknown)."""

DEADLINE = 5.0  # seconds
NAMES_DEADLINE = 2.0  # what waits for the names is a keepalive
MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/:@-]{0,199}", re.ASCII)


class BackendError(Exception):
    """The server can't do what it was asked for; the text says why."""


class Busy(BackendError):
    """As many things as may be are being done already."""


class NotThere(BackendError):
    """There is no such model."""


class Unsupported(BackendError):
    """This kind of server can't do that at all."""


class Model(NamedTuple):
    """A model that the server has; `size` in bytes, 0 when it is not told."""

    name: str
    size: int = 0
    loaded: bool = False


class Backend(Protocol):
    """A server of models at `endpoint`, started by `command` or by the systemd unit `unit`."""

    name: str
    unit: str
    endpoint: Endpoint

    def command(self) -> list[str]:
        """How it is started where no unit does it. Raises Unsupported."""
        ...

    def environment(self) -> dict[str, str]:
        """What it is started with beside the agent's own environment."""
        ...

    def healthy(self) -> bool:
        """Whether it answers."""
        ...

    def models(self) -> list[Model]:
        """What it can serve. Raises BackendError."""
        ...

    def names(self) -> list[str]:
        """The names alone, by one request with a short deadline. Raises BackendError."""
        ...

    def pull(self, model: str, insecure: bool, progress: Progress) -> None:
        """Fetch a model; `insecure` allows a registry without TLS. Raises BackendError."""
        ...

    def delete(self, model: str) -> None:
        """Remove a model. Raises BackendError."""
        ...


def is_model_name(text: str) -> bool:
    """Whether it can be the name of a model."""
    return bool(MODEL_NAME.fullmatch(text)) and ".." not in text


def ask(
    endpoint: Endpoint, method: str, path: str, body: bytes = b"", timeout: float = DEADLINE
) -> Response:
    """The server's answer, whatever its status; `timeout` in seconds. Raises BackendError."""
    try:
        return exchange(endpoint, method, path, body=body, timeout=timeout)
    except HTTPProblem as problem:
        raise BackendError(str(problem)) from None


def is_well(endpoint: Endpoint, path: str) -> bool:
    """Whether the server answers there with 200."""
    try:
        return ask(endpoint, "GET", path).status == 200
    except BackendError:
        return False
