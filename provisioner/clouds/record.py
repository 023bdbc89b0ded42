"""What was launched from this machine, so that what a killed `box up` began is found again.

A machine is written down before it is ordered. The file holds no secrets: of host keys the public
halves, of logins nothing.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from provisioner import paths, wholefile
from provisioner.errors import BadInput

ORDERED, LAUNCHED, REACHED, READY = "ordered", "launched", "reached", "ready"
"""How far it is: perhaps there; there, with an id; its host key is its own; a ready worker."""
LOST = "lost"  # it was there, and its provider has it no more
_FORMAT = 1
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


@dataclass(frozen=True)
class Launched:
    """A machine that was launched from here. `ordered_at` is in Unix seconds, `host_keys` are the
    public keys that it may show, `price` dollars per hour."""

    name: str
    provider: str
    type: str
    region: str
    inventory: str
    mark: str
    ordered_at: float
    host_keys: tuple[str, ...]
    login_key: str
    id: str | None = None
    price: float | None = None
    step: str = ORDERED
    api: str | None = None

    def at(self, step: str) -> Launched:
        """The same, so far."""
        return replace(self, step=step)


class Records:
    """The file, read and written whole under a lock."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or paths.state_dir() / "boxes.json"

    def all(self) -> dict[str, Launched]:
        """By name. Raises BadInput when the file can't be understood: it tells what costs money."""
        try:
            content = json.loads(self.path.read_text("utf-8"))
            if content["format"] != _FORMAT:
                raise ValueError
            return {each["name"]: _launched(each) for each in content["boxes"]}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, TypeError, KeyError):
            advice = "look at the provider's console for what still runs, then move the file away"
            raise BadInput.of(f"can't understand {self.path}", advice=advice) from None

    def put(self, launched: Launched) -> Launched:
        """Write it down, in the place of an earlier one of that name."""
        with self._locked():
            self._write(self.all() | {launched.name: launched})
        return launched

    def lose(self, name: str) -> None:
        """It was found to be no more."""
        if launched := self.all().get(name):
            self.put(launched.at(LOST))

    def drop(self, name: str) -> None:
        """Forget one."""
        with self._locked():
            self._write({key: each for key, each in self.all().items() if key != name})

    @contextmanager
    def held(self, names: list[str]) -> Iterator[None]:
        """Nobody else launches or ends machines of these names meanwhile. Raises BadInput."""
        for name in names:
            if not _NAME.fullmatch(name):
                advice = "letters, digits, '.', '_' and '-'"
                raise BadInput.of(f"{name!r} is no machine's name", advice=advice)
        folder = self.path.with_name("boxes.locks")
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptors = []
        try:
            for name in sorted(names):
                flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
                descriptors.append(os.open(folder / name, flags, 0o600))
                try:
                    fcntl.flock(descriptors[-1], fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    advice = "wait for it to end"
                    raise BadInput.of(f"another `b9prov box` is at {name}", advice=advice) from None
            yield
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with open(self.path.with_name(f".{self.path.name}.lock"), "w", encoding="ascii") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _write(self, boxes: dict[str, Launched]) -> None:
        content = {"format": _FORMAT, "boxes": [asdict(each) for each in boxes.values()]}
        wholefile.replace(self.path, json.dumps(content, indent=1).encode(), 0o600)


def _launched(data: dict[str, object]) -> Launched:
    keys = data["host_keys"]
    if not isinstance(keys, list):
        raise TypeError
    return Launched(**{**data, "host_keys": tuple(map(str, keys))})  # type: ignore[arg-type]
