"""What is wrong with a worker's tunnel: its near end, the way, the far end, and the way back."""

from __future__ import annotations

import re
from collections.abc import Iterator

from provisioner.doctor.evidence import Fleet, Host, telling
from provisioner.doctor.findings import Finding, Repair

UNIT = "b9-tunnel"
_RESTART = f"systemctl reset-failed {UNIT}; systemctl restart {UNIT}"
# What ssh says, in the words of all its releases, and what it means.
_SAYS = (
    (
        "B9-TUNNEL-HOSTKEY",
        re.compile(r"Host key verification failed|HOST IDENTIFICATION HAS CHANGED|No \S+ host key"),
        "the tunnel does not believe the gateway host's key",
        "the gateway host has a new key since `up`, or somebody is in between",
        "check its key on its console, correct gateway.host_key, then b9prov up INVENTORY",
    ),
    (
        "B9-TUNNEL-KEY",
        re.compile(r"Permission denied|Too many authentication failures"),
        "the gateway host does not take the worker's key",
        "the key is not, or no longer, the one that is written down there",
        "b9prov up INVENTORY --limit {}",
    ),
    (
        "B9-TUNNEL-PATH",
        re.compile(
            r"Connection refused|timed out|No route to host|unreachable|Could not resolve|"
            r"Connection (?:to \S+ )?(?:closed|reset) by|not responding|kex_exchange_identification"
        ),
        "the worker does not reach the gateway host's sshd",
        "sshd is down there, a firewall drops it, or the address as seen from the worker is wrong",
        "on the worker: nc -vz GATEWAY 22; see gateway.tunnel_address and gateway.tunnel_port",
    ),
)


def findings(worker: Host, fleet: Fleet) -> Iterator[Finding]:
    """Of the tunnel's way there; or, where that is up, of the way back."""
    down = _down(worker, fleet)
    if down:
        yield down
    else:
        yield from _forward(worker, fleet)
        yield from _back(worker, fleet)


def is_up(worker: Host) -> bool:
    """Whether the tunnel's own ssh holds the port that leads to the gateway."""
    port = worker.part("tunnel").get("port")
    return any(each["unit"] == f"{UNIT}.service" for each in worker.port_holders(int(port or 0)))


def _down(worker: Host, fleet: Fleet) -> Finding | None:
    slot, lines = fleet.slot(worker), worker.tunnel_lines()
    gateway = fleet.gateway_of(worker)
    if slot.get("state") == "revoked":
        return _finding(
            worker,
            "B9-TUNNEL-REVOKED",
            "it was cut off from the gateway host",
            "somebody gave `b9prov gateway revoke`; the audit log says who",
            f"b9prov audit INVENTORY; if it was not meant: b9prov gateway restore INVENTORY "
            f"{worker.name}",
            (f"{gateway.name if gateway else 'gateway'}: {worker.name} is revoked", *lines[:2]),
        )
    if is_up(worker):
        return None
    if not worker.runs(UNIT):
        return _finding(
            worker,
            "B9-TUNNEL-DOWN",
            "the tunnel's unit does not run",
            "somebody stopped it, or it is not enabled and the host was booted",
            f"systemctl restart {UNIT}",
            tuple(telling(worker, UNIT)),
            _RESTART,
        )
    port = int(worker.part("tunnel").get("port") or 0)
    others = worker.port_holders(port)
    if others:
        holder = f"{others[0]['program'] or 'somebody'} ({others[0]['unit'] or 'no unit'})"
        return _finding(
            worker,
            "B9-PORT",
            f"port {port}, the tunnel's near end, is taken by {holder}",
            "another program listens there; what it answers is not the gateway's",
            "stop it, or set tunnel.port in the inventory and run b9prov up",
            tuple((_of_lines(lines, re.compile("in use")) or lines)[:2]),
        )
    return _at_far_end(worker, fleet) or _finding(
        worker,
        "B9-TUNNEL-DOWN",
        "the tunnel is not up",
        "ssh does not come through; its words are below",
        f"journalctl -u {UNIT}; systemctl restart {UNIT}",
        tuple(lines[:3] or telling(worker, UNIT)),
        _RESTART,
    )


