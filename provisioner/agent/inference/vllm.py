"""vLLM, by its OpenAI API: one model, which it loads when it starts.

Source: https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html
"""

from __future__ import annotations

import json
from typing import Any

from provisioner.agent.http import Endpoint
from provisioner.agent.inference.backend import (
    DEADLINE,
    NAMES_DEADLINE,
    BackendError,
    Model,
    Progress,
    Unsupported,
    ask,
    is_well,
)


class VLLM:
    """The vLLM at `endpoint`; `model` is what it is started with."""

    name = "vllm"
    unit = "vllm.service"

    def __init__(self, endpoint: Endpoint, model: str = "") -> None:
        self.endpoint = endpoint
        self.model = model

    def command(self) -> list[str]:
        """`vllm serve MODEL`. Raises Unsupported without a model."""
        if not self.model:
            raise Unsupported("vLLM serves one model: set inference.model")
        host, port = self.endpoint.host, str(self.endpoint.port)
        return ["vllm", "serve", self.model, "--host", host, "--port", port]

    def environment(self) -> dict[str, str]:
        """Nothing more."""
        return {}

    def healthy(self) -> bool:
        """Whether it says that it is."""
        return is_well(self.endpoint, "/health")

    def models(self) -> list[Model]:
        """Its model, and adapters of it. Raises BackendError."""
        return [Model(name, loaded=True) for name in self._listed(DEADLINE)]

    def names(self) -> list[str]:
        """Theirs. Raises BackendError."""
        return self._listed(NAMES_DEADLINE)

    def _listed(self, timeout: float) -> list[str]:
        answer = ask(self.endpoint, "GET", "/v1/models", timeout=timeout)
        if answer.status != 200:
            raise BackendError(f"status {answer.status}")
        try:
            told: Any = json.loads(answer.body)
            return [str(each["id"]) for each in told["data"]]
        except (ValueError, KeyError, TypeError, RecursionError):
            raise BackendError("the answer is not of OpenAI's API") from None

    def pull(self, model: str, insecure: bool, progress: Progress) -> None:
        """Raises Unsupported."""
        raise Unsupported("vLLM fetches its model when it starts: set inference.model")

    def delete(self, model: str) -> None:
        """Raises Unsupported."""
        raise Unsupported("vLLM keeps no list of models to delete from")
