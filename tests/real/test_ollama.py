"""The real Ollama serves, pulls and answers; the stand-in answers in the same shapes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
from real_servers import Mirror, accepts, eventually, running, unpack_ollama

from provisioner import inference
from provisioner.lab import real_builds, registry
from provisioner.remote.arguments import normalise
from provisioner.remote.module import Context, ModuleFailed
from provisioner.remote.modules import get_artifact, ollama_models

pytestmark = pytest.mark.usefixtures("own_network")

PORT = 11434
STANDIN_PORT = 11435


@contextmanager
def serving(mirror: Mirror, folder: Path, port: int) -> Iterator[str]:
    """`ollama serve` of that mirror's archive; yields its URL."""
    folder.mkdir()
    program = unpack_ollama(mirror.file("ollama"), folder)
    environment = {
        "HOME": str(folder),
        "OLLAMA_HOST": f"127.0.0.1:{port}",
        "OLLAMA_MODELS": str(folder / "models"),
    }
    with running([program, "serve"], folder / "ollama.log", environment):
        eventually(lambda: accepts("127.0.0.1", port), "Ollama listens")
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def ollama(
    own_network: None, real: Mirror, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The URL of the real Ollama."""
    with serving(real, tmp_path_factory.mktemp("ollama") / "real", PORT) as url:
        yield url


@pytest.fixture(scope="module")
def standin(
    own_network: None, standins: Mirror, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The URL of the stand-in."""
    with serving(standins, tmp_path_factory.mktemp("ollama") / "standin", STANDIN_PORT) as url:
        yield url


@pytest.fixture(scope="module")
def tiny(own_network: None, real: Mirror) -> Iterator[str]:
    """The tiny model's name in a registry on loopback."""
    with registry.serving(real.folder) as address:
        yield f"{address}/library/tiny:latest"


def ensure(url: str, *models: str, **more: Any) -> tuple[dict[str, Any], list[Any]]:
    """Run our task module; its result, and the progress that it reported."""
    progress: list[Any] = []
    context = Context(check=more.pop("check", False), progress=lambda *step: progress.append(step))
    given = {"models": list(models), "url": url, "insecure": True, **more}
    return ollama_models.run(normalise(given, ollama_models.ARGUMENTS), context), progress


def test_our_module_pulls_a_model_once_and_it_answers(ollama: str, tiny: str) -> None:
    assert ensure(ollama, tiny, check=True)[0]["changed"]
    first, progress = ensure(ollama, tiny)
    assert (first["changed"], first["models"]) == (True, [tiny])
    done, total, label = progress[-1]
    assert (done, label) == (total, tiny)
    assert total > 400_000
    assert not ensure(ollama, tiny)[0]["changed"]
    answer = requests.post(
        f"{ollama}/api/generate",
        json={"model": tiny, "prompt": "hello", "stream": False, "options": {"num_predict": 4}},
        timeout=60,
    ).json()
    assert (answer["done"], answer["eval_count"]) == (True, 4)


def test_our_module_says_what_ollama_says_of_an_unknown_model(ollama: str, tiny: str) -> None:
    unknown = tiny.replace("tiny", "nosuch")
    with pytest.raises(ModuleFailed, match="pull model manifest: file does not exist"):
        ensure(ollama, unknown)


def test_our_module_deletes_a_model(ollama: str, tiny: str) -> None:
    ensure(ollama, tiny)
    assert ensure(ollama, tiny, state="absent")[0]["changed"]
    assert requests.get(f"{ollama}/api/tags", timeout=10).json() == {"models": []}


def test_our_module_unpacks_the_vendors_layout(
    real: Mirror, own_network: None, tmp_path: Path
) -> None:
    entry = real.manifest[f"ollama-{real_builds.arch()}"]
    with registry.serving(real.folder) as address:
        given = {
            "name": "ollama",
            "sources": [f"http://{address}/{entry['file']}"],
            "sha256": entry["sha256"],
            "dest": str(tmp_path),
            "extract": "tgz",
            "creates": str(tmp_path / "bin/ollama"),
        }
        arguments = normalise(given, get_artifact.ARGUMENTS)
        assert get_artifact.run(dict(arguments), Context())["changed"]
        assert not get_artifact.run(dict(arguments), Context())["changed"]
    assert (tmp_path / "bin/ollama").stat().st_mode & 0o777 == 0o755


def shape(value: Any) -> Any:
    """What kind of JSON this is: keys and types, without the values."""
    if isinstance(value, dict):
        return {key: shape(item) for key, item in sorted(value.items())}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return "number" if isinstance(value, (int, float)) else type(value).__name__


def lines(url: str, path: str, body: dict[str, Any]) -> list[dict[str, Any]]:
    """The streamed lines of an answer, each kind once, digests left out."""
    answer = requests.post(f"{url}{path}", json=body, stream=True, timeout=60)
    assert answer.headers["Content-Type"] == "application/x-ndjson"
    found: list[dict[str, Any]] = []
    for line in map(json.loads, answer.iter_lines()):
        status = line.get("status", "")
        kind = {**shape(line), "status": "pulling" if "digest" in line else status}
        kind.pop("completed", None)  # Ollama leaves it out as long as it is 0
        if kind not in found:
            found.append(kind)
    return found


def test_the_stand_in_pulls_and_answers_in_the_same_shapes(
    ollama: str, standin: str, tiny: str
) -> None:
    ensure(ollama, tiny, state="absent")
    ensure(standin, tiny, state="absent")
    pull = {"model": tiny, "insecure": True}
    assert lines(standin, "/api/pull", pull) == lines(ollama, "/api/pull", pull)
    for path in ("/api/tags", "/api/version"):
        real, ours = (requests.get(f"{url}{path}", timeout=10) for url in (ollama, standin))
        assert ours.headers["Content-Type"] == real.headers["Content-Type"]
        assert shape(ours.json()) == shape(real.json())
    prompt = {"model": tiny, "prompt": "hello", "stream": False, "options": {"num_predict": 2}}
    real, ours = (
        requests.post(f"{url}/api/generate", json=prompt, timeout=60).json()
        for url in (ollama, standin)
    )
    assert {**shape(ours), "context": []} == {**shape(real), "context": []}
    real, ours = (
        requests.post(f"{url}/api/show", json={"model": tiny}, timeout=10).json()
        for url in (ollama, standin)
    )
    assert ours.keys() <= real.keys()
    assert shape(ours["details"]) == shape(real["details"])


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/", None),
        ("GET", "/nope", None),
        ("GET", "/api/pull", None),
        ("POST", "/api/pull", {"model": "bad//name"}),
        ("POST", "/api/show", {"model": "nosuch"}),
        ("POST", "/api/generate", {"model": "nosuch", "prompt": "x"}),
        ("DELETE", "/api/delete", {"model": "nosuch"}),
    ],
)
def test_the_stand_in_refuses_in_the_same_words(
    ollama: str, standin: str, method: str, path: str, body: dict[str, Any] | None
) -> None:
    real, ours = (
        requests.request(method, f"{url}{path}", json=body, timeout=10) for url in (ollama, standin)
    )
    assert (ours.status_code, ours.text) == (real.status_code, real.text)


