"""What an account has, asked seldom: kept on this machine, and used stale when it is away."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from provisioner import paths, wholefile
from provisioner.clouds.box import Box, Cloud
from provisioner.clouds.errors import TOO_MANY, UNREACHABLE, CloudError
from provisioner.clouds.providers import open_cloud

_FORMAT = 1
_PATIENT, _IMPATIENT = 30.0, 10.0  # seconds for an answer, without and with an old one at hand


@dataclass(frozen=True)
class Listing:
    """The machines of an account as they were `age` seconds ago; `warning` says why they are old,
    where they should not be."""

    boxes: tuple[Box, ...]
    age: float
    warning: str = ""


def list_boxes(
    provider: str, settings: Mapping[str, Any], ttl: float, refresh: bool = False
) -> Listing:
    """The account's machines, kept for `ttl` seconds unless it is to `refresh`.

    When the provider gives no answer, what it last said will do, with a warning. Raises CloudError.
    """
    cloud = open_cloud(provider, settings)
    known = _read(_path(cloud, settings))
    if known and known.age <= ttl and not refresh:
        return known
    cloud = open_cloud(provider, settings, _PATIENT if known is None else _IMPATIENT)
    try:
        return keep(cloud, settings, cloud.boxes())
    except CloudError as error:
        if known is None or error.code not in (UNREACHABLE, TOO_MANY):
            raise
        ago = timedelta(seconds=int(known.age))
        return Listing(known.boxes, known.age, f"{error}; what it said {ago} ago is used")


def keep(cloud: Cloud, settings: Mapping[str, Any], boxes: list[Box]) -> Listing:
    """Remember what was just asked; where that can't be written, it is asked anew next time."""
    path = _path(cloud, settings)
    content = {"format": _FORMAT, "asked": time.time(), "boxes": [asdict(box) for box in boxes]}
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        wholefile.replace(path, json.dumps(content).encode(), 0o600)
    except OSError:
        pass
    return Listing(tuple(boxes), 0.0)


def _path(cloud: Cloud, settings: Mapping[str, Any]) -> Path:
    """Another account, or the same elsewhere, is another listing."""
    place = hashlib.sha256(f"{cloud.account} {settings.get('api')}".encode()).hexdigest()[:16]
    return paths.cache_dir() / "clouds" / f"{cloud.provider}-{place}.json"


def _read(path: Path) -> Listing | None:
    """What is kept; None when it is not there, no longer understood, or not ours."""
    try:
        with path.open(encoding="utf-8") as file:
            if os.fstat(file.fileno()).st_uid != os.geteuid():
                return None
            content = json.load(file)
        age = time.time() - float(content["asked"])
        if content["format"] != _FORMAT or age < 0:
            return None
        return Listing(tuple(Box(**each) for each in content["boxes"]), age)
    except (OSError, ValueError, TypeError, KeyError):
        return None
