"""The `tunnel_slot` module on files of the test, with a fake `ip` that keeps addresses in a set."""

from __future__ import annotations

import base64
import json
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from append_only import removable

from provisioner.remote.arguments import normalise
from provisioner.remote.module import Context, ModuleFailed
from provisioner.remote.modules import tunnel_slot


def key(number: int = 1) -> str:
    """A well-formed ed25519 key; nobody holds its private half."""
    body = b"".join(
        struct.pack(">I", len(part)) + part for part in (b"ssh-ed25519", bytes([number]) * 32)
    )
    return f"ssh-ed25519 {base64.b64encode(body).decode()}"


class FakeIp:
    """Stands in for iproute2: one set of addresses, all on `lo` but those of `others`."""

    def __init__(self) -> None:
        self.lo: set[str] = set()
        self.others: set[str] = set()

    def __call__(self, *arguments: str) -> str:
        if "show" in arguments:
            shown = self.lo if arguments[-2:] == ("dev", "lo") else self.lo | self.others
            return json.dumps([{"addr_info": [{"local": each} for each in sorted(shown)]}])
        action, address = arguments[1], arguments[2].removesuffix("/32")
        (self.lo.add if action == "add" else self.lo.remove)(address)
        return ""


class Runner:
    """Runs the module with the test's files."""

    def __init__(self, folder: Path, ip: FakeIp) -> None:
        self.keys = folder / "etc" / "authorized_keys"
        self.slots = folder / "lib" / "slots.json"
        self.log = folder / "log" / "audit.jsonl"
        self.ip = ip

    def __call__(self, worker: str = "w1", number: int = 1, **more: Any) -> dict[str, Any]:
        check = more.pop("check", False)
        files = {
            "authorized_keys": str(self.keys),
            "state_file": str(self.slots),
            "audit_log": str(self.log),
        }
        arguments = {"worker": worker, "public_key": key(number), **files, **more}
        return tunnel_slot.run(
            normalise(arguments, tunnel_slot.ARGUMENTS), Context(check=check, diff=True)
        )

    def lines(self) -> list[str]:
        return self.keys.read_text().splitlines()


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Runner]:
    ip = FakeIp()
    monkeypatch.setattr(tunnel_slot, "ip", ip)
    yield Runner(tmp_path, ip)
    removable(tmp_path)


def test_gives_each_worker_a_stable_address(run: Runner) -> None:
    assert run("w1", 1)["address"] == "10.199.0.1"
    assert run("w2", 2)["address"] == "10.199.0.2"
    again = run("w1", 1)
    assert (again["address"], again["changed"]) == ("10.199.0.1", False)
    assert run.ip.lo == {"10.199.0.1", "10.199.0.2"}


def test_writes_exactly_the_restricted_line(run: Runner) -> None:
    run(permit_open=["localhost:31994", "10.0.0.5:1993"])
    assert run.lines() == [
        'restrict,port-forwarding,permitopen="127.0.0.1:31994",permitopen="localhost:31994",'
        'permitopen="10.0.0.5:1993",permitopen="10.199.0.1:6443",'
        f'permitlisten="10.199.0.1:6443",command="free 10.199.0.1" {key()} b9prov:w1'
    ]
    assert run.keys.stat().st_mode & 0o777 == 0o644


def test_state_is_what_the_boot_unit_reads(run: Runner) -> None:
    run(by="ann@desk")
    entry = json.loads(run.slots.read_text())["slots"]["w1"]
    assert abs(entry.pop("created") - time.time()) < 10
    assert entry == {"address": "10.199.0.1", "key": key(), "owner": "ann@desk"}
    assert not run(by="ci@runner")["changed"]


def test_a_file_of_before_owners_were_noted_stays_as_it_is(run: Runner) -> None:
    run.slots.parent.mkdir()
    old = {"slots": {"w1": {"address": "10.199.0.1", "key": key()}}}
    run.slots.write_text(json.dumps(old))
    run(by="ann@desk")
    assert json.loads(run.slots.read_text()) == old


def test_a_revoked_worker_keeps_its_address_and_stays_out(run: Runner) -> None:
    run("w1", 1, by="ann@desk")
    assert run("w1", state="revoked", by="bob@desk")["changed"]
    assert run.lines() == []
    with pytest.raises(ModuleFailed, match=r"w1 was revoked on 20.* UTC by bob@desk") as refused:
        run("w1", 1)
    assert "gateway restore" in refused.value.extra["advice"]
    assert run("w2", 2)["address"] == "10.199.0.2"
    assert not run("w1", state="revoked", by="eve@desk")["changed"]