def test_an_unknown_model_is_the_same_to_the_stand_in(ollama: str, standin: str, tiny: str) -> None:
    unknown = {"model": tiny.replace("tiny", "nosuch"), "insecure": True}
    for body in (unknown, {**unknown, "stream": False}):
        real, ours = (
            requests.post(f"{url}/api/pull", json=body, timeout=10) for url in (ollama, standin)
        )
        assert ours.status_code == real.status_code
        assert [json.loads(each) for each in ours.text.splitlines()] == [
            json.loads(each) for each in real.text.splitlines()
        ]


@pytest.fixture
def asked(ollama: str, tiny: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a model of the real Ollama, which the SDK is to ask."""
    ensure(ollama, tiny)
    monkeypatch.setattr(inference, "_client", None)
    inference.configure(host="127.0.0.1", port=PORT)
    return tiny


MESSAGES = [{"role": "user", "content": "Hello!"}]
FEW: dict[str, Any] = {"num_predict": 4, "seed": 1, "temperature": 0}


def test_the_sdk_chats(asked: str) -> None:
    result = inference.chat(model=asked, messages=MESSAGES, options=FEW)
    assert (result.model, result.role, result.done_reason) == (asked, "assistant", "length")
    assert result.usage.output_tokens == 4 and result.usage.seconds > 0
    parts = list(inference.stream_chat(asked, MESSAGES, options=FEW))
    assert "".join(part.content for part in parts) == result.content
    assert [part.done for part in parts] == [False] * (len(parts) - 1) + [True]


def test_the_sdk_generates_embeds_and_lists(asked: str) -> None:
    result = inference.generate(model=asked, prompt="Once upon a time", options=FEW)
    assert result.usage.prompt_tokens > 0 and result.done
    parts = list(inference.stream_generate(asked, "Once upon a time", options=FEW))
    assert "".join(part.content for part in parts) == result.content
    one = inference.embed(model=asked, input="Hello world").embedding
    two = inference.embed(model=asked, input=["Hello world", "Goodbye"]).embeddings
    assert len(two) == 2 and len(one) == len(two[0]) > 0
    assert [(model.name, model.size > 0) for model in inference.list_models()] == [(asked, True)]


def test_the_sdk_for_asyncio(asked: str) -> None:
    async def both() -> tuple[Any, list[Any], Any, Any]:
        chat, generated = await asyncio.gather(
            inference.achat(asked, MESSAGES, options=FEW),
            inference.agenerate(asked, "Once", options=FEW),
        )
        parts = [part async for part in inference.astream_chat(asked, MESSAGES, options=FEW)]
        return chat, parts, generated, await inference.aembed(asked, "Hello world")

    chat, parts, generated, embedded = asyncio.run(both())
    assert "".join(part.content for part in parts) == chat.content
    assert generated.done and len(embedded.embedding) > 0
    assert asyncio.run(inference.alist_models()) == inference.list_models()


def test_the_sdk_says_what_is_wrong(asked: str) -> None:
    with pytest.raises(inference.ModelNotFound, match="pull"):
        inference.chat("nosuch", MESSAGES)
    with pytest.raises(inference.ModelNotFound):
        list(inference.stream_generate("nosuch", "Once"))
    with pytest.raises(inference.Refused, match="HTTP 400"):
        inference.chat(asked, [{"role": 7}])
