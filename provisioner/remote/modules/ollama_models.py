"""Models that an Ollama server shall have; missing ones are pulled, with progress in bytes.

A model is NAME:TAG, or NAME:TAG@sha256:DIGEST with its manifest's digest or the first 12 digits of
it or more: one that is there with another digest is pulled anew.
"""

from __future__ import annotations

import http.client
import json
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
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
    "parallel": Argument("int", default=3),
    "prune": Argument("bool", default=False),
}

_PROGRESS_INTERVAL = 0.25
_TRIES = 4
"""How often in a row a pull may break off without getting further; Ollama resumes."""


class _Broken(Exception):
    """The connection to Ollama ended early."""


def run(arguments: dict[str, Any], context: Context) -> Result:
    """Pull what is missing, or delete what shall not be there; with `prune` all that isn't listed.

    `digests` in the result are those of all models afterwards.
    """
    server = _Server(arguments, context)
    wanted = dict(_parsed(str(model)) for model in arguments["models"] if str(model).strip())
    try:
        there = server.models()
    except ModuleFailed:
        if not context.check:
            raise
        there = {}  # it is yet to be installed
    present = arguments["state"] == "present"
    missing = [m for m, digest in wanted.items() if not _is_right(there, m, digest)]
    pull = missing if present else []
    delete = [] if present else [m for m in wanted if m in there]
    if present and arguments["prune"]:
        delete = [m for m in sorted(there) if m not in wanted]
    result: Result = {"changed": bool(pull or delete), "pulled": pull, "deleted": delete}
    if context.diff:
        after = {*there, *pull} - set(delete)
        result["diff"] = {
            "before": "".join(f"{m}\n" for m in sorted(there)),
            "after": "".join(f"{m}\n" for m in sorted(after)),
            "path": f"models of {arguments['url']}",
        }
    if context.check or not result["changed"]:
        return {**result, "models": sorted(there), "digests": there}
    _pull_all(server, pull, arguments["parallel"])
    for model in delete:
        server.delete(model)
    now = server.models()
    _prove(now, {model: wanted[model] for model in pull}, delete)
    return {**result, "models": sorted(now), "digests": now}


def _parsed(model: str) -> tuple[str, str]:
    """Ollama's own name of a model, and the digest that is wanted, if any. Without a tag, `latest`
    is meant."""
    name, _, digest = model.strip().partition("@sha256:")
    return (name if ":" in name.rpartition("/")[2] else f"{name}:latest"), digest.lower()


def _is_right(there: dict[str, str], model: str, digest: str) -> bool:
    return model in there and there[model].startswith(digest)


def _prove(now: dict[str, str], pulled: dict[str, str], deleted: list[str]) -> None:
    """Fail where Ollama says one thing and its list another."""
    for model in deleted:
        if model in now:
            raise ModuleFailed(f"Ollama says it is done, but {model} is still in its list")
    for model, digest in pulled.items():
        if model not in now:
            raise ModuleFailed(f"Ollama says it is done, but {model} is not in its list")
        if not _is_right(now, model, digest):
            raise ModuleFailed(
                f"{model} is sha256:{now[model]} where it was pulled from, not sha256:{digest}",
                model=model,
                advice="write the digest that you want under ollama.models, or none",
            )


def _pull_all(server: _Server, models: list[str], parallel: int) -> None:
    """Pull some at the same time; a failure lets those under way finish, and is then raised."""
    told = _Progress(server.context)
    with ThreadPoolExecutor(max_workers=max(1, parallel)) as pool:
        pulls = [pool.submit(server.pull, model, told) for model in models]
        for done in as_completed(pulls):
            if not done.cancelled() and done.exception():
                for pull in pulls:
                    pull.cancel()
    for pull in pulls:
        if not pull.cancelled():
            pull.result()


class _Server:
    def __init__(self, arguments: dict[str, Any], context: Context) -> None:
        self.url = arguments["url"].rstrip("/")
        self.timeout = arguments["timeout"]
        self.deadline = time.monotonic() + arguments["deadline"]
        self.insecure = arguments["insecure"]
        self.context = context
        # it is on this host; a proxy is for the world outside
        self.opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def models(self) -> dict[str, str]:
        """The models that are there, with their digests."""
        try:
            with self._ask("GET", "/api/tags") as answer:
                listed = json.load(answer).get("models") or []
            return {_parsed(m["name"])[0]: _digest(m.get("digest")) for m in listed}
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

    def pull(self, model: str, progress: _Progress) -> None:
        """Pull a model, again and again while that still brings us further."""
        pull = progress.begin(model)
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


class _Progress:
    """How far all pulls are together; told not too often."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.pulls: list[_Pull] = []
        self.told = 0.0
        self.lock = threading.Lock()

    def begin(self, model: str) -> _Pull:
        """A further pull."""
        pull = _Pull(model, self)
        with self.lock:
            self.pulls.append(pull)
        return pull

    def tell(self, at_once: bool) -> None:
        """Tell of the bytes of all pulls, under the names of those that are not done yet."""
        with self.lock:
            now = time.monotonic()
            if now - self.told < _PROGRESS_INTERVAL and not at_once:
                return
            self.told = now
            done = sum(pull.bytes[0] for pull in self.pulls)
            total = sum(pull.bytes[1] for pull in self.pulls)
            busy = [pull.model for pull in self.pulls if not pull.ended] or [self.pulls[-1].model]
            self.context.progress(done, total, ", ".join(busy))


class _Pull:
    """How far a pull is, over all layers."""

    def __init__(self, model: str, progress: _Progress) -> None:
        self.model = model
        self.progress = progress
        self.layers: dict[str, tuple[int, int]] = {}
        self.ended = False

    @property
    def done(self) -> int:
        return self.bytes[0]

    @property
    def bytes(self) -> tuple[int, int]:
        """Those that are here, and all of them as far as is known."""
        layers = list(self.layers.values())
        return sum(done for done, _ in layers), sum(total for _, total in layers)

    def note(self, event: dict[str, Any]) -> None:
        """Take in a line of Ollama's answer and tell of it."""
        if event.get("digest"):
            done, total = int(event.get("completed") or 0), int(event.get("total") or 0)
            self.layers[event["digest"]] = (done, total)
        self.ended = self.ended or event.get("status") == "success"
        self.progress.tell(at_once=self.ended)


def _digest(found: Any) -> str:
    return str(found or "").rpartition(":")[2].lower()


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
