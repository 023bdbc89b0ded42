"""The program of a run, compiled, is left for the next one, which then starts the faster."""

from __future__ import annotations

import contextlib
import glob
import marshal
import os
from typing import Protocol


class Program(Protocol):
    """What the loader knows. `codes` maps a module's name to whether it is a package, and its
    code; `kept` is the file for them; `is_new` tells that something had to be compiled."""

    kept: str
    codes: dict[str, tuple[bool, object]]
    is_new: bool


def keep(program: Program) -> None:
    """Leave what is compiled in a file for the own user alone, instead of those of other versions.

    Where there is no room for it, it is left out.
    """
    if not program.is_new:
        return
    half = f"{program.kept}.{os.getpid()}"
    with contextlib.suppress(OSError):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(half)
        descriptor = os.open(half, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with open(descriptor, "wb") as file:
                marshal.dump(program.codes, file)
            os.replace(half, program.kept)
        except OSError:
            os.unlink(half)
            return
        folder = os.path.dirname(program.kept)
        for other in glob.glob(os.path.join(folder, "runner-*")):
            if other != program.kept:
                os.unlink(other)
