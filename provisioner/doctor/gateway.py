"""What is wrong with the gateway, its host, its pools: what all workers suffer from."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from provisioner.doctor.evidence import Fleet, Host, Json
from provisioner.doctor.findings import ERROR, NOTE, Finding, Repair

ADDRESSES = "b9prov-addresses"
_RESTORE = f"systemctl restart {ADDRESSES}"
_PROVIDER = "provider not implemented"
_NO_DIRECT_HOST = "no valid service found for"
_LINES = 2  # of the gateway's log, in a finding


def findings(fleet: Fleet) -> Iterator[Finding]:
    """In the order in which one thing needs the other."""
    for host in fleet.gateways:
        if host.answered:
            yield from _addresses(host, fleet)
            yield from _set_up(host)
    asked = next((host for host in fleet.gateways if host.answered), None)
    if asked is None:
        return
    api = list(_api(asked, fleet))
    yield from api
    if not api:
        yield from _admin(asked)
    yield from _log(asked)


def _addresses(host: Host, fleet: Fleet) -> Iterator[Finding]:
    there = set(host.seen.get("addresses", ()))
    for slot in host.seen.get("slots", ()):
        wanted = slot["state"] != "revoked" and slot["name"] in {w.name for w in fleet.workers}
        if wanted and slot["address"] not in there:
            yield Finding(
                slot["name"],
                "B9-TUNNEL-ADDRESS",
                f"its address {slot['address']} is not on lo of {host.name}",
                "the tunnel can't listen there; somebody took the address off, or the unit that "
                "restores it did not run",
                f"on {host.name}: {_RESTORE}",
                (f"{host.name}: ip address show lo has {', '.join(sorted(there)) or 'nothing'}",),
                repairs=(
                    Repair(host.name, _RESTORE),
                    Repair(slot["name"], "systemctl restart b9-tunnel"),
                ),
            )


def _set_up(host: Host) -> Iterator[Finding]:
    wrong = [*host.seen.get("refusals", ()), *host.seen.get("missing", ())]
    if not wrong:
        return
    units = [name for name in (ADDRESSES, "b9prov-free.socket") if not host.runs(name)]
    yield Finding(
        host.name,
        "B9-GATEWAY-HOST",
        "it is not as tunnels need it",
        "somebody changed it, or `b9prov gateway prepare` was not finished",
        "b9prov gateway prepare INVENTORY",
        tuple(wrong),
        repairs=tuple(
            Repair(host.name, f"systemctl restart {unit}")
            for unit in units
            if host.is_installed(unit)
        ),
    )


def _api(host: Host, fleet: Fleet) -> Iterator[Finding]:
    health: Json = host.seen.get("health") or {}
    status, said = health.get("status", -1), str(health.get("content") or health.get("msg") or "")
    at = host.seen.get("api") or fleet.api
    shown = (f"{host.name}: GET {at}/api/v1/health: {_answer(health)}",)
    if is_health(health):
        return
    elsewhere = next(
        (each for each in host.seen.get("elsewhere", ()) if is_health(each)),
        None,
    )
    if elsewhere:
        place = f"{str(elsewhere['url']).split('/')[2]}"
        yield Finding(
            host.name,
            "B9-GATEWAY-PORT",
            f"the gateway is not at {at}, but at {place}",
            "gateway.api names another port than the NodePort that the gateway's service has",
            f"set gateway.api: {place} in the inventory, then b9prov up INVENTORY",
            (*shown, f"{host.name}: GET {elsewhere['url']}: {_answer(elsewhere)}"),
        )
    elif status == -1:
        yield Finding(
            host.name,
            "B9-GATEWAY-DOWN",
            f"nothing answers at {at}",
            "the gateway does not run, its service is not exposed, or gateway.api is wrong",
            "on the gateway host: kubectl get pods,services -n beta9; is its NodePort that of "
            "gateway.api?",
            (*shown, *(_holder(host, at))),
        )
    elif status == 500 and "not ok" in said:
        yield Finding(
            host.name,
            "B9-GATEWAY-SICK",
            "the gateway answers that it is not well",
            "its Redis is down or out of reach: it can keep no machine's state",
            "on the gateway host: kubectl get pods -n beta9; look at Redis and its disk",
            shown,
        )
    else:
        yield Finding(
            host.name,
            "B9-GATEWAY-PORT",
            f"what answers at {at} is no gateway",
            "gateway.api leads to another program",
            "set gateway.api to the gateway's HTTP port (1994 inside, NodePort 31994 outside)",
            (*shown, *(_holder(host, at))),
        )


def is_health(answer: Json) -> bool:
    """Whether it is a well gateway's answer to `health`."""
    try:
        content = json.loads(str(answer.get("content") or ""))
    except ValueError:
        return False
    is_ok = isinstance(content, dict) and content.get("status") == "ok"
    return answer.get("status") == 200 and is_ok


def _holder(host: Host, at: str) -> Iterator[str]:
    port = at.rpartition(":")[2]
    if not port.isdigit():
        return
    holders = host.port_holders(int(port))
    for each in holders:
        who = f"{each['program'] or 'somebody'} ({each['unit'] or '-'})"
        yield f"{host.name}: {who} has port {port}"
    if not holders:
        yield f"{host.name}: no process listens at port {port}"


