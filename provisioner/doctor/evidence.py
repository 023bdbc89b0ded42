"""What was seen of each host, as the playbook doctor.yaml has it, with words for what it means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Json = Mapping[str, Any]
CONTROLLER = "controller"
TELLING_LINES = 3  # of a journal, in a finding


@dataclass(frozen=True)
class Host:
    """A host: what it showed (`seen`), or why it could not be asked (`reason`).

    `settings` are its variables of the inventory.
    """

    name: str
    seen: Json = field(default_factory=dict)
    reason: str = ""
    advice: str = ""
    settings: Json = field(default_factory=dict)

    @property
    def answered(self) -> bool:
        return bool(self.seen)

    def unit(self, name: str) -> Json:
        """A unit's state and journal; empty where it was not asked about."""
        found: Json = self.seen.get("here", {}).get("units", {}).get(name, {})
        return found

    def runs(self, name: str) -> bool:
        return self.unit(name).get("ActiveState") == "active"

    def is_installed(self, name: str) -> bool:
        return self.unit(name).get("LoadState") not in (None, "", "not-found")

    def port_holders(self, port: int) -> list[Json]:
        return [each for each in self.seen.get("here", {}).get("ports", ()) if each["port"] == port]

    @property
    def skew(self) -> float | None:
        """Seconds by which its clock is before ours; None where that was not seen."""
        there, here = self.seen.get("here", {}).get("time"), self.seen.get("asked_at")
        return float(there) - float(here) if there and here else None

    @property
    def pool(self) -> str:
        return str(self.settings.get("pool") or "")

    def part(self, name: str) -> Json:
        """A section of its settings."""
        found = self.settings.get(name)
        return found if isinstance(found, Mapping) else {}

    @property
    def has_own_k3s(self) -> bool:
        """Whether the gateway is to reach a k3s of this worker."""
        return bool(self.part("k3s").get("enabled")) and self.part("k3s").get("mode") != "join"

    @property
    def agent(self) -> Json:
        found: Json = self.seen.get("agent") or {}
        return found

    @property
    def forward(self) -> Json:
        """What came of asking the gateway's API through the tunnel."""
        found: Json = self.seen.get("forward") or {}
        return found

    def tunnel_lines(self) -> list[str]:
        """What the tunnel's ssh said last."""
        said = next(iter(self.seen.get("tunnel", ())), "")
        lines = [*str(said).splitlines(), *reversed(self.unit("b9-tunnel").get("journal", ()))]
        return [line.strip() for line in lines if line.strip()]


@dataclass(frozen=True)
class Fleet:
    """The workers, the gateway's hosts, the one that is tried first in front, and `gateway.api` of
    the inventory."""

    workers: tuple[Host, ...]
    gateways: tuple[Host, ...]
    api: str = ""

    def gateway_of(self, worker: Host) -> Host | None:
        """The gateway host that the worker's tunnel is at, or tries."""
        parts = [*worker.seen.get("tunnel", ()), "", "", ""]
        name = str(parts[2]).strip()
        named = [each for each in self.gateways if each.name == name]
        return next(iter([*named, *self.gateways]), None)

    def slot(self, worker: Host) -> Json:
        """The worker's place on its gateway host; empty for none."""
        gateway = self.gateway_of(worker)
        places = gateway.seen.get("slots", ()) if gateway else ()
        found: Json = next((each for each in places if each["name"] == worker.name), {})
        return found

    def peer(self, worker: Host) -> Json:
        """Who answered at the worker's address there."""
        gateway = self.gateway_of(worker)
        peers = gateway.seen.get("peers", ()) if gateway else ()
        found: Json = next((each for each in peers if each["item"]["name"] == worker.name), {})
        return found

    def listed(self, pool: str) -> Json | None:
        """The gateway's answer to a list of the pool's machines, the first that there is."""
        answers = (each for host in self.gateways for each in host.seen.get("listed", ()))
        return next((each for each in answers if each.get("item") == pool), None)

    def machine(self, worker: Host) -> Json | None:
        """The worker's record at the gateway: None where nobody could ask, empty for none."""
        answer = self.listed(worker.pool)
        if not answer or answer.get("status") != 200 or not _json(answer).get("ok"):
            return None
        wanted = worker.agent.get("machine_id") or worker.settings.get("machine_id")
        machines = _json(answer).get("machines") or []
        return next((each for each in machines if each.get("id") == wanted), {})


def _json(answer: Json) -> Json:
    found = answer.get("json")
    return found if isinstance(found, Mapping) else {}


def telling(host: Host, unit: str) -> list[str]:
    """A unit's state in a line, and the last of its journal."""
    known = host.unit(unit)
    state = f"{unit}: {known.get('ActiveState') or 'unknown'} ({known.get('SubState') or '-'})"
    if known.get("Result") not in (None, "", "success"):
        state += f", {known['Result']}"
    if str(known.get("NRestarts") or "0") not in ("0", ""):
        state += f", restarted {known['NRestarts']} times"
    journal = known.get("journal", ())
    return [state, *(f"{unit}: {line}" for line in list(journal)[-TELLING_LINES:])]