def test_a_restored_worker_is_as_before(run: Runner) -> None:
    run("w1", 1)
    before = (run.lines(), json.loads(run.slots.read_text()))
    run("w1", state="revoked")
    assert run("w1", state="restored", public_key=None)["changed"]
    assert (run.lines(), json.loads(run.slots.read_text())) == before
    assert not run("w1", 1)["changed"]


def test_a_revoked_worker_can_be_removed(run: Runner) -> None:
    run("w1", 1)
    run("w1", state="revoked")
    assert run("w1", state="absent")["changed"]
    assert run("w3", 3)["address"] == "10.199.0.1"


@pytest.mark.parametrize("state", ["revoked", "restored"])
def test_who_has_no_slot_can_not_be(run: Runner, state: str) -> None:
    run("w1", 1)
    with pytest.raises(ModuleFailed, match="no worker w9 has an address here"):
        run("w9", state=state)


def test_two_keys_are_allowed_while_one_takes_the_others_place(run: Runner) -> None:
    run("w1", 1)
    assert run("w1", 1, next_key=key(2))["changed"]
    assert [key(1) in run.lines()[0], key(2) in run.lines()[1]] == [True, True]
    assert not run("w1", 1, next_key=key(2))["changed"]
    with pytest.raises(ModuleFailed, match="worker w1 has the same tunnel key as w2"):
        run("w2", 2)
    assert run("w1", 2)["changed"]
    (line,) = run.lines()
    assert key(2) in line
    assert "next_key" not in json.loads(run.slots.read_text())["slots"]["w1"]


def test_every_change_is_in_the_audit_log(run: Runner) -> None:
    run("w1", 1, by="ann@desk", check=True)
    assert not run.log.exists()
    run("w1", 1, by="ann@desk")
    run("w1", 1, by="ann@desk")
    run("w1", 1, next_key=key(2))
    run("w1", 2)
    run("w1", 2, addresses="10.77.0.0/24")
    run("w1", state="revoked", by="bob@desk")
    with pytest.raises(ModuleFailed):
        run("w1", 2)
    run("w1", state="restored", addresses="10.77.0.0/24")
    run("w1", state="absent")
    noted = [json.loads(line) for line in run.log.read_text().splitlines()]
    assert [entry["action"] for entry in noted] == [
        "slot given",
        "second key allowed",
        "key changed",
        "moved from 10.199.0.1",
        "revoked",
        noted[5]["action"],
        "restored",
        "removed",
    ]
    assert noted[5]["action"].startswith("failed: worker w1 was revoked on ")
    assert [noted[0]["by"], noted[4]["by"]] == ["ann@desk", "bob@desk"]
    assert {entry["worker"] for entry in noted} == {"w1"}
    assert noted[0]["key"].startswith("SHA256:")
    assert key(1).split()[1] not in run.log.read_text()
    assert run.log.stat().st_mode & 0o777 == 0o640


def test_an_audit_log_that_can_not_be_written_is_told(run: Runner) -> None:
    run.log.parent.write_text("not a folder")
    result = run("w1", 1)
    assert result["changed"]
    (warning,) = result["warnings"]
    assert "audit.jsonl does not have this" in warning


def test_a_new_key_replaces_the_old_line_only(run: Runner) -> None:
    run("w1", 1)
    run("w10", 2)
    result = run("w1", 3)
    assert result["changed"] and result["address"] == "10.199.0.1"
    assert [line.split()[-1] for line in run.lines()] == ["b9prov:w10", "b9prov:w1"]
    assert key(3) in run.lines()[1] and key(1) not in run.keys.read_text()


def test_keeps_lines_of_others(run: Runner) -> None:
    run.keys.parent.mkdir()
    run.keys.write_text("# by hand\nssh-ed25519 AAAA someone\n")
    run()
    run(state="absent")
    assert run.lines() == ["# by hand", "ssh-ed25519 AAAA someone"]


