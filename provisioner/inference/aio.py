"""The same client for asyncio."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from types import TracebackType
from typing import Any

import httpx

from provisioner.inference import wire
from provisioner.inference.address import Address
from provisioner.inference.client import Message
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
        **more: Any,
    ) -> ChatResult:
        """The model's answer."""
        return await self._whole(wire.ask_chat(model, messages, False, more))

    def stream_chat(
        self,
        model: str,
        messages: Sequence[Message],
        **more: Any,
    ) -> AsyncIterator[ChatResult]:
        """The parts of the model's answer, as they come."""
        return self._parts(wire.ask_chat(model, messages, True, more))

    async def generate(
        self,
        model: str,
        prompt: str,
        **more: Any,
    ) -> GenerateResult:
        """How the model goes on after `prompt`."""
        return await self._whole(wire.ask_generate(model, prompt, False, more))

    def stream_generate(
        self,
        model: str,
        prompt: str,
        **more: Any,
    ) -> AsyncIterator[GenerateResult]:
        """The parts of how the model goes on, as they come."""
        return self._parts(wire.ask_generate(model, prompt, True, more))

    async def embed(
        self,
        model: str,
        input: str | Sequence[str],
        **more: Any,
    ) -> EmbedResult:
        """A vector for each text of `input`."""
        return await self._whole(wire.ask_embed(model, input, more))

    async def list_models(self) -> list[Model]:
        """The models that the server has."""
        return wire.models(await self._asked("GET", wire.TAGS, None))

    async def _whole(self, call: wire.Call[wire.Answer]) -> wire.Answer:
        return call.parse(await self._asked("POST", call.path, call.body))

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

    async def _parts(self, call: wire.Call[wire.Answer]) -> AsyncIterator[wire.Answer]:
        try:
            async with self._http.stream("POST", call.path, json=call.body) as response:
                if not response.is_success:
                    raise wire.refusal(response.status_code, await response.aread())
                async for line in response.aiter_lines():
                    if line:
                        yield call.parse(wire.decoded(line))
        except httpx.TransportError as error:
            raise self.address.explain(error) from None
