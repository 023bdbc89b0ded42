"""A stand-in for Ollama: its files, HTTP API and progress, without any model behind them."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

from provisioner.lab.standins import versions

VERSION = f"{versions.OLLAMA}+ollama-stand-in"
DEFAULT_REGISTRY = "registry.ollama.ai"
MAX_BODY = 1 << 20
MODEL_BYTES = 4 << 20  # what a pull claims to fetch; nothing of that size is kept
PULL_STEPS = 4
_PATHS = {"/", *(f"/api/{n}" for n in "version tags ps pull show generate chat delete".split())}
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._:-]*")

Json = dict[str, Any]


class NotFound(Exception):
    """No such model here."""


class Model:
    """A model's name, in full, and where its manifest lies, both as in Ollama."""

    def __init__(self, name: str) -> None:
        path, colon, tag = name.rpartition(":")
        if not colon or "/" in tag:
            path, tag = name, "latest"
        parts = path.split("/")
        defaults = [DEFAULT_REGISTRY, "library"]
        self.parts = [*defaults[: max(0, 3 - len(parts))], *parts, tag]
        if len(self.parts) != 4 or not all(_PART.fullmatch(part) for part in self.parts):
            raise ValueError("invalid model name")

    def __str__(self) -> str:
        host, space, model, tag = self.parts
        if host != DEFAULT_REGISTRY:
            return f"{host}/{space}/{model}:{tag}"
        return f"{model}:{tag}" if space == "library" else f"{space}/{model}:{tag}"

    def manifest(self, models: Path) -> Path:
        return models.joinpath("manifests", *self.parts)


class Store:
    """The models under OLLAMA_MODELS."""

    def __init__(self, models: Path) -> None:
        self.models = models
        models.mkdir(parents=True, exist_ok=True)

    def add(self, model: Model) -> None:
        path = model.manifest(self.models)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.{threading.get_ident()}")
        part.write_text(json.dumps({"digest": digest(model), "size": MODEL_BYTES}))
        part.replace(path)

    def remove(self, name: str) -> None:
        path = self._existing(name)
        path.unlink()
        for parent in path.parents[:3]:
            if not any(parent.iterdir()):
                parent.rmdir()

    def show(self, name: str) -> Json:
        return self._entry(self._existing(name))

    def list(self) -> list[Json]:
        root = self.models / "manifests"
        found = [path for path in root.glob("*/*/*/*") if not path.name.startswith(".")]
        return [self._entry(path) for path in sorted(found, key=lambda p: -p.stat().st_mtime)]

    def _existing(self, name: str) -> Path:
        path = Model(name).manifest(self.models)
        if not path.is_file():
            raise NotFound(name)
        return path

    def _entry(self, path: Path) -> Json:
        model = Model("{}/{}/{}:{}".format(*path.parts[-4:]))
        modified = datetime.fromtimestamp(path.stat().st_mtime, timezone.utc)
        return {
            "name": str(model),
            "model": str(model),
            "modified_at": modified.isoformat().replace("+00:00", "Z"),
            **json.loads(path.read_text()),
            "details": {
                "parent_model": "",
                "format": "gguf",
                "family": "llama",
                "families": ["llama"],
                "parameter_size": "2M",
                "quantization_level": "F32",
            },
        }


def digest(model: Model) -> str:
    """A stable digest for a model that has no content."""
    return hashlib.sha256(str(model).encode()).hexdigest()


