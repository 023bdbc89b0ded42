"""From evidence to findings, as a table: one change of a well fleet, and what is named first."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from provisioner.doctor import ERROR, NOTE, Finding, Fleet, Host, diagnose

Json = dict[str, Any]
NOW = 1_795_327_273.0
CERTIFICATE = "08" * 32
UNIT = {
    "LoadState": "loaded",
    "UnitFileState": "enabled",
    "ActiveState": "active",
    "SubState": "running",
    "Result": "success",
    "NRestarts": "0",
    "ExecMainStatus": "0",
    "journal": ["Started it."],
}
OK = {"status": 200, "msg": "OK", "content": '{"status": "ok"}'}
REFUSED = {"status": -1, "msg": "Connection refused", "content": ""}
MACHINES = {"ok": True, "machines": [{"id": "m1", "status": "ready"}]}
DISK = {
    "path": "/",
    "free_mib": 60000,
    "total_mib": 250000,
    "free_inodes": 9000,
    "inodes": 10000,
    "read_only": False,
}


def here(*units: str) -> Json:
    tunnel = [{"port": 1994, "address": "127.0.0.1", "program": "ssh", "unit": "b9-tunnel.service"}]
    return {
        "time": NOW,
        "units": {name: dict(UNIT) for name in units},
        "disks": [dict(DISK)],
        "ports": tunnel,
    }


def worker() -> Json:
    """What a well worker shows."""
    return {
        "asked_at": NOW,
        "here": here("b9-tunnel", "b9agent", "k3s", "ollama"),
        "agent": {"state": "ready", "machine_id": "m1", "pool": "gpu", "last_keepalive": NOW},
        "tunnel": ["", "-L 127.0.0.1:1994:localhost:31994", "gateway\n", "SHA256:own\n"],
        "forward": dict(OK),
        "own": {"sha256": CERTIFICATE, "msg": ""},
        "back": {"sha256": CERTIFICATE, "msg": ""},
        "ollama": dict(OK),
        "gpus": [],
    }


def gateway() -> Json:
    """What a well gateway host shows."""
    slot = {
        "name": "w1",
        "key": "SHA256:own",
        "address": "10.199.0.1",
        "state": "ok",
        "listening": True,
    }
    return {
        "asked_at": NOW,
        "here": here("ssh", "b9prov-addresses", "b9prov-free.socket"),
        "refusals": [],
        "missing": [],
        "slots": [slot],
        "addresses": ["127.0.0.1", "10.199.0.1"],
        "api": "http://localhost:31994",
        "health": dict(OK),
        "elsewhere": [],
        "listed": [{"item": "gpu", "status": 200, "json": copy.deepcopy(MACHINES)}],
        "pools": {"status": 200, "json": {"ok": True}},
        "peers": [{"item": slot, "sha256": CERTIFICATE}],
        "logs": [],
    }


SETTINGS = {
    "pool": "gpu",
    "k3s": {"enabled": True, "mode": "server", "api": "127.0.0.1:6443"},
    "ollama": {"enabled": True},
    "tunnel": {"port": 1994},
}
Change = Callable[[Json, Json], Any]


def examined(change: Change = lambda w1, gateway: None, **settings: Any) -> list[Finding]:
    """What is found where `change` has changed what a well worker and gateway host show."""
    first, last = worker(), gateway()
    change(first, last)
    workers = (Host("w1", first, settings={**SETTINGS, **settings}),)
    return diagnose(Fleet(workers, (Host("gateway", last),), "localhost:31994"))


def unit(name: str, **values: str) -> Change:
    return lambda w1, gateway: w1["here"]["units"][name].update(values)


def stopped(name: str) -> Change:
    return unit(name, ActiveState="inactive", SubState="dead")


def agent(**values: Any) -> Change:
    return lambda w1, gateway: w1["agent"].update(values)


def tunnel_says(line: str) -> Change:
    def change(w1: Json, gateway: Json) -> None:
        w1["here"]["ports"] = []
        w1["here"]["units"]["b9-tunnel"]["journal"] = ["Started it.", line]
        w1["forward"] = dict(REFUSED)

    return change


def slot(**values: Any) -> Change:
    def change(w1: Json, gateway: Json) -> None:
        tunnel_says("Permission denied (publickey).")(w1, gateway)
        gateway["slots"][0].update(values)

    return change


def at_gateway(**values: Any) -> Change:
    return lambda w1, gateway: gateway.update(values)


def disk(**values: Any) -> Change:
    return lambda w1, gateway: w1["here"]["disks"][0].update(values)


def refused(status: int, message: str) -> Change:
    return agent(state="pending", last_error=f"register: HTTP {status} {message}")


def listed(status: int = 200, **body: Any) -> Change:
    answer = {"item": "gpu", "status": status, "json": body, "url": "http://localhost:31994/x"}
    return at_gateway(listed=[answer])


def machine_is(status: str) -> Change:
    return listed(ok=True, machines=[{"id": "m1", "status": status}])


def expired(w1: Json, gateway: Json) -> None:
    gateway["listed"][0]["json"]["machines"] = [{"id": "m2", "status": "ready"}]


def tunnel_leads(target: str) -> Change:
    def change(w1: Json, gateway: Json) -> None:
        w1["tunnel"][1] = f"-L 127.0.0.1:1994:{target}"
        w1["forward"] = dict(REFUSED)

    return change


def way_back(**peer: Any) -> Change:
    def change(w1: Json, gateway: Json) -> None:
        gateway["peers"][0].pop("sha256")
        gateway["peers"][0].update(peer)

    return change


def nothing_installed(w1: Json, gateway: Json) -> None:
    for each in w1["here"]["units"].values():
        each.update(LoadState="not-found", ActiveState="inactive")
    w1.update(own={"msg": "refused"}, agent={}, forward=dict(REFUSED))


def tunnel_stopped(w1: Json, gateway: Json) -> None:
    stopped("b9-tunnel")(w1, gateway)
    w1["here"]["ports"] = []


def at_another_port(w1: Json, gateway: Json) -> None:
    gateway["health"] = dict(REFUSED)
    gateway["elsewhere"] = [{**OK, "url": "http://localhost:30994/api/v1/health"}]


def held_by_another(w1: Json, gateway: Json) -> None:
    w1["here"]["ports"][0].update(program="nginx", unit="nginx.service")


GPU_ROW = {
    "name": "driver",
    "ok": False,
    "severity": "error",
    "found": "none",
    "wanted": "535",
    "fix": "install it",
}
NOT_OK = {"status": 500, "content": '{"error": "redis", "status": "not ok"}'}
TABLE: list[tuple[str, str, Change]] = [
    ("w1", "B9-NOT-INSTALLED", nothing_installed),
    ("w1", "B9-DISK", disk(free_mib=3)),
    ("w1", "B9-DISK", disk(free_inodes=2)),
    ("w1", "B9-DISK", disk(read_only=True)),
    ("w1", "B9-CLOCK", lambda w1, gateway: w1["here"].update(time=NOW + 3600)),
    ("w1", "B9-GPU", lambda w1, gateway: w1.update(gpus=[GPU_ROW])),
    ("w1", "B9-PORT", held_by_another),
    ("gateway", "B9-GATEWAY-DOWN", at_gateway(health=dict(REFUSED))),
    ("gateway", "B9-GATEWAY-PORT", at_another_port),
    ("gateway", "B9-GATEWAY-PORT", at_gateway(health={"status": 404, "content": "nginx"})),
    ("gateway", "B9-GATEWAY-SICK", at_gateway(health=NOT_OK)),
    ("gateway", "B9-GATEWAY-HOST", at_gateway(missing=["there is no user b9tunnel"])),
    ("gateway", "B9-GATEWAY-HOST", at_gateway(refusals=["sshd keeps b9tunnel out: x"])),
    ("gateway", "B9-GATEWAY-TSNET", at_gateway(logs=["no valid service found for <redis>"])),
    ("w1", "B9-GATEWAY-TSNET", agent(problems=["gateway: it gave no configuration"])),
    ("gateway", "B9-ADMIN-TOKEN", listed(401, message="invalid or missing token")),
    ("gateway", "B9-ADMIN-TOKEN", listed(ok=False, errMsg="This action is not permitted")),
    ("gateway", "B9-POOL-UNKNOWN", listed(ok=False, errMsg="Invalid pool")),
    ("gateway", "B9-POOL-LOCAL", listed(ok=False, errMsg="Local pools don't track machines")),
    ("w1", "B9-POOL-UNKNOWN", refused(500, "Invalid pool name")),
    ("w1", "B9-TUNNEL-DOWN", tunnel_stopped),
    ("w1", "B9-TUNNEL-DOWN", tunnel_says("something that nobody has seen before")),
    ("w1", "B9-TUNNEL-DOWN", tunnel_leads("localhost:31994")),
    ("w1", "B9-GATEWAY-PORT", tunnel_leads("localhost:31995")),
    ("w1", "B9-TUNNEL-PATH", tunnel_says("ssh: connect to host g port 22: Connection refused")),
    ("w1", "B9-TUNNEL-PATH", tunnel_says("ssh: Could not resolve hostname g: Name or service")),
    ("w1", "B9-TUNNEL-HOSTKEY", tunnel_says("Host key verification failed.")),
    ("w1", "B9-TUNNEL-KEY", tunnel_says("b9tunnel@g: Permission denied (publickey).")),
    ("w1", "B9-TUNNEL-KEY", slot(state="no key")),
    ("w1", "B9-TUNNEL-KEY", slot(key="SHA256:another")),
    ("w1", "B9-TUNNEL-KEY", slot(name="w9")),
    ("w1", "B9-TUNNEL-REVOKED", slot(state="revoked")),
    ("w1", "B9-TUNNEL-ADDRESS", at_gateway(addresses=["127.0.0.1"])),
    ("w1", "B9-TUNNEL-BACK", way_back(msg="nothing within 2 s")),
    ("w1", "B9-TUNNEL-BACK", way_back(sha256="99" * 32)),
    ("w1", "B9-K3S-DOWN", stopped("k3s")),
    ("w1", "B9-K3S-DOWN", lambda w1, gateway: w1.update(own={"msg": "no TLS"})),
    ("w1", "B9-K3S-TOKEN", agent(problems=["k3s: it does not tell of its pods: HTTP 401"])),
    ("w1", "B9-AGENT-DOWN", stopped("b9agent")),
    ("w1", "B9-AGENT-CRASH", unit("b9agent", ActiveState="activating", SubState="auto-restart")),
    (
        "w1",
        "B9-AGENT-CONFIG",
        unit("b9agent", ActiveState="failed", Result="exit-code", ExecMainStatus="2"),
    ),
    ("w1", "B9-OLLAMA-DOWN", lambda w1, gateway: w1.update(ollama=dict(REFUSED))),
    ("w1", "B9-TOKEN-UNKNOWN", refused(401, "Unauthorized")),
    ("w1", "B9-TOKEN-KIND", refused(403, "Invalid token")),
    ("w1", "B9-PAYLOAD", refused(400, "Invalid payload")),
    ("w1", "B9-PAYLOAD", refused(500, "Invalid machine cpu value")),
    ("w1", "B9-GATEWAY-ERROR", refused(500, "Failed to register machine")),
    ("w1", "B9-GATEWAY-ERROR", refused(502, "Bad Gateway")),
    ("w1", "B9-EXPIRED", expired),
    ("w1", "B9-EXPIRED", machine_is("registered")),
    ("w1", "B9-EXPIRED", refused(500, "Failed to update keepalive: x: machine not found")),
    ("w1", "B9-NOT-READY", agent(state="pending")),
]


def test_a_well_fleet_has_nothing() -> None:
    assert examined() == []


@pytest.mark.parametrize(("host", "code", "change"), TABLE)
def test_a_change_is_named_first(host: str, code: str, change: Change) -> None:
    first, *rest = examined(change)
    assert (first.host, first.code) == (host, code)
    assert first.is_cause
    assert first.fix and first.cause
    assert all(each.follows == first.key for each in rest if each.severity == ERROR), rest


@pytest.mark.parametrize(
    ("code", "change"),
    [
        ("B9-PROVIDER", at_gateway(logs=['ERR failed error="provider not implemented"'])),
        (
            "B9-POOL-NEW",
            at_gateway(
                pools={"status": 500, "json": {"message": "worker pool state not found: new"}}
            ),
        ),
    ],
)
def test_what_is_harmless_is_a_note(code: str, change: Change) -> None:
    (found,) = examined(change)
    assert (found.code, found.severity) == (code, NOTE)


def test_what_is_not_wanted_is_not_missed() -> None:
    def change(w1: Json, gateway: Json) -> None:
        stopped("k3s")(w1, gateway)
        w1.update(own={}, ollama={})
        gateway["peers"] = []

    off = {"enabled": False}
    assert examined(change, k3s=off, ollama=off) == []


def test_one_that_does_not_answer_is_known_by_its_reason() -> None:
    seen = Host("gateway", gateway())
    for reason, code in (("unknown host key SHA256:x", "B9-SSH-KEY"), ("odd", "B9-SSH-DOWN")):
        (found,) = diagnose(Fleet((Host("w1", {}, reason, "do it", SETTINGS),), (seen,)))
        assert (found.host, found.code, found.fix) == ("w1", code, "do it")
        assert "its tunnel to the gateway host is up" in found.evidence


def test_all_that_a_gateway_causes_is_one_cause() -> None:
    def change(w1: Json, gateway: Json) -> None:
        gateway.update(health=dict(REFUSED), listed=[], pools={})
        w1["forward"] = dict(REFUSED)
        w1["agent"].update(state="expired", last_error="keepalive: cannot reach it")

    found = examined(change)
    assert [each.code for each in found] == ["B9-GATEWAY-DOWN", "B9-NOT-READY"]
    assert found[1].follows == ("gateway", "B9-GATEWAY-DOWN")


def test_where_all_clocks_agree_it_is_ours_that_is_wrong() -> None:
    def change(w1: Json, gateway: Json) -> None:
        for each in (w1, gateway):
            each["here"]["time"] = NOW + 3600

    (found,) = examined(change)
    assert (found.host, found.code) == ("controller", "B9-CLOCK")


def test_a_pool_without_a_ready_machine_is_told_when_nothing_explains_it() -> None:
    away = replace(Host("w1", worker(), settings=SETTINGS), settings={**SETTINGS, "pool": "cpu"})
    seen = gateway()
    seen["listed"] = [{"item": "cpu", "status": 200, "json": {"ok": True, "machines": []}}]
    codes = [each.code for each in diagnose(Fleet((away,), (Host("gateway", seen),)))]
    assert codes == ["B9-EXPIRED", "B9-POOL-DEGRADED"]
