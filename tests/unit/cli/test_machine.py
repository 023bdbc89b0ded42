"""`b9prov machine` against the reference gateway, reached directly by its URL."""

from __future__ import annotations

import json
import os
import pty
import stat

import pytest
import requests
from administered import ADMIN, HOSTS, describe

from provisioner.cli.machine import guide_commands
from provisioner.gateway.client import Machine
from provisioner.inventory import load_inventory
from provisioner.lab.reference_gateway import Gateway
from provisioner.secrets import revealed


def make_ready(gateway: Gateway, machine: Machine) -> None:
    """Register the machine and keep it alive, as its agent would."""
    ids = {"machine_id": machine.id, "provider_name": "generic", "pool_name": machine.pool}
    sizes = {"cpu": "8000m", "memory": "16Gi", "gpu_count": "2", "hostname": "192.0.2.1"}
    alive = {**ids, "agent_version": "0.1", "metrics": {"free_gpu_count": 1}}
    for path, body in (("register", {**ids, **sizes, "token": "k"}), ("keepalive", alive)):
        url = f"{gateway.url}/api/v1/machine/{path}"
        headers = {"Authorization": f"Bearer {revealed(machine.token)}"}
        requests.post(url, json=body, headers=headers, timeout=5).raise_for_status()


def test_a_listing_of_all_pools_of_the_inventory(b9prov, gateway, admin) -> None:
    assert b9prov("machine", "list").stdout == "no machines\n"
    ready, pending = admin.create_machine("gpu"), admin.create_machine("cpu")
    make_ready(gateway, ready)
    done = b9prov("machine", "list")
    assert done.returncode == 0, done.stderr
    titles, first, second = (line.split() for line in done.stdout.splitlines())
    wanted = "ID CPU MEMORY GPU STATUS POOL CREATED KEEPALIVE AGENT FREE GPUS"
    assert titles == wanted.split()
    assert first[:6] == [ready.id, "8000m", "16Gi", "H100", "ready", "gpu"]
    assert first[-4:] == ["0.1", "1", "of", "2"]
    assert [second[0], second[4:6]] == [pending.id, ["pending", "cpu"]]
    assert second[-1] == "-"
    assert pending.id not in b9prov("machine", "list", "--pool", "gpu").stdout


def test_a_listing_as_json(b9prov, gateway, admin) -> None:
    machine = admin.create_machine("gpu")
    make_ready(gateway, machine)
    found = json.loads(b9prov("machine", "list", "--output", "json").stdout)
    assert found["schema"] == 1
    (row,) = found["machines"]
    assert 0 <= row.pop("created_age") < 60 and 0 <= row.pop("last_keepalive_age") < 60
    assert row.pop("created") > 1_700_000_000 and row.pop("last_keepalive") > 1_700_000_000
    assert row == {
        "id": machine.id,
        "pool": "gpu",
        "status": "ready",
        "cpu": 8000,
        "memory": 16384,
        "gpu": "H100",
        "gpu_count": 2,
        "free_gpus": 1,
        "agent_version": "0.1",
    }


def test_a_machine_made_can_be_registered_with_the_token_shown(b9prov, gateway, admin) -> None:
    done = b9prov("machine", "create", "--pool", "gpu")
    assert done.returncode == 0, done.stderr
    first, second, *_ = done.stdout.splitlines()
    machine_id, token = first.removeprefix("Machine ID: "), second.removeprefix("Token: ")
    port = gateway.url.rpartition(":")[2]
    assert (
        f'python -m cmd.agent --token "$B9_MACHINE_TOKEN" --machine-id {machine_id} '
        f"--pool-name gpu --gateway-host 127.0.0.1 --gateway-port {port}\n"
    ) in done.stdout
    assert f"b9agent init --gateway 127.0.0.1:{port} --machine-id {machine_id}" in done.stdout
    assert f'machine_id: "{machine_id}"' in done.stdout
    assert "ssh" not in done.stdout  # the URL is reached without a tunnel
    assert done.stdout.count(token) == 1  # no command has it
    assert "secret" in done.stderr and "an hour" in done.stderr
    assert token not in done.stderr
    (pending,) = admin.list_machines("gpu")
    make_ready(gateway, Machine(machine_id, "gpu", pending.status, token=token))
    assert admin.list_machines("gpu")[0].status == "ready"


def test_a_machine_made_as_json(b9prov, gateway, admin) -> None:
    done = b9prov("machine", "create", "--pool", "cpu", "--output", "json")
    found = json.loads(done.stdout)
    assert found["schema"] == 1 and found["expires_seconds"] == 3600
    assert len(found["machine"]["token"]) == 88
    assert [found["machine"]["id"]] == [each.id for each in admin.list_machines("cpu")]
    assert found["commands"][-1].startswith('python -m cmd.agent --token "$B9_MACHINE_TOKEN"')


