"""The questions of `b9prov init`: asked, or answered by options, and tried at once."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import click

from provisioner.cli import probes
from provisioner.cli.failures import say
from provisioner.cli.newinventory import Answers, Place
from provisioner.cli.probes import Finding
from provisioner.inventory import Host, fields
from provisioner.inventory.fields import is_ip
from provisioner.inventory.schema import GatewaySettings
from provisioner.inventory.target import parse_target

TOKEN_VARIABLE = "B9_ADMIN_TOKEN"  # noqa: S105 (its name)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_TOKEN_LENGTH = 40  # from which on a word is more likely a token than a name
_GPU: dict[str, bool | str] = {"true": True, "false": False, "auto": "auto"}
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Given:
    """The options of the command."""

    hosts: tuple[str, ...] = ()
    user: str | None = None
    identity_file: str | None = None
    gateway_host: str | None = None
    token: str | None = None
    pool: str | None = None
    gpu: str | None = None
    keep: bool = False
    no_test: bool = False
    host_keys: str = "strict"


class NothingKept(Exception):
    """An answer failed its test, and nobody wants to keep it."""


class Again(Exception):
    """The user wants to answer anew; the text says what is wrong, if it was not said."""


class Questions:
    """Asks on the terminal, if there is one; paths are relative to `folder`."""

    def __init__(self, given: Given, is_terminal: bool, folder: Path) -> None:
        self._given, self._is_terminal, self._folder = given, is_terminal, folder
        self._answers = Answers()
        self._gpus: list[int] = []  # of the hosts of which it is known
        self._api = str(GatewaySettings.keys["api"].default)

    def ask(self) -> Answers:
        """All questions in turn. Raises BadInput, NothingKept."""
        given, answers = self._given, self._answers
        answers.user = self._question(
            "SSH user of the hosts (empty: as ssh_config says)", given.user, "", _word
        )
        answers.identity_file = self._question(
            "Private key (empty: the agent's, or the default keys)", given.identity_file, "",
            self._key,
        )  # fmt: skip
        # what it says of token and pool can be tried when the way there is known
        answers.gateway = self._question(
            "Gateway host, [USER@]ADDRESS[:PORT]", given.gateway_host, None, self._gateway
        )
        answers.token = self._question(
            "Variable, or file, with the cluster admin's token", given.token, TOKEN_VARIABLE,
            self._token,
        )  # fmt: skip
        answers.pool = self._question("Worker pool", given.pool, "gpu", self._pool)
        self._hosts()
        seen = "auto" if 0 in self._gpus and any(self._gpus) else str(any(self._gpus)).lower()
        default = seen if self._gpus else "true"
        answers.gpu = self._question(
            "Are healthy GPUs wanted: true, false or auto (either)", given.gpu, default, _gpu
        )
        return answers

    def _question(
        self, text: str, given: str | None, default: str | None, judge: Callable[[str], Answer]
    ) -> Answer:
        """The answer as `judge` has it, which may say Again; an option's is asked for only then."""
        while True:
            if given is None and not self._is_terminal:
                given = default or ""
            shown = default or ""
            answer = given if given is not None else self._prompt(text, default, shown)
            try:
                return judge(answer.strip())
            except Again as problem:
                if not self._is_terminal:
                    raise NothingKept(f"{text}: {problem or 'see above'}") from None
                if str(problem):
                    say(str(problem))
                given = None

    def _prompt(self, text: str, default: str | None, shown: str) -> str:
        answer: str = click.prompt(text, default=default, show_default=bool(shown), err=True)
        return answer

    def _key(self, answer: str) -> str | None:
        if not answer:
            return None
        path = (self._folder / Path(answer).expanduser()).resolve()
        if path.suffix == ".pub":
            raise Again(f"{path} is the public half; name the private one, {path.stem}")
        if not path.is_file():  # an inventory that names it would not be taken
            raise Again(f"there is no file {path}")
        return str(path)

    def _gateway(self, answer: str) -> Place:
        place, host = self._place(answer, "gateway")
        if not self._given.no_test:
            host = self._trusted(place, host)
            self._settle(probes.gateway_host(host, self._api, None, None))
        return place

    def _token(self, answer: str) -> str:
        if "/" in answer or answer.startswith("~"):
            path = Path(answer).expanduser()
            if not (self._folder / path).is_file():
                self._settle([Finding("token", False, f"there is no file {path}")])
            reference = f"!file {path}"
        elif _VARIABLE.fullmatch(answer) and len(answer) < _TOKEN_LENGTH:
            reference = f"!env {answer}"
        else:
            raise Again("that is neither a variable's name nor a path; the token stays out of it")
        self._try_gateway(self._read(reference), None)
        self._answers.token = reference
        return reference

    def _pool(self, answer: str) -> str:
        pool = _word(answer)
        if pool is None:
            raise Again("a pool is needed")
        self._try_gateway(self._read(self._answers.token or ""), pool)
        return pool

    def _try_gateway(self, token: str | None, pool: str | None) -> None:
        place = self._answers.gateway
        if self._given.no_test or place is None or token is None:
            return
        findings = probes.gateway_host(self._host("gateway", place), self._api, token, pool)
        wanted = "pool" if pool else "token"
        self._settle([each for each in findings if each.what == wanted])

    def _read(self, reference: str) -> str | None:
        """The token that it refers to, to try it; None where it can't be had here."""
        kind, _, place = reference.partition(" ")
        if kind == "!env":
            if place not in os.environ and not self._given.no_test:
                say(f"  - token: {place} is not set here, so it is not tried")
            return os.environ.get(place)
        try:
            return (self._folder / place).read_text("utf-8").strip()
        except (OSError, ValueError):
            return None

    def _hosts(self) -> None:
        for target in self._given.hosts:
            self._question("Worker, [USER@]ADDRESS[:PORT]", target, None, self._worker)
        while self._is_terminal and not self._given.hosts:
            more = bool(self._answers.hosts)
            text = "Next worker (empty: that is all)" if more else "Worker, [USER@]ADDRESS[:PORT]"
            if not self._question(text, None, "" if more else None, self._worker):
                break

    def _worker(self, answer: str) -> bool:
        """Whether there was another one."""
        if not answer:
            return False
        hosts = self._answers.hosts
        place, host = self._place(answer, f"w{len(hosts) + 1}")
        if (place.address, place.port) in [(each.address, each.port) for each in hosts.values()]:
            raise Again(f"{answer} is among the workers already")
        if not self._given.no_test:
            host = self._trusted(place, host)
            findings, gpus = probes.worker(host)
            self._settle(findings)
            self._gpus += [] if gpus is None else [gpus]
        hosts[self._name(place)] = place
        return True

    def _name(self, place: Place) -> str:
        """A DNS name is its own name; others are w1, w2 and so on."""
        hosts = self._answers.hosts
        name = place.address
        if is_ip(name) or name in (*hosts, *fields.RESERVED_NAMES):
            numbers = range(len(hosts) + 1, 2 * len(hosts) + 2)
            name = next(f"w{number}" for number in numbers if f"w{number}" not in hosts)
        return name

    def _place(self, answer: str, name: str) -> tuple[Place, Host]:
        _, entry, problem = parse_target(answer, "")
        if problem:
            raise Again(problem.message)
        port = entry.get("port")
        # the hosts have the user of the defaults; the gateway has defaults of its own
        user = entry.get("user") or (self._answers.user if name == "gateway" else None)
        key = self._answers.identity_file if name == "gateway" else None
        place = Place(entry["address"], int(port) if port else None, user, key)
        return place, self._host(name, place)

    def _host(self, name: str, place: Place) -> Host:
        return Host(
            name,
            place.address,
            place.port or 22,
            place.user or self._answers.user,
            place.identity_file or self._answers.identity_file,
            place.host_key,
        )

    def _trusted(self, place: Place, host: Host) -> Host:
        """The host, with its key pinned if it is new and the user believes it."""
        key = probes.new_key(host)
        if key is None:
            return host
        believed = self._given.host_keys == "accept-new" or (
            self._is_terminal
            and click.confirm(f"  its key is new: {key}. Is it the right one?", err=True)
        )
        place.host_key = key if believed else None
        return self._host(host.name, place)

    def _settle(self, findings: list[Finding]) -> None:
        """Show what was found; what is wrong is kept if the user says so. Raises Again."""
        for each in findings:
            advice = f" ({each.advice})" if each.advice else ""
            say(f"  {'+' if each.ok else '!'} {each.what}: {each.found}{advice}")
        if all(each.ok for each in findings) or self._given.keep:
            return
        if not self._is_terminal:
            raise Again("its test failed; --keep keeps it")
        if not click.confirm("  Keep it anyway?", err=True):
            raise Again


def _word(answer: str) -> str | None:
    if not answer:
        return None
    try:
        return str(fields.WORD(answer))
    except fields.Unfit as problem:
        raise Again(f"{answer!r}: {problem.message}") from None


def _gpu(answer: str) -> bool | str:
    if answer not in _GPU:
        raise Again(f"{answer!r}: say true, false or auto")
    return _GPU[answer]
