"""Plans: what a run in check mode predicted, to be carried out later if it still holds.

A plan shows no secrets: of inputs and diffs it has only digests, under a key that takes long to
derive and that nobody can derive who doesn't have the inventory.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from provisioner.errors import BadInput
from provisioner.journal.files import write_private

SCHEMA = 1
_ROUNDS = 200_000  # of PBKDF2: a tenth of a second, a few times a plan
_KIND = "b9prov_plan"


@dataclass(frozen=True)
class Prediction:
    """What a task, or one item of its loop, is to come to. `diff` is the digest of its diff."""

    play: str
    task: str
    where: str
    status: str
    item: str | None = None
    diff: str = ""

    @property
    def title(self) -> str:
        """The task as a user knows it."""
        return self.task if self.item is None else f"{self.task} [{self.item}]"


@dataclass(frozen=True)
class HostPlan:
    """What the plan for a host rests on, and what it comes to."""

    facts: dict[str, Any]
    tasks: list[Prediction]


@dataclass(frozen=True)
class Plan:
    """`request` repeats the command; `digests` are those of playbook, inventory and variables."""

    version: str
    made: float  # Unix seconds
    request: dict[str, Any]
    salt: str
    digests: dict[str, str]
    hosts: dict[str, HostPlan] = field(default_factory=dict)

    @property
    def changes(self) -> int:
        """How many tasks would change something."""
        return sum(task.status == "changed" for host in self.hosts.values() for task in host.tasks)


class Seal:
    """Digests under a key that is derived from `salt` (hex) and an input, its secrets included."""

    def __init__(self, salt: str, source: bytes) -> None:
        self._key = hashlib.pbkdf2_hmac("sha256", source, bytes.fromhex(salt), _ROUNDS)

    def of(self, content: Any) -> str:
        """The digest of JSON-like content."""
        text = json.dumps(content, sort_keys=True, default=str)
        return hmac.new(self._key, text.encode(), "sha256").hexdigest()[:32]


def differences(planned: HostPlan, found: HostPlan) -> list[str]:
    """What is not as planned on a host, in words; nothing when all is."""
    told = [
        f"{name} is {found.facts.get(name)!r} and was {value!r}"
        for name, value in planned.facts.items()
        if found.facts.get(name) != value
    ]
    for before, now in zip(planned.tasks, found.tasks, strict=False):
        if (before.play, before.where, before.task, before.item) != (
            *(now.play, now.where, now.task, now.item),
        ):
            return [*told, f"task {now.title!r} comes where {before.title!r} was planned"]
        if before.status != now.status:
            told.append(
                f"task {now.title!r} would be {now.status!r}, planned was {before.status!r}"
            )
        elif before.diff != now.diff:
            told.append(f"task {now.title!r} would change something else than was planned")
    if len(found.tasks) != len(planned.tasks):
        told.append(f"there are {len(found.tasks)} tasks, planned were {len(planned.tasks)}")
    return told


def save_plan(path: Path, plan: Plan) -> None:
    """Write it so that only its owner can read it. Raises OSError."""
    write_private(path, json.dumps({_KIND: SCHEMA, **asdict(plan)}, indent=1) + "\n")


def load_plan(path: Path) -> Plan:
    """The plan of a file. Raises BadInput."""
    try:
        content = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise BadInput.of(f"{path}: {error.strerror}") from None
    except ValueError:
        content = None
    if not isinstance(content, Mapping) or _KIND not in content:
        raise BadInput.of(f"{path} is no plan", advice="`b9prov plan -o FILE` makes one")
    if content[_KIND] != SCHEMA:
        version = content[_KIND]
        raise BadInput.of(
            f"{path} is a plan of version {version}, not {SCHEMA}", advice="plan anew"
        )
    try:
        return _plan(content)
    except (TypeError, KeyError, AttributeError) as error:
        raise BadInput.of(f"{path} is a damaged plan: {error}", advice="plan anew") from None


def _plan(content: Mapping[str, Any]) -> Plan:
    hosts = {
        name: HostPlan(dict(host["facts"]), [Prediction(**task) for task in host["tasks"]])
        for name, host in content["hosts"].items()
    }
    rest = {each.name: content[each.name] for each in fields(Plan) if each.name != "hosts"}
    return Plan(**rest, hosts=hosts)
