"""Where the inference server is."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

import httpx

from provisioner.inference.errors import InferenceError, TimedOut, Unavailable

HOST_VARIABLE, PORT_VARIABLE = "BETA9_INFERENCE_HOST", "BETA9_INFERENCE_PORT"
PORT = 11434
_CONNECT = 10.0  # seconds


@dataclass(frozen=True)
class Address:
    """An Ollama server. `timeout` is in seconds, for the next part of an answer to come; `token` is
    sent as a bearer token, where something in front of Ollama wants one."""

    host: str = "127.0.0.1"
    port: int = PORT
    timeout: float = 300.0
    tls: bool = False
    token: str | None = field(default=None, repr=False)

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}"

    def settings(self) -> dict[str, Any]:
        """For a client of httpx. The environment's proxies are not asked: it is a host of ours."""
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        timeout = httpx.Timeout(self.timeout, connect=min(_CONNECT, self.timeout))
        return {
            "base_url": self.url,
            "timeout": timeout,
            "headers": headers,
            "verify": self.tls,  # without TLS the certificates need not be read
            "trust_env": False,
        }

    def explain(self, error: Exception) -> InferenceError:
        """What an error of httpx means here."""
        if isinstance(error, httpx.ConnectTimeout):
            return Unavailable(f"{self.url} does not answer", "check host, port and firewall")
        if isinstance(error, httpx.TimeoutException):
            advice = "a model that is being loaded takes long: give more timeout"
            return TimedOut(f"{self.url} said nothing for {self.timeout:g} s", advice)
        if isinstance(error, httpx.ConnectError):
            advice = f"is Ollama running there? try: curl {self.url}/api/version"
            return Unavailable(f"{self.url} can't be reached: {error}", advice)
        return Unavailable(f"the answer of {self.url} broke off: {error}", "try again")


def from_environment() -> Address:
    """The address that BETA9_INFERENCE_HOST and BETA9_INFERENCE_PORT name, or this machine's."""
    port = os.environ.get(PORT_VARIABLE, str(PORT))
    if not port.isascii() or not port.isdigit() or not 1 <= int(port) <= 65535:
        raise InferenceError(f"{PORT_VARIABLE} is no port: {port!r}")
    return Address(os.environ.get(HOST_VARIABLE, Address.host), int(port))
