"""Ollama's HTTP API: what is asked, and what the answers mean.

Source: https://github.com/ollama/ollama/blob/main/docs/api.md
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from provisioner.inference.errors import BadAnswer, InferenceError, ModelNotFound, Refused
from provisioner.inference.results import ChatResult, EmbedResult, GenerateResult, Model, Usage

Answer = TypeVar("Answer")
CHAT, GENERATE, EMBED, TAGS = "/api/chat", "/api/generate", "/api/embed", "/api/tags"
_NANO = 1e-9
_SHOWN = 200  # characters of a strange answer


@dataclass(frozen=True)
class Call(Generic[Answer]):
    """What is asked by POST, and how an answer to it, or each part of one, is read."""

    path: str
    body: dict[str, Any]
    parse: Callable[[Mapping[str, Any]], Answer]


def ask_chat(
    model: str, messages: Sequence[Mapping[str, Any]], stream: bool, more: Mapping[str, Any]
) -> Call[ChatResult]:
    """An answer to messages; `more` is what the API takes beside."""
    return Call(CHAT, _body(model, messages=list(messages), stream=stream, **more), chat)


def ask_generate(
    model: str, prompt: str, stream: bool, more: Mapping[str, Any]
) -> Call[GenerateResult]:
    """How a text goes on."""
    return Call(GENERATE, _body(model, prompt=prompt, stream=stream, **more), generated)


def ask_embed(model: str, given: str | Sequence[str], more: Mapping[str, Any]) -> Call[EmbedResult]:
    """A vector for each text."""
    texts = given if isinstance(given, str) else list(given)
    return Call(EMBED, _body(model, input=texts, **more), embedded)


def _body(model: str, **parts: Any) -> dict[str, Any]:
    """A request: its parts that are given. No `options` (temperature, num_predict…) are none."""
    given = {name: part for name, part in parts.items() if part is not None}
    if not given.get("options"):
        given.pop("options", None)
    return {"model": model, **given}


def decoded(text: str | bytes) -> dict[str, Any]:
    """One JSON object. Raises BadAnswer, or what the object says went wrong."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        raise BadAnswer(f"no JSON: {_beginning(text)}", "is this an Ollama server?") from None
    if not isinstance(content, dict):
        raise BadAnswer(f"no JSON object: {_beginning(text)}", "is this an Ollama server?")
    if "error" in content:
        raise failure(200, str(content["error"]))
    return content


def refusal(status: int, text: str | bytes) -> InferenceError:
    """What an answer with that status of HTTP says."""
    try:
        content = json.loads(text)
        said = str(content["error"])
    except (ValueError, RecursionError, KeyError, TypeError):
        said = _beginning(text) or "nothing"
    return failure(status, said)


def failure(status: int, said: str) -> InferenceError:
    """The error for what the server says."""
    if "not found" in said and (status == 404 or "model" in said):
        return ModelNotFound(said, "pull it first: ollama pull MODEL")
    advice = "the model's name or the request is wrong" if status == 400 else ""
    return Refused(said if status == 200 else f"HTTP {status}: {said}", status, advice)


def chat(content: Mapping[str, Any]) -> ChatResult:
    """Raises BadAnswer."""
    message = _part(content, "message", dict)
    return ChatResult(
        model=str(content.get("model", "")),
        content=str(message.get("content") or ""),
        role=str(message.get("role", "assistant")),
        thinking=str(message.get("thinking") or ""),
        tool_calls=tuple(message.get("tool_calls") or ()),
        done=bool(content.get("done")),
        done_reason=str(content.get("done_reason") or ""),
        usage=_usage(content),
        raw=dict(content),
    )


def generated(content: Mapping[str, Any]) -> GenerateResult:
    """Raises BadAnswer."""
    return GenerateResult(
        model=str(content.get("model", "")),
        content=str(_part(content, "response", str)),
        done=bool(content.get("done")),
        done_reason=str(content.get("done_reason") or ""),
        usage=_usage(content),
        raw=dict(content),
    )


def embedded(content: Mapping[str, Any]) -> EmbedResult:
    """Raises BadAnswer."""
    try:
        vectors = tuple(tuple(map(float, vector)) for vector in _part(content, "embeddings", list))
    except (TypeError, ValueError):
        raise BadAnswer("the embeddings are no lists of numbers") from None
    return EmbedResult(str(content.get("model", "")), vectors, _usage(content))


def models(content: Mapping[str, Any]) -> list[Model]:
    """Raises BadAnswer."""
    return [_model(entry) for entry in _part(content, "models", list)]


def _model(entry: Any) -> Model:
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
        raise BadAnswer("a model without a name", "is this an Ollama server?")
    details: Sequence[Any] | Mapping[str, Any] = entry.get("details") or {}
    more = details if isinstance(details, dict) else {}
    return Model(
        name=entry["name"],
        size=_whole(entry.get("size")),
        digest=str(entry.get("digest", "")),
        modified_at=str(entry.get("modified_at", "")),
        family=str(more.get("family", "")),
        parameter_size=str(more.get("parameter_size", "")),
        quantization=str(more.get("quantization_level", "")),
    )


def _usage(content: Mapping[str, Any]) -> Usage:
    return Usage(
        prompt_tokens=_whole(content.get("prompt_eval_count")),
        output_tokens=_whole(content.get("eval_count")),
        seconds=_whole(content.get("total_duration")) * _NANO,
        load_seconds=_whole(content.get("load_duration")) * _NANO,
        prompt_seconds=_whole(content.get("prompt_eval_duration")) * _NANO,
        output_seconds=_whole(content.get("eval_duration")) * _NANO,
    )


def _whole(value: Any) -> int:
    return value if isinstance(value, int) else 0


def _part(content: Mapping[str, Any], key: str, kind: type) -> Any:
    value = content.get(key)
    if not isinstance(value, kind):
        raise BadAnswer(f"the answer has no {key!r}", "is this an Ollama server?")
    return value


def _beginning(text: str | bytes) -> str:
    shown = text.decode(errors="replace") if isinstance(text, bytes) else text
    return " ".join(shown[:_SHOWN].split())
