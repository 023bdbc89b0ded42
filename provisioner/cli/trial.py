"""The six steps by which a worker's inference is tried, and the one before them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import httpx

from provisioner.agent.tui.client import Client as Agent
from provisioner.agent.tui.client import Trouble
from provisioner.inference import Address, Client, InferenceError
from provisioner.inference.wire import ask_chat

POLL = 0.25  # seconds between looks whether Ollama has started or stopped


class Ended(NamedTuple):
    """A step that has ended; `detail` says what was found, or what is wrong."""

    number: int
    what: str
    ok: bool
    seconds: float
    detail: str


class Failed(Exception):
    """A step did not go well; the text says why, and what to do."""


class Trial:
    """Tries the server at `address`, whose worker's `agent` starts and stops it; None where there
    is no agent to ask. `found` has what was learnt: `model`, `answer`, `latency` in seconds."""

    def __init__(
        self, agent: Agent | None, address: Address, model: str | None, prompt: str, requests: int
    ) -> None:
        self._agent, self._address, self._requests = agent, address, requests
        self._messages = [{"role": "user", "content": prompt}]
        self._model = model
        self._is_ours = False  # the server was started by us
        self.found: dict[str, Any] = {"model": model, "answer": None, "latency": None}

    def run(self, tell: Callable[[Ended], None]) -> list[Ended]:
        """All steps up to the first that fails, and the stop in any case."""
        steps: list[tuple[str, Callable[[], str]]] = [
            ("Sending start-inference command to agent", self._start),
            ("Testing health endpoint", self._health),
            ("Checking model availability", self._choose),
            ("Testing chat over HTTP", self._chat),
            ("Testing Python SDK", self._sdk),
            (f"Testing latency ({self._requests} requests)", self._measure),
        ]
        ended: list[Ended] = []
        try:
            for number, (what, act) in enumerate(steps):
                ended.append(_done(number, what, act))
                tell(ended[-1])
                if not ended[-1].ok:
                    break
        finally:
            ended.append(_done(6, "Stopping inference server", self._stop))
            tell(ended[-1])
        return ended

    def _start(self) -> str:
        if self._agent is None:
            return "not asked: its control API is off (agent.control_port: 0)"
        if self._agent.inference().get("status") == "running":
            return "it ran already"
        self._is_ours = True
        self._agent.start_inference()
        self._await("running")
        return "started"

    def _health(self) -> str:
        with self._asking() as http:
            version = http.get("/api/version").raise_for_status().json().get("version")
        return f"Ollama {version}"

    def _choose(self) -> str:
        with Client(self._address) as client:
            there = [model.name for model in client.list_models()]
        names = ", ".join(there) or "none"
        chosen = self._model or next(iter(there), None)
        if chosen is None or not {chosen, f"{chosen}:latest"} & set(there):
            lacks = f"no model {chosen}" if chosen else "no model"
            raise Failed(f"{lacks} there (models: {names}); list it in ollama.models, then: up")
        self._model = self.found["model"] = chosen
        return chosen

    def _chat(self) -> str:
        call = ask_chat(str(self._model), self._messages, False, {})
        with self._asking() as http:
            answer = http.post(call.path, json=call.body).raise_for_status().json()
        content = answer.get("message", {}).get("content", "")
        if not content:
            raise Failed("the answer has no text")
        self.found["answer"] = content
        return f"{len(content)} characters"

    def _sdk(self) -> str:
        with Client(self._address) as client:
            result = client.chat(str(self._model), self._messages)
        if not result.content:
            raise Failed("the answer has no text")
        return f"{result.usage.output_tokens} tokens, {result.usage.tokens_per_second:.1f}/s"

    def _measure(self) -> str:
        took = []
        with Client(self._address) as client:
            for _ in range(self._requests):
                begun = time.monotonic()
                client.chat(str(self._model), self._messages)
                took.append(time.monotonic() - begun)
        least, most, mean = min(took), max(took), sum(took) / len(took)
        shown = {"min": least, "mean": mean, "max": most}
        self.found["latency"] = {name: round(value, 4) for name, value in shown.items()}
        return f"min {least:.3f} s, mean {mean:.3f} s, max {most:.3f} s"

    def _stop(self) -> str:
        if self._agent is None or not self._is_ours:
            return "left as it was found"
        self._agent.stop_inference()
        self._await("stopped")
        return "stopped, as it was found"

    def _await(self, state: str) -> None:
        assert self._agent
        give_up = time.monotonic() + self._address.timeout
        while (status := self._agent.inference()).get("status") != state:
            if status.get("status") == "failed" or time.monotonic() > give_up:
                why = status.get("error") or f"it is {status.get('status')}"
                raise Failed(f"Ollama is not {state}: {why}; see b9prov logs … ollama")
            time.sleep(POLL)

    @contextlib.contextmanager
    def _asking(self) -> Iterator[httpx.Client]:
        try:
            with httpx.Client(**self._address.settings()) as client:
                yield client
        except httpx.HTTPStatusError as error:
            raise Failed(f"HTTP {error.response.status_code}: {error.response.text}") from None
        except httpx.HTTPError as error:
            raise self._address.explain(error) from None
        except ValueError:
            raise Failed("the answer is not JSON: is that an Ollama?") from None


def _done(number: int, what: str, act: Callable[[], str]) -> Ended:
    begun = time.monotonic()
    try:
        detail, ok = act(), True
    except (Failed, Trouble, InferenceError) as problem:
        detail, ok = str(problem), False
    return Ended(number, what, ok, round(time.monotonic() - begun, 4), detail)
