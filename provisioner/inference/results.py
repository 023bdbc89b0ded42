"""What an inference server answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Usage:
    """Tokens read and written, and how long it took in seconds: in all, to load the model, to read
    the prompt and to write the answer. Parts of a stream have none but the last."""

    prompt_tokens: int = 0
    output_tokens: int = 0
    seconds: float = 0.0
    load_seconds: float = 0.0
    prompt_seconds: float = 0.0
    output_seconds: float = 0.0

    @property
    def tokens_per_second(self) -> float:
        """Of the answer; 0 where nothing was written."""
        return self.output_tokens / self.output_seconds if self.output_seconds else 0.0


@dataclass(frozen=True)
class ChatResult:
    """A message of the model, or a part of one where it is streamed.

    `done_reason` says why the model stopped: `stop`, `length`…; it is empty before the end.
    `tool_calls` are as Ollama has them. `raw` is the whole answer.
    """

    model: str
    content: str
    role: str = "assistant"
    thinking: str = ""
    tool_calls: tuple[dict[str, Any], ...] = ()
    done: bool = True
    done_reason: str = ""
    usage: Usage = field(default_factory=Usage)
    raw: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True)
class GenerateResult:
    """A text of the model, or a part of one where it is streamed."""

    model: str
    content: str
    done: bool = True
    done_reason: str = ""
    usage: Usage = field(default_factory=Usage)
    raw: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True)
class EmbedResult:
    """A vector for each input, in order."""

    model: str
    embeddings: tuple[tuple[float, ...], ...]
    usage: Usage = field(default_factory=Usage)

    @property
    def embedding(self) -> tuple[float, ...]:
        """The vector of the only input. Raises ValueError where there were several."""
        if len(self.embeddings) != 1:
            raise ValueError(f"there are {len(self.embeddings)} embeddings; take one of them")
        return self.embeddings[0]


@dataclass(frozen=True)
class Model:
    """A model that the server has. `size` is in bytes, `digest` hexadecimal."""

    name: str
    size: int
    digest: str
    modified_at: str = ""
    family: str = ""
    parameter_size: str = ""
    quantization: str = ""
