"""A client of one inference server, which waits for answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, TypeVar

import httpx

from provisioner.inference import wire
from provisioner.inference.address import Address
from provisioner.inference.results import ChatResult, EmbedResult, GenerateResult, Model

Message = Mapping[str, Any]
Answer = TypeVar("Answer")


class Client:
    """Thread-safe; close it, or use it in a `with`. Everything raises InferenceError.

    `options` are Ollama's (`temperature`, `num_predict`, `seed`…), `more` is what its API takes
    beside: `format`, `keep_alive`, `think`; for chats `tools`, for texts `system` and `images`.
    """

    def __init__(self, address: Address | None = None) -> None:
        self.address = address or Address()
        self._http = httpx.Client(**self.address.settings())

    def close(self) -> None:
        """Close its connections."""
        self._http.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def chat(
        self,
        model: str,
        messages: Sequence[Message],
        *,
        options: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> ChatResult:
        """The model's answer to `messages`, each `{"role": …, "content": …}`."""
        request = wire.body(model, options, messages=list(messages), stream=False, **more)
        return wire.chat(self._asked("POST", wire.CHAT, request))

    def stream_chat(
        self,
        model: str,
        messages: Sequence[Message],
        *,
        options: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> Iterator[ChatResult]:
        """The parts of the model's answer, as they come; the last one is `done`."""
        request = wire.body(model, options, messages=list(messages), stream=True, **more)
        return self._parts(wire.CHAT, request, wire.chat)

    def generate(
        self,
        model: str,
        prompt: str,
        *,
        options: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> GenerateResult:
        """How the model goes on after `prompt`."""
        request = wire.body(model, options, prompt=prompt, stream=False, **more)
        return wire.generated(self._asked("POST", wire.GENERATE, request))

    def stream_generate(
        self,
        model: str,
        prompt: str,
        *,
        options: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> Iterator[GenerateResult]:
        """The parts of how the model goes on, as they come; the last one is `done`."""
        request = wire.body(model, options, prompt=prompt, stream=True, **more)
        return self._parts(wire.GENERATE, request, wire.generated)

    def embed(
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
        return wire.embedded(self._asked("POST", wire.EMBED, request))

    def list_models(self) -> list[Model]:
        """The models that the server has."""
        return wire.models(self._asked("GET", wire.TAGS, None))

    def _asked(self, method: str, path: str, request: dict[str, Any] | None) -> dict[str, Any]:
        try:
            response = self._http.request(method, path, json=request)
        except httpx.TransportError as error:
            raise self.address.explain(error) from None
        if not response.is_success:
            raise wire.refusal(response.status_code, response.content)
        return wire.decoded(response.content)

    def _parts(
        self, path: str, request: dict[str, Any], parse: Callable[[Mapping[str, Any]], Answer]
    ) -> Iterator[Answer]:
        try:
            with self._http.stream("POST", path, json=request) as response:
                if not response.is_success:
                    raise wire.refusal(response.status_code, response.read())
                for line in response.iter_lines():
                    if line:
                        yield parse(wire.decoded(line))
        except httpx.TransportError as error:
            raise self.address.explain(error) from None
