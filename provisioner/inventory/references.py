"""Secrets by reference: `!env NAME`, `!file PATH`, `!command [argv…]`."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from provisioner.errors import Problem, Source
from provisioner.secrets import Secret
from provisioner.yamlsource import TagHandler

COMMAND_SECONDS = 30.0


class Unresolved(Secret):
    """Stands for a secret that could not be had, whose problem is already on the list."""

    __slots__ = ()


class _Failed(Exception):
    def __init__(self, message: str, advice: str = "") -> None:
        self.problem = message, advice


class References:
    """Resolves the tags of one file, once each, and collects what went wrong."""

    def __init__(self, directory: Path, command_seconds: float = COMMAND_SECONDS) -> None:
        self.problems: list[Problem] = []
        self.tags: dict[str, TagHandler] = {
            "!env": self._handler(_from_env),
            "!file": self._handler(lambda value: _from_file(value, directory)),
            "!command": self._handler(
                lambda value: _from_command(value, directory, command_seconds)
            ),
        }

    def _handler(self, resolve: Callable[[Any], str]) -> TagHandler:
        seen: dict[str, Secret] = {}

        def handle(value: Any, where: Source) -> Secret:
            key = repr(value)
            if key in seen:
                return seen[key]
            try:
                seen[key] = Secret(resolve(value))
            except _Failed as failure:
                self.problems.append(Problem(failure.problem[0], where, failure.problem[1]))
                seen[key] = Unresolved("")
            return seen[key]

        return handle


def _from_env(name: Any) -> str:
    if not isinstance(name, str) or not name:
        raise _Failed("!env needs the name of a variable", "write !env NAME")
    if name not in os.environ:
        raise _Failed(f"environment variable {name} is not set", f"export {name}=…")
    if not os.environ[name]:
        raise _Failed(f"environment variable {name} is empty", f"export {name}=…")
    return os.environ[name]


def _from_file(name: Any, directory: Path) -> str:
    if not isinstance(name, str) or not name:
        raise _Failed("!file needs a path", "write !file PATH")
    path = directory / Path(name).expanduser()
    try:
        text = path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        raise _Failed(
            f"no such secret file: {path}", "make it, readable by you alone (chmod 600)"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise _Failed(f"can't read secret file {path}: {_reason(error)}") from None
    if not text:
        raise _Failed(f"secret file {path} is empty")
    return text


def _from_command(argv: Any, directory: Path, seconds: float) -> str:
    if not isinstance(argv, list) or not argv or not all(isinstance(a, str) for a in argv):
        raise _Failed(
            "!command needs a list of words", "write !command [PROGRAM, ARGUMENT, …]; no shell"
        )
    try:
        # its own session, so that at the deadline its children end with it
        process = subprocess.Popen(
            argv,
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as error:
        raise _Failed(f"can't run {argv[0]}: {_reason(error)}") from None
    with process:
        try:
            out, err = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            _end_group(process)
            raise _Failed(f"{argv[0]} gave no answer in {seconds:g} s") from None
        except BaseException:
            _end_group(process)
            raise
    if process.returncode:
        last = err.decode(errors="replace").strip().splitlines()[-1:]
        raise _Failed(f"{argv[0]} ended with {process.returncode}", ": ".join(["it said", *last]))
    text = out.decode(errors="replace").strip()
    if not text:
        raise _Failed(f"{argv[0]} printed nothing")
    return text


def _end_group(process: subprocess.Popen[bytes]) -> None:
    if process.returncode is None:  # else its id may be another's by now
        os.killpg(process.pid, signal.SIGKILL)


def _reason(error: OSError | UnicodeDecodeError) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
