"""The `machine` module against the reference gateway."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from provisioner.lab.reference_gateway import Gateway
from provisioner.remote.arguments import normalise
from provisioner.remote.module import Context, ModuleFailed
from provisioner.remote.modules import machine

ADMIN = "admin-token-of-the-reference"


class Runner:
    """Runs the module with the test's files and gateway."""

    def __init__(self, gateway: Gateway, state_file: Path) -> None:
        self.gateway = gateway
        self.state_file = state_file

    def __call__(self, worker: str = "w1", check: bool = False, **more: Any) -> dict[str, Any]:
        given = {"worker": worker, "pool": "gpu", "api": self.gateway.url, "admin_token": ADMIN}
        arguments = {**given, "state_file": str(self.state_file), **more}
        return machine.run(normalise(arguments, machine.ARGUMENTS), Context(check=check, diff=True))

    def ids(self) -> set[str]:
        return {
            record["state"]["machine_id"] for record in self.gateway.api.store.machines.values()
        }


@pytest.fixture
def run(gateway: Gateway, tmp_path: Path) -> Runner:
    return Runner(gateway, tmp_path / "lib" / "machines.json")


def test_makes_a_machine_once_and_keeps_it(run: Runner) -> None:
    first = run()
    again = run()
    assert (first["changed"], again["changed"]) == (True, False)
    assert first["machine_id"] == again["machine_id"] in run.ids()
    assert first["machine_token"] == again["machine_token"]
    assert len(run.ids()) == 1


def test_keeps_tokens_to_itself(run: Runner) -> None:
    result = run()
    assert run.state_file.stat().st_mode & 0o777 == 0o600
    assert result["machine_token"] not in json.dumps(result["diff"])


def test_each_worker_has_its_own(run: Runner) -> None:
    assert run("w1")["machine_id"] != run("w2")["machine_id"]
    assert len(run.ids()) == 2


def test_a_deleted_machine_is_kept_since_its_token_brings_it_back(run: Runner) -> None:
    made = run()
    run.gateway.api.store.machines.clear()
    assert run() == {**made, "changed": False, "diff": run()["diff"]}


def test_a_token_the_gateway_forgot_is_replaced(run: Runner) -> None:
    made = run()
    run.gateway.api.store.tokens.clear()
    again = run()
    assert again["changed"] and again["machine_id"] != made["machine_id"]
    assert run.ids() == {again["machine_id"]}


def test_moves_to_another_pool(run: Runner) -> None:
    run()
    moved = run(pool="cpu")
    assert moved["changed"] and moved["pool"] == "cpu"
    assert run.ids() == {moved["machine_id"]}


def test_removes_what_it_made_and_is_quiet_the_second_time(run: Runner) -> None:
    run()
    assert run(state="absent")["changed"]
    assert run.ids() == set()
    assert not run(state="absent")["changed"]


def test_removes_a_record_whose_machine_is_gone(run: Runner) -> None:
    run()
    run.gateway.api.store.machines.clear()
    assert run(state="absent")["changed"]


def test_without_an_entry_absent_asks_nothing(run: Runner) -> None:
    assert not run(state="absent", api="127.0.0.1:1")["changed"]


@pytest.mark.parametrize("state", ["present", "absent"])
def test_check_changes_nothing(run: Runner, state: str) -> None:
    result = run(check=True, state=state)
    assert result["changed"] is (state == "present")
    assert result["machine_id"] == (machine.NEW if state == "present" else "")
    assert run.ids() == set()
    assert not run.state_file.parent.exists()


def test_check_of_absent_keeps_the_machine(run: Runner) -> None:
    made = run()
    assert run(check=True, state="absent")["changed"]
    assert run()["machine_id"] == made["machine_id"] in run.ids()


class TestKilledRun:
    def leave(self, run: Runner, since: int, known: list[str]) -> None:
        """What a run killed in the middle of a create leaves behind."""
        state = json.loads(run.state_file.read_text()) if run.state_file.exists() else {}
        intent = {"worker": "w1", "pool": "gpu", "since": since, "known_ids": known}
        run.state_file.parent.mkdir(exist_ok=True)
        run.state_file.write_text(json.dumps({**state, "intent": intent}))

    def create(self, run: Runner) -> str:
        return str(machine.Api(run.gateway.url, ADMIN).create("gpu")["id"])

    def test_its_machine_is_deleted(self, run: Runner) -> None:
        self.leave(run, int(time.time()), [])
        orphan = self.create(run)
        made = run()
        assert orphan not in run.ids() and run.ids() == {made["machine_id"]}

    def test_its_machine_is_deleted_by_a_removal_too(self, run: Runner) -> None:
        self.leave(run, int(time.time()), [])
        self.create(run)
        assert not run(state="absent")["changed"]
        assert run.ids() == set()

    def test_its_pool_may_be_gone(self, run: Runner) -> None:
        self.leave(run, int(time.time()), [])
        run.gateway.settings.pools.pop("gpu")
        assert run(pool="cpu")["changed"]

    def test_machines_of_others_stay(self, run: Runner) -> None:
        other = run("w2")["machine_id"]
        known = self.create(run)
        self.leave(run, int(time.time()), [known])
        made = run()
        assert run.ids() == {other, known, made["machine_id"]}

    def test_one_made_later_by_someone_else_stays(self, run: Runner) -> None:
        self.leave(run, int(time.time() - machine.INTENT_WINDOW) - 5, [])
        later = self.create(run)
        made = run()
        assert run.ids() == {later, made["machine_id"]}

    def test_a_create_that_dies_leaves_an_intent(
        self, run: Runner, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def die(api: machine.Api, pool: str) -> dict[str, Any]:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(machine.Api, "create", die)
            with pytest.raises(KeyboardInterrupt):
                run()
        assert json.loads(run.state_file.read_text())["intent"]["worker"] == "w1"
        orphan = self.create(run)
        run()
        assert orphan not in run.ids()
        assert "intent" not in json.loads(run.state_file.read_text())


class TestRefusals:
    def test_unknown_pool(self, run: Runner) -> None:
        with pytest.raises(ModuleFailed, match="'tpu' is not configured"):
            run(pool="tpu")

    def test_local_pool(self, run: Runner) -> None:
        with pytest.raises(ModuleFailed, match="local to the gateway's own cluster"):
            run(pool="own")

    def test_a_recorded_pool_that_became_local_is_never_asked_to_delete(self, run: Runner) -> None:
        run()
        pools = run.gateway.settings.pools
        pools["gpu"] = pools["own"]
        assert run(state="absent")["changed"]  # the gateway runs in this process: it lives

    def test_wrong_admin_token(self, run: Runner) -> None:
        with pytest.raises(ModuleFailed, match="does not know the admin token") as failure:
            run(admin_token="wrong")
        assert "admin_token" in failure.value.extra["advice"]

    def test_machine_token_as_admin(self, run: Runner) -> None:
        token = run("w2")["machine_token"]
        with pytest.raises(ModuleFailed, match="not a cluster admin's"):
            run(admin_token=token)

    @pytest.mark.parametrize("api", ["127.0.0.1:1", "http://127.0.0.1:1", "http://[bad"])
    def test_no_answer(self, run: Runner, api: str) -> None:
        with pytest.raises(ModuleFailed, match="does not answer"):
            run(api=api)

    def test_damaged_state(self, run: Runner) -> None:
        run()
        run.state_file.write_text("{")
        with pytest.raises(ModuleFailed, match="is damaged"):
            run()