def pull(store: Store, name: str) -> Iterator[Json]:
    """The lines that a pull streams. The model `nosuch` is the one that the registry lacks."""
    yield {"status": "pulling manifest"}
    model = Model(name)
    if model.parts[2] == "nosuch":
        yield {"error": "pull model manifest: file does not exist"}
        return
    layer = digest(model)
    line: Json = {"status": f"pulling {layer[:12]}", "digest": f"sha256:{layer}"}
    line["total"] = MODEL_BYTES
    yield dict(line)
    for step in range(1, PULL_STEPS + 1):
        yield {**line, "completed": MODEL_BYTES * step // PULL_STEPS}
    yield {"status": "verifying sha256 digest"}
    yield {"status": "writing manifest"}
    store.add(model)
    yield {"status": "success"}


def generate(store: Store, name: str) -> Iterator[Json]:
    """A canned answer, as two streamed lines."""
    model = store.show(name)["name"]
    created = datetime.now(timezone.utc).isoformat()
    head = {"model": model, "created_at": created}
    yield {**head, "response": "This is the ollama-stand-in speaking.", "done": False}
    durations = ("total", "load", "prompt_eval", "eval")
    yield {
        **head,
        "response": "",
        "done": True,
        "done_reason": "stop",
        "context": [],
        **{f"{phase}_duration": 1_000_000 for phase in durations},
        "prompt_eval_count": 1,
        "eval_count": 1,
    }


def _message(line: Json) -> Json:
    """A line of a text as one of a chat."""
    content = line.pop("response")
    line.pop("context", None)
    return {**line, "message": {"role": "assistant", "content": content}}


class Handler(BaseHTTPRequestHandler):
    """The HTTP API."""

    protocol_version = "HTTP/1.1"
    timeout = 60
    store: ClassVar[Store]

    def do_GET(self) -> None:
        answers: dict[str, Callable[[], Json]] = {
            "/api/version": lambda: {"version": VERSION},
            "/api/tags": lambda: {"models": self.store.list()},
            "/api/ps": lambda: {"models": []},
        }
        if self.path == "/":
            self._send(200, b"Ollama is running", "text/plain; charset=utf-8")
        elif self.path in answers:
            self._json(200, answers[self.path]())
        else:
            self._unknown_path()

    do_HEAD = do_GET

    def do_POST(self) -> None:
        self._guarded(
            {
                "/api/pull": self._pull,
                "/api/show": self._show,
                "/api/generate": self._gen,
                "/api/chat": self._chat,
            }
        )

    def do_DELETE(self) -> None:
        self._guarded({"/api/delete": self._delete})

    def _guarded(self, actions: dict[str, Callable[[Json, str], None]]) -> None:
        action = actions.get(self.path)
        if action is None:
            return self._unknown_path()
        name = ""
        try:
            body = self._body()
            name = body.get("model") or body.get("name") or ""
            Model(name)
            action(body, name)
        except NotFound:
            self._json(404, {"error": f"model '{name}' not found"})
        except ValueError as error:
            self._json(400, {"error": str(error)})

    def _unknown_path(self) -> None:
        if self.path in _PATHS:
            return self._send(405, b"405 method not allowed", "text/plain")
        self._send(404, b"404 page not found", "text/plain")

    def _pull(self, body: Json, name: str) -> None:
        self._stream(pull(self.store, name), body)

    def _show(self, body: Json, name: str) -> None:
        entry = self.store.show(name)
        self._json(
            200,
            {
                "modelfile": f"FROM {entry['name']}",
                "template": "{{ .Prompt }}",
                "details": entry["details"],
                "model_info": {"general.architecture": "llama"},
                "capabilities": ["completion"],
                "modified_at": entry["modified_at"],
            },
        )

    def _gen(self, body: Json, name: str) -> None:
        self._stream(iter(list(generate(self.store, name))), body)

    def _chat(self, body: Json, name: str) -> None:
        self._stream(iter([_message(line) for line in generate(self.store, name)]), body)

    def _delete(self, body: Json, name: str) -> None:
        self.store.remove(name)
        self._send(200, b"", "text/plain")

    def _body(self) -> Json:
        length = int(self.headers.get("Content-Length") or 0)
        if not 0 <= length <= MAX_BODY:
            raise ValueError("body too large")
        if not length:
            raise ValueError("missing request body")
        body = json.loads(self.rfile.read(length))
        if not isinstance(body, dict):
            raise ValueError("the body is not an object")
        return body

    def _stream(self, lines: Iterator[Json], body: Json) -> None:
        if body.get("stream") is False:
            return self._last_of(list(lines))
        self.send_response(200)
        self.send_header("Content-Type", "application/x-ndjson")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for line in lines:
            data = json.dumps(line, separators=(",", ":")).encode() + b"\n"
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.write(b"0\r\n\r\n")

    def _last_of(self, lines: list[Json]) -> None:
        """The one answer of a call that asked for no stream."""
        last = dict(lines[-1])
        if "message" in last:
            said = [line["message"]["content"] for line in lines]
            last["message"] = {**last["message"], "content": "".join(said)}
        elif text := "".join(line.get("response", "") for line in lines):
            last["response"] = text
        self._json(500 if "error" in last else 200, last)

    def _json(self, status: int, value: Json) -> None:
        data = json.dumps(value, separators=(",", ":")).encode()
        self._send(status, data, "application/json; charset=utf-8")

    def _send(self, status: int, data: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        print(f"{time.strftime('%FT%TZ', time.gmtime())} {format % args}", file=sys.stderr)


def listen_address(text: str) -> tuple[str, int]:
    """The address in OLLAMA_HOST: a host, a port, both, or a URL."""
    rest = text.split("://", 1)[-1].rstrip("/") or "127.0.0.1"
    host, colon, port = rest.rpartition(":")
    if not colon:
        host, port = rest, "11434"
    return host.strip("[]") or "0.0.0.0", int(port)


class Server(ThreadingHTTPServer):
    """Threads of callers that hang do not keep the service from stopping."""

    daemon_threads = True


def serve() -> int:
    """Serve until told to end."""
    home = os.environ.get("OLLAMA_MODELS") or str(Path.home() / ".ollama" / "models")
    Handler.store = Store(Path(home))
    server = Server(listen_address(os.environ.get("OLLAMA_HOST", "")), Handler)
    stop = threading.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: stop.set())
    threading.Thread(target=server.serve_forever, daemon=True).start()
    host, port = server.server_address[:2]
    print(f"ollama-stand-in {VERSION} listening on {host!s}:{port}", file=sys.stderr)
    stop.wait()
    server.shutdown()
    return 0


def main() -> int:
    """`ollama serve` and `ollama --version`."""
    words = sys.argv[1:]
    if words in (["serve"], ["start"]):
        return serve()
    if words in (["--version"], ["-v"]):
        print(f"ollama version is {VERSION}")
        return 0
    print("ollama-stand-in: only `ollama serve` and `ollama --version`", file=sys.stderr)
    return 1
