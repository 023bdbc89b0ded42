"""What an agent may count on: register, keepalive, config, list. One test per recorded fact."""

from __future__ import annotations

from typing import Any

import pytest

from .calls import URL, Caller, Machine

METRICS = {
    "cpu_utilization_pct": 12.5,
    "memory_utilization_pct": 30,
    "total_cpu_available": 8000,
    "total_memory_available": 16384,
    "total_disk_space_bytes": 10**12,
    "total_disk_free_bytes": 10**11,
    "free_gpu_count": 1,
    "worker_count": 0,
    "container_count": 0,
    "cache_usage_pct": 0.0,
    "cache_capacity": 0,
    "cache_memory_usage": 0,
    "cache_cpu_usage": 0.0,
}


def said(answer: Any, status: int) -> str:
    """The message of an answer that must have this status."""
    assert answer[0] == status, answer
    return str(answer[1]["message"])


class TestRegister:
    def test_answers_with_the_state_and_its_time_to_live(self, machine: Machine) -> None:
        status, body = machine.register()
        assert status == 200
        assert body["machine_state"] == {
            "machine_id": machine.id,
            "status": "registered",
            "pool_name": machine.pool,
            "ttl_seconds": 300,
        }
        assert body["config"] is None or isinstance(body["config"], dict)

    @pytest.mark.parametrize(
        ("cpu", "stored"), [("8000m", "8000"), ("8000", "8000"), ("8", "8"), ("0", "0")]
    )
    def test_cpu_is_millicores(
        self, machine: Machine, admin: Caller, cpu: str, stored: str
    ) -> None:
        assert machine.register(cpu=cpu)[0] == 200
        assert machine.shown(admin)["cpu"] == stored

    @pytest.mark.parametrize("cpu", ["0.5", "8.5m", "eight", ""])
    def test_cpu_refused(self, machine: Machine, cpu: str) -> None:
        assert said(machine.register(cpu=cpu), 500) == "Invalid machine cpu value"

    @pytest.mark.parametrize(
        ("memory", "stored"),
        [("16Gi", "16384"), ("512Mi", "512"), ("16384", "16384"), ("17179869184", "17179869184")],
    )
    def test_memory_is_mebibytes(
        self, machine: Machine, admin: Caller, memory: str, stored: str
    ) -> None:
        assert machine.register(memory=memory)[0] == 200
        assert machine.shown(admin)["memory"] == stored

    @pytest.mark.parametrize("memory", ["16G", "16GB", "15.5Gi", ""])
    def test_memory_refused(self, machine: Machine, memory: str) -> None:
        assert said(machine.register(memory=memory), 500) == "Invalid machine memory value"

    @pytest.mark.parametrize("count", ["1.5", "-1", "one", ""])
    def test_gpu_count_refused(self, machine: Machine, count: str) -> None:
        assert said(machine.register(gpu_count=count), 500) == "Invalid gpu count"

    def test_gpu_type_is_the_pools(self, machine: Machine, admin: Caller) -> None:
        before = machine.shown(admin)["gpu"]
        assert machine.register(gpu="A100")[0] == 200
        assert machine.shown(admin)["gpu"] == before

    @pytest.mark.parametrize(
        "change",
        [
            *({name: ...} for name in ("machine_id", "provider_name", "hostname", "private_ip")),
            *({"token": value} for value in (..., None)),
        ],
    )
    def test_what_is_missing_is_not_noticed(self, machine: Machine, change: dict[str, Any]) -> None:
        assert machine.register(**change)[0] == 200

    def test_a_missing_provider_makes_a_junk_record(self, machine: Machine) -> None:
        assert machine.register(provider_name=...)[0] == 200
        status, body = machine.call(
            "GET", f"/machine/list?pool_name={machine.pool}&provider_name=generic"
        )
        assert status == 200
        assert machine.id not in [each["state"]["machine_id"] for each in body]

    def test_unknown_pool(self, machine: Machine) -> None:
        assert said(machine.register(pool_name="no-such-pool"), 500) == "Invalid pool name"

    def test_empty_body_is_about_cpu(self, machine: Machine) -> None:
        answer = machine.call("POST", "/machine/register", raw="")
        assert said(answer, 500) == "Invalid machine cpu value"

    @pytest.mark.parametrize("raw", ["{", "[]", '"text"', '{"cpu": 8}', '{"gpu_count": 1}'])
    def test_bad_json_and_wrong_types(self, machine: Machine, raw: str) -> None:
        assert said(machine.call("POST", "/machine/register", raw=raw), 400) == "Invalid payload"

    def test_demotes_a_ready_machine_until_the_next_keepalive(
        self, machine: Machine, admin: Caller
    ) -> None:
        machine.register()
        machine.keepalive()
        assert machine.shown(admin)["status"] == "ready"
        machine.register()
        assert machine.shown(admin)["status"] == "registered"
        machine.keepalive()
        assert machine.shown(admin)["status"] == "ready"

    def test_brings_a_deleted_machine_back(self, machine: Machine, admin: Caller) -> None:
        machine.register()
        admin("DELETE", f"/gateway/machines/{machine.id}?poolName={machine.pool}")
        assert machine.shown(admin) == {}
        assert machine.register()[0] == 200
        assert machine.shown(admin)["status"] == "registered"


