"""Which files an inventory's hosts need, and where the controller gets them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from provisioner.artifacts import vendor
from provisioner.artifacts.lock import Entry
from provisioner.artifacts.sources import on_mirror, wanted


@dataclass(frozen=True)
class Need:
    """A file, and the URLs to get it from, in this order; without an entry no hash is known."""

    name: str
    version: str
    arch: str
    entry: Entry | None
    sources: tuple[str, ...] = ()


def needs(hosts: Iterable[Mapping[str, Any]], architectures: Iterable[str]) -> list[Need]:
    """What hosts with these variables need, each once; images are left out, runtimes pull those."""
    found: dict[tuple[str, ...], Need] = {}
    for variables in hosts:
        for arch in architectures:
            for need in _of_host(variables, arch):
                key = (need.name, need.version, need.arch, need.entry.sha256 if need.entry else "")
                found.setdefault(key, need)
    return list(found.values())


def _of_host(variables: Mapping[str, Any], arch: str) -> Iterable[Need]:
    ollama, k3s, settings = (variables[key] for key in ("ollama", "k3s", "artifacts"))
    if ollama["enabled"]:
        own = [ollama["mirror"]] if ollama["mirror"] else []
        yield _need("ollama", ollama["version"], arch, settings, ollama["sha256"], own)
    if k3s["enabled"] and k3s["mode"] != "existing":
        yield _need("k3s", k3s["version"], arch, settings, k3s["sha256"], [])
        if k3s["airgap"]:
            yield _need("k3s-images", k3s["version"], arch, settings, None, [])


def _need(
    name: str,
    version: str,
    arch: str,
    settings: Mapping[str, Any],
    sha256: str | None,
    mirrors: list[str],
) -> Need:
    entry = wanted(name, version, arch, settings, sha256)
    if entry is None:
        return Need(name, version, arch, None, (vendor.vendor_url(name, version, arch),))
    mirrors = [*mirrors, *([settings["mirror"]] if settings["mirror"] else [])]
    return Need(name, version, arch, entry, (*(on_mirror(m, entry) for m in mirrors), entry.url))
