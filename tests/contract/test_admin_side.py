"""What the controller may count on: pools, machines, authorize, health."""

from __future__ import annotations

import base64
import time

import pytest

from .calls import POOL, Caller, Machine, make

NOT_PERMITTED = {"ok": False, "errMsg": "This action is not permitted"}


def test_health_asks_for_no_token(admin: Caller) -> None:
    assert admin.like(None)("GET", "/health") == (200, {"status": "ok"})


def test_pools_list_or_fail_while_one_never_had_a_worker(admin: Caller) -> None:
    status, body = admin("GET", "/gateway/pools")
    if status == 200:
        assert POOL in [pool["name"] for pool in body["pools"]]
    else:
        assert (status, body["code"]) == (500, 2)
        assert body["message"].startswith("worker pool state not found: ")


def test_create_answers_with_everything_the_worker_needs(admin: Caller) -> None:
    status, body = admin("POST", "/gateway/machines", {"poolName": POOL})
    created = body["machine"]
    token = created.pop("registrationToken")
    machine_id = created.pop("id")
    assert status == 200 and body["ok"] and body["errMsg"] == ""
    assert len(token) == 88 and token.endswith("==") and base64.urlsafe_b64decode(token)
    assert len(machine_id) == 8 and int(machine_id, 16) >= 0
    assert isinstance(created.pop("gpu"), str)
    assert created == {
        "poolName": POOL,
        "providerName": "generic",
        "cpu": "0",
        "memory": "0",
        "gpuCount": 0,
        "machineMetrics": None,
        **dict.fromkeys(("status", "created", "lastKeepalive", "agentVersion", "userData"), ""),
        **dict.fromkeys(("tailscaleUrl", "tailscaleAuth"), ""),
    }
    assert {"agentUpstreamUrl", "agentUpstreamBranch", "agentUpstreamToken"} <= body.keys()
    admin("DELETE", f"/gateway/machines/{machine_id}?poolName={POOL}")


def test_a_new_machine_is_listed_as_pending(admin: Caller, machine: Machine) -> None:
    shown = machine.shown(admin)
    assert shown["status"] == "pending"
    assert abs(int(shown["created"]) - time.time()) < 60
    assert (shown["registrationToken"], shown["providerName"]) == ("", "")


def test_list_says_which_gpus_there_are(admin: Caller) -> None:
    assert isinstance(admin("GET", f"/gateway/machines?poolName={POOL}")[1]["gpus"], dict)


def test_list_ignores_its_limit(admin: Caller, machine: Machine) -> None:
    other = make(admin)
    _status, body = admin("GET", f"/gateway/machines?poolName={POOL}&limit=1")
    assert {machine.id, other.id} <= {each["id"] for each in body["machines"]}
    admin("DELETE", f"/gateway/machines/{other.id}?poolName={POOL}")


def test_delete_is_fine_twice_and_for_what_never_was(admin: Caller, machine: Machine) -> None:
    path = f"/gateway/machines/{machine.id}?poolName={POOL}"
    assert admin("DELETE", path) == (200, {"ok": True, "errMsg": ""})
    assert admin("DELETE", path) == (200, {"ok": True, "errMsg": ""})
    assert machine.shown(admin) == {}


def test_a_bad_pool_when_creating_and_deleting(admin: Caller) -> None:
    status, body = admin("POST", "/gateway/machines", {"poolName": "no-such-pool"})
    assert (status, body["ok"], body["errMsg"]) == (200, False, "Invalid pool name")
    assert admin("DELETE", "/gateway/machines/0?poolName=no-such-pool") == (
        200,
        {"ok": False, "errMsg": "Invalid pool name"},
    )


def test_a_bad_pool_when_listing(admin: Caller) -> None:
    status, body = admin("GET", "/gateway/machines?poolName=no-such-pool")
    assert (status, body["ok"], body["errMsg"]) == (200, False, "Invalid pool")


def test_a_machine_token_administers_nothing(admin: Caller, machine: Machine) -> None:
    status, body = machine.call("POST", "/gateway/machines", {"poolName": POOL})
    assert status == 200 and body.items() >= NOT_PERMITTED.items()
    status, body = machine.call("DELETE", f"/gateway/machines/{machine.id}?poolName={POOL}")
    assert status == 200 and body.items() >= NOT_PERMITTED.items()
    status, body = machine.call("GET", f"/gateway/machines?poolName={POOL}")
    assert status == 200 and body["machines"] == []
    assert machine.shown(admin)


@pytest.mark.parametrize("token", ["wrong", None])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/gateway/pools"),
        ("GET", "/gateway/machines"),
        ("POST", "/gateway/machines"),
        ("DELETE", "/gateway/machines/0"),
    ],
)
def test_a_wrong_token(admin: Caller, token: str | None, method: str, path: str) -> None:
    answer = admin.like(token)(method, path)
    assert answer == (401, {"code": 16, "message": "invalid or missing token"})


def test_a_second_authorize_is_refused(admin: Caller) -> None:
    status, body = admin.like(None)("POST", "/gateway/auth/authorize", {})
    assert status == 200
    assert (body["ok"], body["errorMsg"]) == (False, "Invalid token")


@pytest.mark.parametrize("prefix", ["", "/api/v1"])
def test_machines_is_not_where_the_published_description_has_it(admin: Caller, prefix: str) -> None:
    url = admin.url + prefix
    response = admin.session.get(
        f"{url}/machines", headers={"Authorization": f"Bearer {admin.token}"}, timeout=20
    )
    assert response.status_code == 404
