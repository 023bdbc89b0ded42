"""The row about Ollama: whether it computes on the GPU, by what it has loaded and by its log."""

from __future__ import annotations

import http.client
import json
import re
import urllib.request
from typing import Any

from provisioner.remote.checks import ERROR, WARN, Checks
from provisioner.remote.nvidia.machine import Machine

TIMEOUT = 5.0  # seconds
_LIBRARY = re.compile(r'msg="inference compute".* library=(\S+)')
_NONE = "no compatible GPUs were discovered"
NAME = "Ollama on the GPU"


def rows(machine: Machine, checks: Checks, url: str) -> None:
    """Note where the Ollama at `url` computes; without one there is nothing to judge."""
    if not url:
        checks.skip(NAME, "the inventory wants no Ollama")
        return
    loaded = _loaded(url)
    if loaded is None:
        checks.skip(NAME, f"no Ollama answers at {url}")
    elif loaded:
        _by_models(checks, loaded)
    else:
        _by_log(machine, checks)


def _by_models(checks: Checks, loaded: list[dict[str, Any]]) -> None:
    shares = {str(model.get("name")): _share(model) for model in loaded}
    shown = ", ".join(f"{name}: {min(share, 1):.0%}" for name, share in sorted(shares.items()))
    if not all(shares.values()):
        fix = "restart Ollama, which looks for GPUs when it starts: systemctl restart ollama"
        checks.add(NAME, False, shown, "100% in the GPU's memory", fix, ERROR)
    else:
        fix = "load fewer or smaller models: what does not fit computes on the CPU"
        whole = min(shares.values()) >= 0.999
        checks.add(NAME, whole, shown, "100% in the GPU's memory", fix, WARN)


def _share(model: dict[str, Any]) -> float:
    return int(model.get("size_vram") or 0) / max(int(model.get("size") or 0), 1)


def _by_log(machine: Machine, checks: Checks) -> None:
    words = ("--unit=ollama", "--boot", "--quiet", "--no-pager", "--output=cat")
    lines = machine.ask("journalctl", *words, f"--grep=inference compute|{_NONE}").stdout
    told = [line for line in lines.splitlines() if _LIBRARY.search(line)]
    match = _LIBRARY.search(told[-1]) if told else None
    if match is None:
        checks.skip(NAME, "no model is loaded, and its log does not tell")
        return
    library = match[1].lower()
    fix = "restart Ollama, which looks for GPUs when it starts: systemctl restart ollama"
    found = f"no model is loaded; it found {library} when it started"
    checks.add(NAME, library.startswith("cuda"), found, "cuda", fix, ERROR)


def _loaded(url: str) -> list[dict[str, Any]] | None:
    """The models in memory; None when nobody answers."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{url}/api/ps", timeout=TIMEOUT) as answer:
            models = json.loads(answer.read())["models"]
        return [model for model in models or [] if isinstance(model, dict)]
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError):
        return None
