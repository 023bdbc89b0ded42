"""Where a host takes a file from, in the order that its inventory says."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from provisioner.artifacts import vendor
from provisioner.artifacts.lock import Entry, lock_of
from provisioner.remote.module import CONTROLLER

_ARCHIVES = {".tgz": "tgz", ".tar.gz": "tar.gz", ".tar.zst": "tar.zst", ".tar": "tar"}


def wanted(
    name: str, version: str, arch: str, settings: Mapping[str, Any], sha256: str | None = None
) -> Entry | None:
    """The entry of a file: with the hash that the inventory gives, else out of its locks.

    `settings` are the inventory's `artifacts`. None when no hash is known.
    """
    found = lock_of(settings.get("lock")).find(name, version, arch)
    if not sha256 or (found and found.sha256 == sha256.lower()):
        return found
    return vendor.entry(name, version, arch, sha256.lower(), url=found.url if found else "")


def artifact(
    name: str,
    version: str,
    machine: str,
    settings: Mapping[str, Any],
    sha256: str | None = None,
    mirror: str | None = None,
) -> dict[str, Any]:
    """The filter `artifact`: what `get_artifact` is to be told of a file.

    `machine` is the host's architecture as uname has it; `mirror` is asked before the inventory's.
    `sha256` is None in the result when no hash is known.
    """
    arch = vendor.ARCHITECTURES.get(machine, machine)
    entry = wanted(name, version, arch, settings, sha256)
    if entry is None:
        url = vendor.vendor_url(name, version, arch)
        return {"sha256": None, "url": url, "file": Entry(name, version, arch, url, "").path}
    push = settings.get("push_dir")
    return {
        "sha256": entry.sha256,
        "size": entry.size,
        "url": entry.url,
        "file": entry.path,
        "kind": _kind(entry.path),
        "sources": _sources(entry, settings, mirror),
        "push": str(Path(push) / entry.path) if push else "",
    }


def _sources(entry: Entry, settings: Mapping[str, Any], mirror: str | None) -> list[str]:
    mirrors = [each for each in (mirror, settings.get("mirror")) if each]
    places = {
        "dir": [f"{settings['dir']}/{entry.path}"] if settings.get("dir") else [],
        "mirror": [on_mirror(each, entry) for each in mirrors],
        "push": [CONTROLLER] if settings.get("push_dir") else [],
        "vendor": [entry.url],
    }
    return [source for place in settings["order"] for source in places[place]]


def on_mirror(mirror: str, entry: Entry) -> str:
    """The URL of a file on a mirror."""
    return f"{mirror.rstrip('/')}/{quote(entry.path)}"


def _kind(path: str) -> str:
    """How an archive of that name is packed; `none` when it is no archive."""
    suffix = re.search(r"(\.tar)?\.[a-z]+$", path)
    return _ARCHIVES.get(suffix[0], "none") if suffix else "none"
