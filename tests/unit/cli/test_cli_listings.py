"""Commands that show something and contact nobody."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from provisioner.cli.main import program
from provisioner.engine import render

INVENTORY = """\
gateway: {host: 127.0.0.9, user: a, admin_token: !env TRY_TOKEN}
groups: {rack: {hosts: [w1], pool: cpu}}
hosts:
  w1: {address: 127.0.0.1, become_password: !env TRY_PASSWORD}
  w2: 127.0.0.2
"""
SECRETS = {"TRY_TOKEN": "token-3141592653", "TRY_PASSWORD": "password-2718281828"}


@pytest.fixture
def show(folder, monkeypatch):
    """Runs a command in this process; its exit code and stdout, with no secret anywhere."""
    (folder / "inventory.yaml").write_text(INVENTORY)
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)

    def run(*words: str) -> tuple[int, str]:
        result = CliRunner().invoke(program, list(words))
        for secret in SECRETS.values():
            assert secret not in result.output
        return result.exit_code, result.stdout

    return run


def test_validate(show) -> None:
    assert show("inventory", "validate") == (0, "inventory.yaml: fine, 2 hosts in 1 group\n")
    code, out = show("inventory", "validate", "--output", "json")
    assert (code, json.loads(out)["hosts"]) == (0, 2)


def test_show(show) -> None:
    code, out = show("inventory", "show", "inventory.yaml", "--limit", "rack")
    assert code == 0
    assert [line.split() for line in out.splitlines()] == [
        ["NAME", "GROUPS", "ADDRESS", "PORT", "USER", "POOL"],
        ["w1", "rack", "127.0.0.1", "22", "-", "cpu"],
    ]


def test_show_as_json(show) -> None:
    code, out = show("inventory", "show", "--output", "json", "-e", "colour=red")
    shown = json.loads(out)
    assert (code, shown["schema"]) == (0, 1)
    assert [host["name"] for host in shown["hosts"]] == ["w1", "w2"]
    assert shown["hosts"][0]["variables"]["colour"] == "red"
    assert shown["gateway"]["admin_token"] == "********"


def test_render_lays_files_out(show, folder, playbook) -> None:
    playbook("    - copy: {content: '{{ gateway.admin_token }} {{ pool }}', dest: /etc/x/y}\n")
    code, out = show("render", "--playbook", "try.yaml", "--limit", "w1")
    assert code == 0
    assert "w1:/etc/x/y" in out
    assert "******** cpu" in out
    code, out = show("render", "--playbook", "try.yaml", "--output-dir", "tree")
    assert (code, out) == (0, "")
    assert (folder / "tree" / "w1" / "etc" / "x" / "y").read_text().strip() == "******** cpu"
    assert (folder / "tree" / "w2" / "etc" / "x" / "y").exists()


def test_render_as_json(show, playbook) -> None:
    playbook("    - copy: {content: hello, dest: /etc/x, mode: '0640', owner: root}\n")
    code, out = show("render", "--playbook", "try.yaml", "--limit", "w1", "--output", "json")
    assert code == 0
    [file] = json.loads(out)["files"]
    expected = {"host": "w1", "path": "/etc/x", "mode": "0640", "owner": "root", "content": "hello"}
    assert file == expected


def test_render_stays_within_its_folder(show, folder, playbook) -> None:
    playbook("    - copy: {content: hello, dest: /../../../outside}\n")
    show("render", "--playbook", "try.yaml", "--limit", "w1", "--output-dir", "tree/deep")
    assert [path.name for path in folder.rglob("outside")] == ["outside"]
    assert (folder / "tree" / "deep" / "w1" / "outside").exists()


def test_render_needs_no_sshd_on_the_controller(show, monkeypatch) -> None:
    facts = {name: fact for name, fact in render.gather().items() if "host_key" not in name}
    monkeypatch.setattr(render, "gather", lambda: facts)
    code, out = show("render", "--limit", "w1")
    assert code == 0 and "‹ansible_ssh_host_key_ed25519_public›" in out


def test_render_of_what_up_writes(show) -> None:
    code, out = show("render", "--limit", "w1")
    assert code == 0
    assert "w1:/etc/systemd/system/b9-tunnel.service" in out


def test_a_lab_that_is_not_there(show) -> None:
    for words in (["status"], ["inventory"], ["status", "--output", "json"]):
        result = CliRunner().invoke(program, ["lab", *words, "--name", "none-such"])
        assert result.exit_code == 1
        advice = "b9prov lab up --name none-such"
        assert result.stderr == f"error: there is no lab none-such ({advice})\n"


@pytest.mark.parametrize("command", [["demo"], ["lab", "up"]])
def test_a_machine_that_can_run_no_lab(monkeypatch, folder, command) -> None:
    monkeypatch.setattr("provisioner.lab.machine.check_machine", lambda: ["no root", "no overlay"])
    result = CliRunner().invoke(program, command)
    assert (result.exit_code, result.stderr) == (1, "error: no root; no overlay\n")