def test_removes_everything_and_is_quiet_the_second_time(run: Runner) -> None:
    run()
    gone = run(state="absent")
    assert (gone["changed"], gone["address"]) == (True, "10.199.0.1")
    assert (run.lines(), run.ip.lo) == ([], set())
    assert json.loads(run.slots.read_text()) == {"slots": {}}
    assert not run(state="absent")["changed"]


def test_a_freed_address_is_given_again(run: Runner) -> None:
    run("w1", 1)
    run("w2", 2)
    run("w1", state="absent")
    assert run("w3", 3)["address"] == "10.199.0.1"


def test_restores_an_address_lost_by_a_reboot(run: Runner) -> None:
    run()
    run.ip.lo.clear()
    assert run()["changed"] and run.ip.lo == {"10.199.0.1"}


def test_restores_a_file_mode(run: Runner) -> None:
    run()
    run.keys.chmod(0o666)
    assert run()["changed"] and run.keys.stat().st_mode & 0o777 == 0o644


def test_skips_addresses_that_others_use_and_odd_ones(run: Runner) -> None:
    run.ip.others = {"10.199.0.1"}
    assert run("w1", 1)["address"] == "10.199.0.2"
    run.ip.others = {f"10.198.0.{number}" for number in range(1, 255)}
    assert run("w2", 2, addresses="10.198.0.0/23")["address"] == "10.198.1.1"


def test_moves_when_the_network_changes(run: Runner) -> None:
    run()
    assert run(addresses="10.77.0.0/24")["address"] == "10.77.0.1"
    assert run.ip.lo == {"10.77.0.1"} and len(run.lines()) == 1


def test_an_exhausted_network_is_said(run: Runner) -> None:
    run("w1", 1, addresses="10.9.0.0/30")
    run("w2", 2, addresses="10.9.0.0/30")
    with pytest.raises(ModuleFailed, match=r"no free address is left in 10\.9\.0\.0/30"):
        run("w3", 3, addresses="10.9.0.0/30")


def test_a_cloned_key_is_refused(run: Runner) -> None:
    run("w1", 1)
    with pytest.raises(ModuleFailed, match="worker w1 has the same tunnel key as w2"):
        run("w2", 1)


def test_check_changes_nothing(run: Runner) -> None:
    result = run(check=True)
    assert result["changed"] and result["address"] == "10.199.0.1"
    assert "b9prov:w1" in result["diff"]["after"] and result["diff"]["before"] == ""
    assert not run.keys.parent.exists() and not run.slots.parent.exists() and not run.ip.lo
    run()
    assert run(check=True, state="absent")["changed"]
    assert run.ip.lo and run.lines()


def test_check_of_a_worker_that_has_no_key_yet(run: Runner) -> None:
    result = run(check=True, public_key="")
    assert result["changed"] and tunnel_slot.NEW_KEY in result["diff"]["after"]


@pytest.mark.parametrize("worker", ["", "w 1", "w1\nssh-rsa", "-w", 'w"', "w1,x", "a" * 254])
def test_bad_names(run: Runner, worker: str) -> None:
    with pytest.raises(ModuleFailed, match="no name for a worker"):
        run(worker)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ssh-ed25519",
        "ssh-ed25519 !!!!",
        "ssh-ed25519 AAAA",
        f"{key()}\n{key(2)}",
        f'command="/bin/sh" {key()}',
        f"ssh-rsa {key().split()[1]}",
        f"ssh-dss {key().split()[1]}",
        f"{key()[:-8]}",
    ],
)
def test_bad_keys(run: Runner, text: str) -> None:
    with pytest.raises(ModuleFailed, match="public_key"):
        run(public_key=text)
    assert not run.keys.exists()


def test_a_comment_and_a_final_newline_are_dropped(run: Runner) -> None:
    run(public_key=f'{key()} evil" comment\n')
    assert run.lines()[0].endswith(f"{key()} b9prov:w1")


@pytest.mark.parametrize(
    "target", ["*:22", "host", "host:0", "host:65536", 'h",command="x:1', "h:*", "", "h:1\n"]
)
def test_bad_targets(run: Runner, target: str) -> None:
    with pytest.raises(ModuleFailed, match="is not HOST:PORT"):
        run(permit_open=[target])


@pytest.mark.parametrize("network", ["10.199.0.1/24", "fd00::/64", "all", "10.0.0.0/40"])
def test_bad_networks(run: Runner, network: str) -> None:
    with pytest.raises(ModuleFailed, match="addresses:"):
        run(addresses=network)
