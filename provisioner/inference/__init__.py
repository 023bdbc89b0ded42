"""Talks to the inference server of a worker, which is an Ollama.

    from provisioner import inference

    inference.configure(host="100.100.74.117", port=11434)
    result = inference.chat(model="llama3.2", messages=[{"role": "user", "content": "Hello!"}])
    print(result.content)

Without `configure` it is the server that BETA9_INFERENCE_HOST and BETA9_INFERENCE_PORT name, or
that of this machine. Functions that begin with `a` are for asyncio. For several servers at once
there are `Client` and `AsyncClient`.
"""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

from provisioner.inference.address import Address, from_environment
from provisioner.inference.aio import AsyncClient
from provisioner.inference.client import Client, Message
from provisioner.inference.errors import (
    BadAnswer,
    InferenceError,
    ModelNotFound,
    Refused,
    TimedOut,
    Unavailable,
)
from provisioner.inference.results import ChatResult, EmbedResult, GenerateResult, Model, Usage

__all__ = [
    "Address",
    "AsyncClient",
    "BadAnswer",
    "ChatResult",
    "Client",
    "EmbedResult",
    "GenerateResult",
    "InferenceError",
    "Model",
    "ModelNotFound",
    "Refused",
    "TimedOut",
    "Unavailable",
    "Usage",
    "achat",
    "aembed",
    "agenerate",
    "alist_models",
    "astream_chat",
    "astream_generate",
    "chat",
    "configure",
    "embed",
    "generate",
    "list_models",
    "stream_chat",
    "stream_generate",
]

_lock = threading.Lock()
_client: Client | None = None


def configure(
    host: str = Address.host,
    port: int = Address.port,
    *,
    timeout: float = Address.timeout,
    tls: bool = False,
    token: str | None = None,
) -> None:
    """Say where the server is that the functions of this module ask; see `Address`."""
    global _client
    with _lock:
        _client = Client(Address(host, port, timeout, tls, token))


def _default() -> Client:
    global _client
    with _lock:
        if _client is None:
            _client = Client(from_environment())
        return _client


def chat(model: str, messages: Sequence[Message], **more: Any) -> ChatResult:
    """The model's answer to `messages`; see `Client.chat`."""
    return _default().chat(model, messages, **more)


def stream_chat(model: str, messages: Sequence[Message], **more: Any) -> Iterator[ChatResult]:
    """The parts of the model's answer, as they come."""
    return _default().stream_chat(model, messages, **more)


def generate(model: str, prompt: str, **more: Any) -> GenerateResult:
    """How the model goes on after `prompt`."""
    return _default().generate(model, prompt, **more)


def stream_generate(model: str, prompt: str, **more: Any) -> Iterator[GenerateResult]:
    """The parts of how the model goes on, as they come."""
    return _default().stream_generate(model, prompt, **more)


def embed(model: str, input: str | Sequence[str], **more: Any) -> EmbedResult:
    """A vector for each text of `input`."""
    return _default().embed(model, input, **more)


def list_models() -> list[Model]:
    """The models that the server has."""
    return _default().list_models()


# A client of asyncio belongs to one event loop, and whoever calls these may have had several.
async def achat(model: str, messages: Sequence[Message], **more: Any) -> ChatResult:
    """As `chat`."""
    async with AsyncClient(_default().address) as client:
        return await client.chat(model, messages, **more)


async def astream_chat(
    model: str, messages: Sequence[Message], **more: Any
) -> AsyncIterator[ChatResult]:
    """As `stream_chat`."""
    async with AsyncClient(_default().address) as client:
        async for part in client.stream_chat(model, messages, **more):
            yield part


async def agenerate(model: str, prompt: str, **more: Any) -> GenerateResult:
    """As `generate`."""
    async with AsyncClient(_default().address) as client:
        return await client.generate(model, prompt, **more)


async def astream_generate(model: str, prompt: str, **more: Any) -> AsyncIterator[GenerateResult]:
    """As `stream_generate`."""
    async with AsyncClient(_default().address) as client:
        async for part in client.stream_generate(model, prompt, **more):
            yield part


async def aembed(model: str, input: str | Sequence[str], **more: Any) -> EmbedResult:
    """As `embed`."""
    async with AsyncClient(_default().address) as client:
        return await client.embed(model, input, **more)


async def alist_models() -> list[Model]:
    """As `list_models`."""
    async with AsyncClient(_default().address) as client:
        return await client.list_models()