def test_a_token_goes_into_a_file_of_its_owner(b9prov, gateway, admin, folder) -> None:
    words = ("machine", "create", "--pool", "gpu", "--token-file", "token")
    done = b9prov(*words)
    token = (folder / "token").read_text().strip()
    assert done.returncode == 0 and len(token) == 88
    assert token not in done.stdout + done.stderr and "Token: in token" in done.stdout
    assert stat.S_IMODE((folder / "token").stat().st_mode) == 0o600
    (machine,) = admin.list_machines("gpu")
    make_ready(gateway, Machine(machine.id, "gpu", "pending", token=token))
    done = b9prov(*words, "--output", "json")
    assert done.returncode == 2 and "is there already" in done.stderr
    assert len(admin.list_machines("gpu")) == 1  # none was made in vain


def test_the_commands_are_the_guides_with_its_tunnel(folder) -> None:
    text = f"gateway: {{host: gw.example.org, user: ann, port: 2222, admin_token: x}}\n{HOSTS}"
    path = folder / "inventory.yaml"
    path.write_text(text)
    commands = guide_commands(load_inventory(path).gateway, Machine("e13daa82", "a pool", ""))
    assert commands[1] == "ssh -fNL 1994:localhost:31994 -p 2222 ann@gw.example.org"
    assert commands[-1].endswith(
        "--machine-id e13daa82 --pool-name 'a pool' --gateway-host localhost --gateway-port 1994"
    )


def test_a_delete_asks_unless_told_not_to(b9prov, gateway, admin) -> None:
    machine = admin.create_machine("gpu").id
    words = ("machine", "delete", machine, "--pool", "gpu")
    done = b9prov(*words)
    assert done.returncode == 2 and "--yes" in done.stderr
    for answer, code in (("n", 1), ("y", 0)):
        ours, theirs = pty.openpty()
        os.write(ours, f"{answer}\n".encode())
        done = b9prov(*words, stdin=theirs)
        os.close(ours), os.close(theirs)
        assert f"Delete machine {machine} (pending)? [y/N]" in done.stderr
        assert done.returncode == code, done.stderr
        assert bool(admin.list_machines("gpu")) == bool(code)
    assert done.stdout == f"machine {machine} of pool gpu is deleted\n"


def test_a_delete_of_what_is_not_there(b9prov, gateway, admin) -> None:
    machine = admin.create_machine("gpu").id
    done = b9prov("machine", "delete", "nosuch", "--pool", "gpu", "--yes")
    said = f"error: pool gpu has no machine 'nosuch' (there are {machine})\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", said)


@pytest.mark.parametrize(
    "words", [["list"], ["create"], ["delete", "0", "--yes"]], ids=lambda words: words[0]
)
class TestWhatCantBe:
    """One line on stderr, with the way out, and the right exit code."""

    def ask(self, b9prov, words, *more) -> tuple[int, str]:
        done = b9prov("machine", *words, *more)
        assert done.stdout == "" and done.stderr.count("\n") == 1, done
        return done.returncode, done.stderr

    def test_a_local_pool(self, b9prov, gateway, words) -> None:
        code, said = self.ask(b9prov, words, "--pool", "own")
        assert code == 1 and "pool 'own'" in said

    def test_an_unknown_pool(self, b9prov, gateway, words) -> None:
        code, said = self.ask(b9prov, words, "--pool", "tpu")
        assert code == 1 and "'tpu' is not configured" in said and "worker.pools" in said

    def test_a_wrong_admin_token(self, b9prov, gateway, folder, words) -> None:
        describe(folder, f"url: {gateway.url}, admin_token: wrong-admin-token")
        code, said = self.ask(b9prov, words, "--pool", "gpu")
        assert code == 1 and "does not know the admin token" in said
        assert "wrong-admin-token" not in said

    def test_no_gateway(self, b9prov, folder, listener, words) -> None:
        port = listener.getsockname()[1]
        listener.close()
        describe(folder, f"url: 'http://127.0.0.1:{port}', admin_token: {ADMIN}")
        code, said = self.ask(b9prov, words, "--pool", "gpu")
        assert code == 1 and "Connection refused" in said and "gateway.url" in said

    def test_no_admin_token(self, b9prov, folder, words) -> None:
        describe(folder, "host: 192.0.2.9")
        code, said = self.ask(b9prov, words, "--pool", "gpu")
        assert code == 2 and "gateway.admin_token is needed" in said and "!env" in said

    def test_no_section_gateway(self, b9prov, folder, words) -> None:
        text = HOSTS.replace("pool: gpu", "machine_id: m1, machine_token: some-token")
        (folder / "inventory.yaml").write_text(text)
        code, said = self.ask(b9prov, words, "--pool", "gpu")
        assert code == 2 and "inventory.yaml" in said
