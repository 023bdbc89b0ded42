"""Models that an Ollama server shall have; missing ones are pulled, with progress in bytes."""

from __future__ import annotations

import http.client
import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from typing import Any

from provisioner.remote.arguments import Argument
from provisioner.remote.module import Context, ModuleFailed, Result

ARGUMENTS = {
    "url": Argument("str", default="http://127.0.0.1:11434"),
    "models": Argument("list", required=True, aliases=("name",)),
    "state": Argument("str", default="present", choices=("present", "absent")),
    "timeout": Argument("float", default=300.0),
    "deadline": Argument("float", default=7200.0),
    "insecure": Argument("bool", default=False),
}

_PROGRESS_INTERVAL = 0.25
_TRIES = 4
"""How often in a row a pull may break off without getting further; Ollama resumes."""


class _Broken(Exception):
    """The connection to Ollama ended early."""


def run(arguments: dict[str, Any], context: Context) -> Result:
    """Pull what is missing, or delete what shall not be there."""
    server = _Server(arguments, context)
    wanted = list(dict.fromkeys(_full(str(m)) for m in arguments["models"] if str(m).strip()))
    there = server.models()
    present = arguments["state"] == "present"
    todo = [model for model in wanted if (model in there) != present]
    result: Result = {"changed": bool(todo), "models": sorted(there)}
    result["pulled" if present else "deleted"] = todo
    if context.diff:
        after = {*there, *todo} if present else there - set(todo)
        result["diff"] = {
            "before": "".join(f"{m}\n" for m in sorted(there)),
            "after": "".join(f"{m}\n" for m in sorted(after)),
            "path": f"models of {arguments['url']}",
        }
    if context.check or not todo:
        return result
    for model in todo:
        server.pull(model) if present else server.delete(model)
    now = server.models()
    for model in todo:
        if (model in now) != present:
            raise ModuleFailed(f"Ollama says it is done, but {model} is not in its list")
    return {**result, "models": sorted(now)}


def _full(model: str) -> str:
    """Ollama's own name of a model: without a tag, `latest` is meant."""
    model = model.strip()
    return model if ":" in model.rpartition("/")[2] else f"{model}:latest"


class _Server:
    def __init__(self, arguments: dict[str, Any], context: Context) -> None:
        self.url = arguments["url"].rstrip("/")
        self.timeout = arguments["timeout"]
        self.deadline = time.monotonic() + arguments["deadline"]
        self.insecure = arguments["insecure"]
        self.context = context
        # it is on this host; a proxy is for the world outside
        self.opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def models(self) -> set[str]:
        """The models that are there."""
        try:
            with self._ask("GET", "/api/tags") as answer:
                listed = json.load(answer).get("models") or []
            return {_full(entry["name"]) for entry in listed}
        except (OSError, http.client.HTTPException) as error:
            raise ModuleFailed(
                f"Ollama does not answer at {self.url}: {_reason(error)}; "
                "see systemctl status ollama"
            ) from None
        except (ValueError, KeyError, AttributeError) as error:
            raise ModuleFailed(f"what answers at {self.url} is no Ollama: {error}") from None

    def delete(self, model: str) -> None:
        """Delete a model."""
        try:
            self._ask("DELETE", "/api/delete", {"model": model, "name": model}).close()
        except (OSError, http.client.HTTPException) as error:
            raise ModuleFailed(f"cannot delete {model}: {_reason(error)}") from None

    def pull(self, model: str) -> None:
        """Pull a model, again and again while that still brings us further."""
        pull = _Pull(model, self.context)
        tries = 0
        while True:
            before = pull.done
            try:
                self._pull_once(model, pull)
                return
            except _Broken as error:
                tries = 1 if pull.done > before else tries + 1
                pause = min(0.5 * 2**tries, 10.0)
                if tries >= _TRIES or time.monotonic() + pause > self.deadline:
                    raise ModuleFailed(
                        f"pulling {model} broke off: {error}", model=model, loaded=pull.done
                    ) from None
                time.sleep(pause)

    def _pull_once(self, model: str, pull: _Pull) -> None:
        body = {"model": model, "name": model, "stream": True, "insecure": self.insecure}
        try:
            with self._ask("POST", "/api/pull", body) as answer:
                for event in _events(answer):
                    if "error" in event:
                        raise ModuleFailed(f"cannot pull {model}: {event['error']}", model=model)
                    pull.note(event)
                    if event.get("status") == "success":
                        return
                    if time.monotonic() > self.deadline:
                        raise ModuleFailed(f"pulling {model} takes too long", model=model)
            raise _Broken("the answer ended before its success")
        except urllib.error.HTTPError as error:
            raise ModuleFailed(f"cannot pull {model}: {_reason(error)}", model=model) from None
        except (OSError, http.client.HTTPException) as error:
            raise _Broken(_reason(error)) from None

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json", "User-Agent": "b9prov"}
        request = urllib.request.Request(self.url + path, data=data, headers=headers, method=method)
        return self.opener.open(request, timeout=self.timeout)


class _Pull:
    """How far a pull is, over all layers."""

    def __init__(self, model: str, context: Context) -> None:
        self.model = model
        self.context = context
        self.layers: dict[str, tuple[int, int]] = {}
        self.told = 0.0

    @property
    def done(self) -> int:
        return sum(done for done, _ in self.layers.values())

    def note(self, event: dict[str, Any]) -> None:
        """Take in a line of Ollama's answer and tell of it, not too often."""
        if event.get("digest"):
            done, total = int(event.get("completed") or 0), int(event.get("total") or 0)
            self.layers[event["digest"]] = (done, total)
        now = time.monotonic()
        if now - self.told >= _PROGRESS_INTERVAL or event.get("status") == "success":
            self.told = now
            total = sum(total for _, total in self.layers.values())
            self.context.progress(self.done, total, self.model)


def _events(answer: Any) -> Iterator[dict[str, Any]]:
    for line in answer:
        if line.strip():
            try:
                event = json.loads(line)
            except ValueError:
                raise _Broken("the answer broke off in a line") from None
            if isinstance(event, dict):
                yield event


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        try:
            said = json.loads(error.read()).get("error", "")
        except (OSError, ValueError, AttributeError):
            said = ""
        return f"HTTP {error.code} {said or error.reason}"
    return str(getattr(error, "reason", "") or error)