def _at_far_end(worker: Host, fleet: Fleet) -> Finding | None:
    slot, lines = fleet.slot(worker), worker.tunnel_lines()
    gateway = fleet.gateway_of(worker)
    fix = f"b9prov up INVENTORY --limit {worker.name}"
    own_key = str([*worker.seen.get("tunnel", ()), "", "", "", ""][3]).strip()
    if gateway and gateway.answered:
        said = (f"{gateway.name}: {_place(worker, slot)}", *lines[:2])
        what = "the gateway host does not take the worker's key"
        if not slot:
            cause = "it has no place there: the gateway host was set up anew, or `down` was run"
            return _finding(worker, "B9-TUNNEL-KEY", what, cause, fix, said)
        if slot.get("state") == "no key":
            cause = "its line in /etc/b9prov/authorized_keys was taken out"
            return _finding(worker, "B9-TUNNEL-KEY", what, cause, fix, said)
        if own_key and slot.get("key") not in ("", own_key) and slot.get("state") == "ok":
            cause = f"another key is written down there than the worker's own {own_key}"
            return _finding(worker, "B9-TUNNEL-KEY", what, cause, fix, said)
    for code, pattern, what, cause, way_out in _SAYS:
        found = _of_lines(lines, pattern)
        if found:
            shown = tuple(found[:2])
            return _finding(worker, code, what, cause, way_out.format(worker.name), shown)
    return None


def _place(worker: Host, slot: object) -> str:
    if not isinstance(slot, dict) or not slot:
        return f"no place for {worker.name}"
    return f"{worker.name} has {slot['address']}, key {slot['key']}, state {slot['state']}"


def _forward(worker: Host, fleet: Fleet) -> Iterator[Finding]:
    """The tunnel is up, and yet no gateway answers, though it does on its own host."""
    gateway = fleet.gateway_of(worker)
    well_there = gateway and (gateway.seen.get("health") or {}).get("status") == 200
    if worker.forward.get("status") == 200 or not well_there:
        return
    leads = [*worker.seen.get("tunnel", ()), "", ""][1]
    port = worker.part("tunnel").get("port")
    match = re.search(rf"-L \S*:{port}:(\S+)", str(leads))
    leads_to = match[1] if match else "nowhere"
    same = leads_to == fleet.api
    yield _finding(
        worker,
        "B9-TUNNEL-DOWN" if same else "B9-GATEWAY-PORT",
        f"the tunnel leads to {leads_to} and brings no answer of the gateway",
        "it is up and dead" if same else f"the gateway is at {fleet.api}",
        f"systemctl restart {UNIT}" if same else f"b9prov up INVENTORY --limit {worker.name}",
        (f"GET http://127.0.0.1:{port}/api/v1/health: {worker.forward.get('msg')}",),
        _RESTART if same else "",
    )


def _back(worker: Host, fleet: Fleet) -> Iterator[Finding]:
    """From the gateway host to this k3s, as the gateway goes."""
    own = (worker.seen.get("own") or {}).get("sha256")
    if not worker.has_own_k3s or not own:
        return
    peer, slot = fleet.peer(worker), fleet.slot(worker)
    back = worker.seen.get("back") or {}
    at = f"{slot.get('address', 'its address')}:6443 on the gateway host"
    if peer and peer.get("sha256") == own:
        return
    if not peer and back.get("sha256") == own:
        return
    other = str(peer.get("sha256") or ("" if peer else back.get("sha256") or ""))
    said = str((peer or back).get("msg") or "no answer")
    yield _finding(
        worker,
        "B9-TUNNEL-BACK",
        f"somebody else answers at {at}" if other else f"its k3s is not reached at {at}",
        "another program or worker listens there"
        if other
        else "the tunnel's listener is gone, or a firewall of the gateway host drops it",
        "on the gateway host: ss -ltnp 'sport = :6443'; nft list ruleset. On the worker: "
        f"systemctl restart {UNIT}",
        (f"at {at}: {'certificate ' + other[:16] if other else said}", f"k3s has {own[:16]}"),
        _RESTART,
    )


def _of_lines(lines: list[str], pattern: re.Pattern[str]) -> list[str]:
    return [line for line in lines if pattern.search(line)]


def _finding(
    worker: Host,
    code: str,
    what: str,
    cause: str,
    fix: str,
    evidence: tuple[str, ...],
    repair: str = "",
) -> Finding:
    repairs = (Repair(worker.name, repair),) if repair else ()
    return Finding(worker.name, code, what, cause, fix, evidence, repairs=repairs)
