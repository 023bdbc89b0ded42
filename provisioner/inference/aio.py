"""The same client for asyncio."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from types import TracebackType
from typing import Any

import httpx

from provisioner.inference import wire
from provisioner.inference.address import Address
from provisioner.inference.client import Answer, Message
from provisioner.inference.results import ChatResult, EmbedResult, GenerateResult, Model


class AsyncClient:
    """For one event loop; close it, or use it in an `async with`. Everything raises InferenceError.

    What the methods take and return is said at `Client`.
    """

    def __init__(self, address: Address | None = None) -> None:
        self.address = address or Address()
        self._http = httpx.AsyncClient(**self.address.settings())

    async def close(self) -> None:
        """Close its connections."""
        await self._http.aclose()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def chat(
        self,
        model: str,
        messages: Sequence[Message],
        *,
        options: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> ChatResult:
        """The model's answer."""
        request = wire.body(model, options, messages=list(messages), stream=False, **more)
        return wire.chat(await self._asked("POST", wire.CHAT, request))

    def stream_chat(
        self,
        model: str,
        messages: Sequence[Message],
        *,
        options: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> AsyncIterator[ChatResult]:
        """The parts of the model's answer, as they come."""
        request = wire.body(model, options, messages=list(messages), stream=True, **more)
        return self._parts(wire.CHAT, request, wire.chat)

    async def generate(
        self,
        model: str,
        prompt: str,
        *,
        options: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> GenerateResult:
        """How the model goes on after `prompt`."""
        request = wire.body(model, options, prompt=prompt, stream=False, **more)
        return wire.generated(await self._asked("POST", wire.GENERATE, request))

    def stream_generate(
        self,
        model: str,
        prompt: str,
        *,
        options: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> AsyncIterator[GenerateResult]:
        """The parts of how the model goes on, as they come."""
        request = wire.body(model, options, prompt=prompt, stream=True, **more)
        return self._parts(wire.GENERATE, request, wire.generated)

    async def embed(
        self,
        model: str,
        input: str | Sequence[str],
        *,
        options: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> EmbedResult:
        """A vector for each text of `input`."""
        texts = input if isinstance(input, str) else list(input)
        request = wire.body(model, options, input=texts, **more)
        return wire.embedded(await self._asked("POST", wire.EMBED, request))

    async def list_models(self) -> list[Model]:
        """The models that the server has."""
        return wire.models(await self._asked("GET", wire.TAGS, None))

    async def _asked(
        self, method: str, path: str, request: dict[str, Any] | None
    ) -> dict[str, Any]:
        try:
            response = await self._http.request(method, path, json=request)
        except httpx.TransportError as error:
            raise self.address.explain(error) from None
        if not response.is_success:
            raise wire.refusal(response.status_code, response.content)
        return wire.decoded(response.content)

    async def _parts(
        self, path: str, request: dict[str, Any], parse: Callable[[Mapping[str, Any]], Answer]
    ) -> AsyncIterator[Answer]:
        try:
            async with self._http.stream("POST", path, json=request) as response:
                if not response.is_success:
                    raise wire.refusal(response.status_code, await response.aread())
                async for line in response.aiter_lines():
                    if line:
                        yield parse(wire.decoded(line))
        except httpx.TransportError as error:
            raise self.address.explain(error) from None
