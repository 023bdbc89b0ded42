"""Runs `b9prov` on the lab's hosts as a user would, in processes of its own."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import yaml

from provisioner.lab import Lab

Json = dict[str, Any]
Found = TypeVar("Found")

RUN_SECONDS = 120.0
POLL_SECONDS = 0.1
# Keepalives this often, so that the tests need not wait for a minute to see the next.
KEEPALIVE_SECONDS = 5
_TOKEN = "@admin token@"


@dataclass(frozen=True)
class Ran:
    """A `b9prov` that has ended."""

    code: int
    out: str
    err: str
    seconds: float

    @property
    def text(self) -> str:
        """All that the user saw."""
        return self.out + self.err

    @property
    def events(self) -> list[Json]:
        """The JSON lines."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def summary(self) -> dict[str, Json]:
        """Each host's counts, from the last line."""
        last = self.events[-1]
        assert (last["schema"], last["event"]) == (1, "summary"), last
        hosts: dict[str, Json] = last["hosts"]
        return hosts

    def end(self, host: str) -> Json:
        """How the run ended for one host: end, reason, advice."""
        (finished,) = self.of("run_finished")
        result: Json = finished["hosts"][host]
        return result

    def of(self, event: str, **wanted: Any) -> list[Json]:
        """The events of that kind and with these fields."""
        return [each for each in self.events if _fits(each, event, wanted)]

    def changed(self) -> dict[str, int]:
        """How many tasks changed something on each host."""
        return {name: counts["changed"] for name, counts in self.summary.items()}


def _fits(each: Json, event: str, wanted: Mapping[str, Any]) -> bool:
    return each["event"] == event and all(each.get(k) == v for k, v in wanted.items())


class Running:
    """A `b9prov` at work, whose JSON lines are read as they come."""

    def __init__(self, argv: list[str], env: Mapping[str, str]) -> None:
        self._begun = time.monotonic()
        self.process = subprocess.Popen(
            argv,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._lines: list[str] = []
        self._errors: list[str] = []
        self._news = threading.Condition()
        streams = ((self.process.stdout, self._lines), (self.process.stderr, self._errors))
        self._readers = [
            threading.Thread(target=self._read, args=pair, daemon=True) for pair in streams
        ]
        for reader in self._readers:
            reader.start()

    def wait_for(self, event: str, count: int = 1, seconds: float = 60, **wanted: Any) -> Json:
        """The `count`-th event of that kind and with these fields, awaited."""
        found: list[Json] = []

        def arrived() -> bool:
            events = [json.loads(line) for line in self._lines]
            found[:] = [each for each in events if _fits(each, event, wanted)]
            return len(found) >= count or not self._readers[0].is_alive()

        with self._news:
            self._news.wait_for(arrived, seconds)
        assert len(found) >= count, f"no {event} {wanted}: {self.shown()}"
        return found[count - 1]

    def wait_for_line(self, pattern: str, seconds: float = 60) -> None:
        """Wait until a line of stdout fits."""
        expression = re.compile(pattern)

        def said() -> bool:
            return any(map(expression.search, self._lines))

        with self._news:
            self._news.wait_for(lambda: said() or not self._readers[0].is_alive(), seconds)
        assert said(), f"no line {pattern}: {self.shown()}"

    def kill(self) -> None:
        """SIGKILL, and wait for the end."""
        self.process.kill()
        self.process.wait(10)

    def interrupt(self) -> None:
        """Ctrl-C."""
        self.process.send_signal(signal.SIGINT)

    def end(self, seconds: float = RUN_SECONDS) -> Ran:
        """Wait until it ends by itself; one that hangs is killed and fails the test."""
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"hangs after {seconds:.0f} s: {self.shown()}") from None
        took = time.monotonic() - self._begun
        for reader in self._readers:
            reader.join(10)
        return Ran(self.process.returncode, "".join(self._lines), "".join(self._errors), took)

    def shown(self) -> str:
        """The last that it said."""
        return "".join([*self._lines[-3:], *self._errors[-5:]])

    def _read(self, stream: Any, lines: list[str]) -> None:
        for line in stream:
            with self._news:
                lines.append(line)
                self._news.notify_all()
        with self._news:
            self._news.notify_all()


@dataclass(frozen=True)
class Driver:
    """A controller with a home of its own, for the hosts of one lab."""

    lab: Lab
    home: Path
    extra: Json = field(
        default_factory=lambda: {"agent": {"keepalive_interval": KEEPALIVE_SECONDS}}
    )

    @property
    def env(self) -> dict[str, str]:
        """No terminal, no ssh agent, nothing of the user's."""
        kept = {
            k: v
            for k, v in os.environ.items()
            if not k.startswith(("SSH_", "B9", "XDG_", "GITHUB_"))
        }
        return {**kept, "HOME": str(self.home), "TERM": "dumb", "NO_COLOR": "1"}

    @property
    def state(self) -> Path:
        """Where this controller keeps what must not be lost."""
        return self.home / ".local" / "state" / "b9prov"

    def inventory(self, edit: Callable[[Json], Any] = lambda data: None) -> Path:
        """The lab's inventory, with changes, in a file of its own."""
        text = self.lab.inventory_path.read_text().replace("!file admin_token", f'"{_TOKEN}"')
        data = yaml.safe_load(text)
        data["defaults"].update(self.extra)
        edit(data)
        reference = f"!file {self.lab.admin_token_path}"
        path = self.home / "inventory.yaml"
        dumped = yaml.safe_dump(data, sort_keys=False)
        path.write_text(dumped.replace(f"'{_TOKEN}'", reference))
        return path

    def start(self, command: str, *words: str, inventory: Path | None = None) -> Running:
        """`b9prov COMMAND INVENTORY …` with JSON lines, at work."""
        path = inventory or self.inventory()
        output = () if "--output" in words else ("--output", "json")
        program = str(Path(sys.executable).with_name("b9prov"))
        return Running([program, command, str(path), *output, *words], self.env)

    def run(
        self,
        command: str,
        *words: str,
        inventory: Path | None = None,
        seconds: float = RUN_SECONDS,
    ) -> Ran:
        """`b9prov COMMAND INVENTORY …`, ended."""
        return self.start(command, *words, inventory=inventory).end(seconds)

    def up(self, *words: str, inventory: Path | None = None) -> Ran:
        """`b9prov up` that is expected to go well."""
        ran = self.run("up", *words, inventory=inventory)
        assert ran.code == 0, tail(ran)
        return ran


def tail(ran: Ran) -> str:
    """What to show of a run that did not end as expected."""
    return f"exit code {ran.code}\n{ran.err[-2000:]}\n{ran.out[-3000:]}"


def wait_until(probe: Callable[[], Found], seconds: float, what: str) -> Found:
    """The first true answer of `probe`; connections that fail meanwhile are no answer."""
    give_up = time.monotonic() + seconds
    while True:
        seen: object
        try:
            seen = answer = probe()
            if answer:
                return answer
        except OSError as error:
            seen = error
        assert time.monotonic() < give_up, f"not within {seconds:.0f} s: {what} ({seen!r})"
        time.sleep(POLL_SECONDS)
