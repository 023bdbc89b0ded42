"""What can go wrong with an inference server, each with a way out."""

from __future__ import annotations


class InferenceError(Exception):
    """What went wrong; `advice` says what to try, where something is known."""

    def __init__(self, message: str, advice: str = "") -> None:
        super().__init__(f"{message} ({advice})" if advice else message)
        self.message, self.advice = message, advice


class Unavailable(InferenceError):
    """Nobody answers there, or the answer broke off."""


class TimedOut(InferenceError):
    """No answer in the time given."""


class ModelNotFound(InferenceError):
    """The server has no such model."""


class Refused(InferenceError):
    """The server does not take the request; `status` is that of HTTP."""

    def __init__(self, message: str, status: int, advice: str = "") -> None:
        super().__init__(message, advice)
        self.status = status


class BadAnswer(InferenceError):
    """The answer is not one of an Ollama server."""