class TestKeepalive:
    def test_makes_ready_and_says_so(self, machine: Machine, admin: Caller) -> None:
        machine.register()
        status, body = machine.keepalive(metrics=METRICS)
        state = body["machine_state"]
        assert (status, body["status"]) == (200, "ok")
        assert state.pop("last_keepalive").isdigit()
        assert state == {
            "machine_id": machine.id,
            "status": "ready",
            "pool_name": machine.pool,
            "ttl_seconds": 300,
            "agent_version": "0.1",
        }
        shown = machine.shown(admin)
        assert shown["agentVersion"] == "0.1" and shown["lastKeepalive"].isdigit()
        assert shown["machineMetrics"]["totalCpuAvailable"] == 8000

    def test_takes_the_state_of_inference(self, machine: Machine) -> None:
        machine.register()
        served = {"status": "running", "ip": "127.0.0.1", "port": 11434, "models": ["llama3.2"]}
        assert machine.keepalive(inference=served)[0] == 200

    @pytest.mark.parametrize("metrics", [..., None])
    def test_without_metrics_fails_and_yet_makes_ready(
        self, machine: Machine, admin: Caller, metrics: Any
    ) -> None:
        machine.register()
        assert said(machine.keepalive(metrics=metrics), 500) == "Internal Server Error"
        assert machine.shown(admin)["status"] == "ready"

    @pytest.mark.parametrize(
        "metrics",
        [{"worker_count": "1"}, {"worker_count": 1.5}, {"cpu_utilization_pct": "9"}, [], "x"],
    )
    def test_wrong_types(self, machine: Machine, metrics: Any) -> None:
        machine.register()
        assert said(machine.keepalive(metrics=metrics), 400) == "Invalid payload"

    def test_provider_defaults_to_generic(self, machine: Machine) -> None:
        machine.register()
        assert machine.keepalive(provider_name=...)[0] == 200

    def test_while_pending_makes_ready_without_a_hostname(self, machine: Machine) -> None:
        assert machine.keepalive()[0] == 200
        _status, body = machine.call(
            "GET", f"/machine/list?pool_name={machine.pool}&provider_name=generic"
        )
        state = next(each["state"] for each in body if each["state"]["machine_id"] == machine.id)
        assert (state["status"], state["hostname"]) == ("ready", "")

    def test_after_a_delete_the_machine_is_not_found(self, machine: Machine, admin: Caller) -> None:
        machine.register()
        admin("DELETE", f"/gateway/machines/{machine.id}?poolName={machine.pool}")
        assert said(machine.keepalive(), 500) == (
            "Failed to update keepalive: failed to get machine state "
            f"<provider:machine:generic:{machine.pool}:{machine.id}>: machine not found"
        )

    @pytest.mark.parametrize("missing", ["machine_id", "pool_name"])
    def test_id_and_pool_are_required(self, machine: Machine, missing: str) -> None:
        answer = machine.keepalive(**{missing: ...})
        assert said(answer, 400) == "machine_id and pool_name are required"

    def test_a_token_is_not_bound_to_its_machine(self, machine: Machine, admin: Caller) -> None:
        machine.register()
        _status, body = admin("POST", "/gateway/machines", {"poolName": machine.pool})
        other = Machine(admin.like(body["machine"]["registrationToken"]), machine.id)
        assert other.keepalive()[0] == 200
        admin("DELETE", f"/gateway/machines/{body['machine']['id']}?poolName={machine.pool}")


CALLS = [
    ("POST", "/machine/register"),
    ("POST", "/machine/keepalive"),
    ("GET", "/machine/config"),
    ("GET", "/machine/list"),
]


@pytest.mark.parametrize(("method", "path"), CALLS)
class TestTokens:
    def test_none(self, admin: Caller, method: str, path: str) -> None:
        assert said(admin.like(None)(method, path), 500) == "Internal Server Error"

    def test_unknown(self, admin: Caller, method: str, path: str) -> None:
        assert said(admin.like("wrong")(method, path), 401) == "Unauthorized"

    def test_of_another_type(self, admin: Caller, method: str, path: str) -> None:
        assert said(admin(method, path), 403) == "Invalid token"


class TestConfig:
    def test_is_a_mapping_or_can_not_be_made(self, machine: Machine) -> None:
        status, body = machine.call("GET", "/machine/config")
        if status == 200:
            assert isinstance(body["config"], dict)
        else:
            assert (status, body) == (500, {"message": "Unable to create remote config"})


class TestList:
    def test_shows_ready_machines_with_their_tokens(self, machine: Machine) -> None:
        path = f"/machine/list?pool_name={machine.pool}&provider_name=generic"
        machine.register()
        ids = [each["state"]["machine_id"] for each in machine.call("GET", path)[1]]
        assert machine.id not in ids
        machine.keepalive()
        found = [each["state"] for each in machine.call("GET", path)[1]]
        state = next(each for each in found if each["machine_id"] == machine.id)
        assert state["token"] == "k3s-bearer-token"
        assert state["registration_token"] == machine.call.token

    @pytest.mark.parametrize(
        "query", ["", "?pool_name=gpu", "?provider_name=generic", "?pool_name=x&provider_name=y"]
    )
    def test_is_empty_unless_both_parameters_are_right(self, machine: Machine, query: str) -> None:
        machine.register()
        machine.keepalive()
        assert machine.call("GET", f"/machine/list{query}") == (200, [])


@pytest.mark.skipif(not URL, reason="the reference has both kinds in test_reference.py")
def test_hostname_is_stored_as_sent_by_a_gateway_with_a_direct_host(machine: Machine) -> None:
    machine.register(hostname="10.199.0.7")
    machine.keepalive()
    path = f"/machine/list?pool_name={machine.pool}&provider_name=generic"
    states = [each["state"] for each in machine.call("GET", path)[1]]
    hostname = next(each["hostname"] for each in states if each["machine_id"] == machine.id)
    assert hostname.startswith("10.199.0.7")
