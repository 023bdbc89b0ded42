"""A finding, and which findings are but the consequences of others."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from provisioner.codes import CODES

ERROR, NOTE = "error", "note"
"""A note is worth knowing, and nothing is wrong for it."""


@dataclass(frozen=True)
class Repair:
    """A command for root of a host that mends, or may mend, and can harm nothing."""

    host: str
    command: str


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong: where, what, by which evidence, why, and what mends it.

    `follows` is host and code of the cause that this one is a consequence of; None for a cause.
    """

    host: str
    code: str
    what: str
    cause: str
    fix: str
    evidence: tuple[str, ...] = ()
    severity: str = ERROR
    repairs: tuple[Repair, ...] = ()
    follows: tuple[str, str] | None = None

    @property
    def key(self) -> tuple[str, str]:
        return self.host, self.code

    @property
    def is_cause(self) -> bool:
        return self.follows is None and self.severity == ERROR


_UNREACHABLE = ("B9-SSH-DOWN", "B9-SSH-KEY", "B9-SSH-LOGIN", "B9-SUDO", "B9-PYTHON", "B9-LOST")
_GATEWAY_API = ("B9-GATEWAY-DOWN", "B9-GATEWAY-PORT", "B9-GATEWAY-SICK")
_TUNNEL = (
    "B9-TUNNEL-DOWN",
    "B9-TUNNEL-PATH",
    "B9-TUNNEL-HOSTKEY",
    "B9-TUNNEL-KEY",
    "B9-TUNNEL-REVOKED",
    "B9-TUNNEL-ADDRESS",
    "B9-PORT",
)
_AGENT = ("B9-AGENT-DOWN", "B9-AGENT-CRASH", "B9-AGENT-CONFIG")
_REFUSALS = ("B9-TOKEN-UNKNOWN", "B9-TOKEN-KIND", "B9-PAYLOAD", "B9-GATEWAY-ERROR")
_HOST = ("B9-NOT-INSTALLED", "B9-DISK")
_POOL = ("B9-POOL-UNKNOWN", "B9-POOL-LOCAL")

# By which causes, of the same host or of the gateway and its hosts, a finding is explained.
CAUSES: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(_TUNNEL, (*_HOST, *_UNREACHABLE, "B9-GATEWAY-HOST")),
    **dict.fromkeys(_AGENT, _HOST),
    **dict.fromkeys(_REFUSALS, (*_HOST, *_POOL)),
    "B9-TUNNEL-DOWN": (*_HOST, *_UNREACHABLE, "B9-GATEWAY-HOST", "B9-TUNNEL-ADDRESS"),
    "B9-GATEWAY-HOST": ("B9-DISK",),
    "B9-GATEWAY-DOWN": ("B9-DISK",),
    "B9-GATEWAY-SICK": ("B9-DISK",),
    "B9-K3S-DOWN": _HOST,
    "B9-OLLAMA-DOWN": _HOST,
    "B9-K3S-TOKEN": ("B9-K3S-DOWN", *_HOST),
    "B9-TUNNEL-BACK": (*_HOST, *_TUNNEL, *_UNREACHABLE, "B9-K3S-DOWN", "B9-GATEWAY-HOST"),
    "B9-EXPIRED": (*_HOST, *_GATEWAY_API, *_TUNNEL, *_AGENT, *_REFUSALS, *_POOL, *_UNREACHABLE),
}
CAUSES["B9-NOT-READY"] = (*CAUSES["B9-EXPIRED"], "B9-EXPIRED", "B9-GATEWAY-TSNET")


def ordered(findings: Iterable[Finding], gateways: Iterable[str]) -> list[Finding]:
    """Causes first, those of the gateway in front; what follows from them; notes."""
    found, shared = list(findings), set(gateways)
    causes = {each.key: _cause(each, found, shared) for each in found}
    marked = [replace(each, follows=_root(each, causes)) for each in found]
    place = {code: number for number, code in enumerate(CODES)}

    def rank(each: Finding) -> tuple[bool, bool, bool, int]:
        is_note, is_consequence = each.severity == NOTE, each.follows is not None
        return is_note, is_consequence, each.host not in shared, place[each.code]

    return sorted(marked, key=rank)


def _cause(finding: Finding, found: list[Finding], gateways: set[str]) -> tuple[str, str] | None:
    """The first finding that explains this one: of its host, or of one that all hosts need."""
    if finding.severity == NOTE or finding.follows:
        return finding.follows
    for code in CAUSES.get(finding.code, ()):
        for each in found:
            near = each.host == finding.host or each.host in gateways
            if near and each.code == code and each.key != finding.key and each.severity == ERROR:
                return each.key
    return None


def _root(
    finding: Finding, causes: dict[tuple[str, str], tuple[str, str] | None]
) -> tuple[str, str] | None:
    """The cause of its cause, and so on."""
    at, seen = causes[finding.key], {finding.key}
    while at is not None and at not in seen and causes.get(at) is not None:
        seen.add(at)
        at = causes[at]
    return at
