"""A client of one inference server, which waits for answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any

import httpx

from provisioner.inference import wire
from provisioner.inference.address import Address
from provisioner.inference.results import ChatResult, EmbedResult, GenerateResult, Model

Message = Mapping[str, Any]


class Client:
    """Thread-safe; close it, or use it in a `with`. Everything raises InferenceError.

    `more` is what Ollama's API takes beside: `options` (`temperature`, `num_predict`, `seed`…),
    `format`, `keep_alive`, `think`; for chats `tools`, for texts `system` and `images`.
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
        **more: Any,
    ) -> ChatResult:
        """The model's answer to `messages`, each `{"role": …, "content": …}`."""
        return self._whole(wire.ask_chat(model, messages, False, more))

    def stream_chat(
        self,
        model: str,
        messages: Sequence[Message],
        **more: Any,
    ) -> Iterator[ChatResult]:
        """The parts of the model's answer, as they come; the last one is `done`."""
        return self._parts(wire.ask_chat(model, messages, True, more))

    def generate(
        self,
        model: str,
        prompt: str,
        **more: Any,
    ) -> GenerateResult:
        """How the model goes on after `prompt`."""
        return self._whole(wire.ask_generate(model, prompt, False, more))

    def stream_generate(
        self,
        model: str,
        prompt: str,
        **more: Any,
    ) -> Iterator[GenerateResult]:
        """The parts of how the model goes on, as they come; the last one is `done`."""
        return self._parts(wire.ask_generate(model, prompt, True, more))

    def embed(
        self,
        model: str,
        input: str | Sequence[str],
        **more: Any,
    ) -> EmbedResult:
        """A vector for each text of `input`."""
        return self._whole(wire.ask_embed(model, input, more))

    def list_models(self) -> list[Model]:
        """The models that the server has."""
        return wire.models(self._asked("GET", wire.TAGS, None))

    def _whole(self, call: wire.Call[wire.Answer]) -> wire.Answer:
        return call.parse(self._asked("POST", call.path, call.body))

    def _asked(self, method: str, path: str, request: dict[str, Any] | None) -> dict[str, Any]:
        try:
            response = self._http.request(method, path, json=request)
        except httpx.TransportError as error:
            raise self.address.explain(error) from None
        if not response.is_success:
            raise wire.refusal(response.status_code, response.content)
        return wire.decoded(response.content)

    def _parts(self, call: wire.Call[wire.Answer]) -> Iterator[wire.Answer]:
        try:
            with self._http.stream("POST", call.path, json=call.body) as response:
                if not response.is_success:
                    raise wire.refusal(response.status_code, response.read())
                for line in response.iter_lines():
                    if line:
                        yield call.parse(wire.decoded(line))
        except httpx.TransportError as error:
            raise self.address.explain(error) from None
