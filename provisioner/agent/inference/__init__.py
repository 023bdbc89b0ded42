"""The server of models on this machine: start, stop, health, models, pulls."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from provisioner.agent.inference.backend import Backend
    from provisioner.agent.settings import Settings


def backend_of(settings: Settings) -> Backend:
    """The server of models that the settings name."""
    if settings.backend == "vllm":
        from provisioner.agent.inference.vllm import VLLM

        return VLLM(settings.inference, settings.model)
    from provisioner.agent.inference.ollama import Ollama

    return Ollama(settings.inference)