def _admin(host: Host) -> Iterator[Finding]:
    """What the administrator's calls told, which answer 200 also where they refuse."""
    answers = [host.seen.get("pools") or {}, *host.seen.get("listed", ())]
    refused = next((each for each in answers if _refuses_token(each)), None)
    if refused:
        yield Finding(
            host.name,
            "B9-ADMIN-TOKEN",
            "the gateway refuses the admin token",
            "it is another gateway's, was taken back, or is a machine's or a workspace's",
            "correct gateway.admin_token (or B9_ADMIN_TOKEN): the cluster admin's, which the first "
            "call of gateway/auth/authorize gave",
            (f"{refused.get('url')}: {_answer(refused)}",),
        )
        return
    for answer in host.seen.get("listed", ()):
        yield from _pool(host, answer)
    pools: Json = host.seen.get("pools") or {}
    told = str((pools.get("json") or {}).get("message", ""))
    if pools.get("status") == 500 and "pool state not found" in told:
        yield Finding(
            host.name,
            "B9-POOL-NEW",
            "the gateway can't list its pools",
            "a pool of its configuration never had a worker, for which the whole list fails; "
            "machines and Jobs work all the same",
            f"none is needed; it ends with the first worker of pool {told.rpartition(' ')[2]}",
            (f"{pools.get('url')}: {_answer(pools)}",),
            NOTE,
        )


def _refuses_token(answer: Json) -> bool:
    error = str((answer.get("json") or {}).get("errMsg", ""))
    return answer.get("status") in (401, 403) or "not permitted" in error


def _pool(host: Host, answer: Json) -> Iterator[Finding]:
    error = str((answer.get("json") or {}).get("errMsg", ""))
    pool, shown = answer.get("item"), (f"{answer.get('url')}: {_answer(answer)}",)
    if error.startswith("Local pools"):
        yield Finding(
            host.name,
            "B9-POOL-LOCAL",
            f"pool {pool} is the gateway's own and takes no machines",
            "it has no provider in the gateway's configuration",
            "name another pool in the inventory. Delete no machine of it: that ends the gateway",
            shown,
        )
    elif error.startswith("Invalid pool"):
        yield Finding(
            host.name,
            "B9-POOL-UNKNOWN",
            f"the gateway has no pool {pool}",
            "it is not in the gateway's configuration, or is spelt otherwise there",
            f"correct `pool` in the inventory, or add {pool} under worker.pools of the gateway's "
            "configuration and restart it",
            shown,
        )


def _log(host: Host) -> Iterator[Finding]:
    lines: list[str] = [str(line) for line in host.seen.get("logs", ())]
    direct = [line for line in lines if _NO_DIRECT_HOST in line]
    if direct:
        yield tsnet(host.name, direct[-_LINES:])
    provider = [line for line in lines if _PROVIDER in line]
    if provider:
        yield Finding(
            host.name,
            "B9-PROVIDER",
            "the gateway's log says “provider not implemented”",
            "for an external pool that is expected: the gateway tries to rent a machine itself, "
            "which it can't; yours come by their agents. All is well once it also says "
            "“using existing machine”",
            "none is needed",
            tuple(provider[-_LINES:]),
            NOTE,
        )


def tsnet(host: str, evidence: Iterable[str]) -> Finding:
    """A gateway that has no way to a worker but its tailnet."""
    return Finding(
        host,
        "B9-GATEWAY-TSNET",
        "the gateway would reach this worker by Tailscale alone",
        "its configuration has neither a tailnet that is up nor tailscale.directRedisHost: it "
        "appends a domain to the worker's address, dials by tsnet, and never comes to the tunnel",
        "in the gateway's configuration set tailscale.directRedisHost (127.0.0.1 with "
        "gateway.forwards, else the gateway's address), or have its tsnet log in; then restart it",
        tuple(evidence),
    )


def pools(fleet: Fleet, found: list[Finding]) -> Iterator[Finding]:
    """The pools without a ready machine, which is mostly the consequence of something else."""
    of_pools = ("B9-POOL-UNKNOWN", "B9-POOL-LOCAL", "B9-ADMIN-TOKEN")
    if any(each.code in of_pools for each in found):
        return
    for pool in dict.fromkeys(worker.pool for worker in fleet.workers):
        answer = fleet.listed(pool)
        machines = _machines(answer) if answer else None
        if machines is None or any(each.get("status") == "ready" for each in machines):
            continue
        states = ", ".join(f"{each.get('id')} {each.get('status')}" for each in machines)
        at = next(iter(fleet.gateways)).name
        members = {worker.name for worker in fleet.workers if worker.pool == pool}
        hosts = members | {host.name for host in fleet.gateways}
        cause = next((e.key for e in found if e.host in hosts and e.severity == ERROR), None)
        yield Finding(
            at,
            "B9-POOL-DEGRADED",
            f"pool {pool} has no ready machine",
            "nothing is scheduled on it; its gateway logs “pool is degraded, skipping pool sizing”",
            "b9prov up INVENTORY, or what the findings above say",
            (f"machines of {pool}: {states or 'none'}",),
            follows=cause,
        )


def _machines(answer: Json) -> list[dict[str, Any]] | None:
    body = answer.get("json") or {}
    return list(body.get("machines") or []) if body.get("ok") else None


def _answer(answer: Json) -> str:
    """An HTTP answer in a line: status and what it said; no secrets are in those asked for."""
    status = answer.get("status", -1)
    if status == -1:
        return str(answer.get("msg") or "no answer")
    body = answer.get("json") or {}
    said = [str(body[key]) for key in ("message", "errMsg", "error", "status") if body.get(key)]
    return f"{status} {'; '.join(said) or str(answer.get('content') or '').strip()[:200]}".strip()
