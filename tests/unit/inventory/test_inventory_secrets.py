"""Secrets by reference, and that they never show."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from provisioner.errors import BadInput
from provisioner.inventory import Inventory, describe, load_inventory, one_shot
from provisioner.inventory.references import References
from provisioner.secrets import MASK, Secret, mask
from provisioner.yamlsource import parse_yaml

Load = Callable[..., Inventory]

TEXT = """\
    gateway:
      host: gw
      admin_token: !env B9_TEST_TOKEN
    defaults:
      become_password: plain-password
      k3s:
        token: plain-k3s-token
        registries: {configs: {reg: {auth: {username: puller, password: plain-registry}}}}
      vars: {registry: {password: !command [printf, 'from-command\\n']}}
    hosts:
      w1: {machine_id: e13daa82, machine_token: !file secrets/machine}
    """
VALUES = (
    "env-secret",
    "plain-password",
    "plain-k3s-token",
    "plain-registry",
    "from-command",
    "file-secret",
)


@pytest.fixture(autouse=True)
def references(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("B9_TEST_TOKEN", "env-secret")
    Path("secrets").mkdir()
    Path("secrets/machine").write_text("file-secret\n")


def test_secrets_are_resolved_at_load(load: Load) -> None:
    inventory = load(TEXT)
    host = inventory.hosts["w1"]
    assert inventory.gateway.admin_token == "env-secret"
    assert host.become_password == "plain-password"
    assert host.variables["machine_token"] == "file-secret"
    assert host.variables["k3s"]["token"] == "plain-k3s-token"
    assert host.variables["registry"]["password"] == "from-command"


def test_every_secret_is_one_that_does_not_show(load: Load) -> None:
    inventory = load(TEXT)
    host = inventory.hosts["w1"]
    for value in (
        inventory.gateway.admin_token,
        host.become_password,
        host.variables["machine_token"],
        host.variables["k3s"]["token"],
        host.variables["k3s"]["registries"]["configs"]["reg"]["auth"]["password"],
        host.variables["registry"]["password"],
    ):
        assert isinstance(value, Secret)


@pytest.mark.parametrize("value", VALUES)
def test_no_secret_is_in_what_is_shown(load: Load, value: str) -> None:
    inventory = load(TEXT)
    described = json.dumps(describe(inventory))
    assert MASK in described
    assert value not in described
    assert mask(f"a {value} b") == f"a {MASK} b"
    for thing in (inventory, inventory.gateway, inventory.hosts["w1"]):
        assert value not in repr(thing)
        assert value not in str(thing)


def test_describe_tells_all_but_secrets(load: Load) -> None:
    described = describe(load(TEXT))
    assert described["source"] == "inv.yaml"
    assert described["gateway"]["host"]["address"] == "gw"
    assert described["gateway"]["admin_token"] == MASK
    assert described["hosts"]["w1"]["variables"]["machine_id"] == "e13daa82"


def test_describe_masks_a_secret_that_stands_in_other_text(load: Load) -> None:
    text = """\
        hosts:
          w1: {become_password: plain-password, vars: {note: 'it is plain-password!'}}
        """
    described = describe(load(text))
    assert described["hosts"]["w1"]["variables"]["note"] == f"it is {MASK}!"


def test_a_secret_may_stand_where_no_secret_is_asked_for(load: Load) -> None:
    """It is used as it is, and masked wherever it is shown."""
    text = "hosts: {w1: {address: !env B9_TEST_TOKEN, port: !command [echo, '2222']}}"
    inventory = load(text)
    assert inventory.hosts["w1"].address + "." == "env-secret."
    assert inventory.hosts["w1"].port == 2222
    assert describe(inventory)["hosts"]["w1"]["address"] == MASK


def test_an_admin_token_comes_from_the_environment_in_one_shot(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("B9_ADMIN_TOKEN", "env-admin-token")
    inventory = one_shot(["w1"], "gw", {})
    assert isinstance(inventory.gateway.admin_token, Secret)
    assert "env-admin-token" not in repr(inventory)


@pytest.mark.parametrize(
    ("tag", "problem"),
    [
        ("!env ''", "!env needs the name of a variable"),
        ("!env [A]", "!env needs the name of a variable"),
        ("!env B9_TEST_EMPTY", "environment variable B9_TEST_EMPTY is empty"),
        ("!file ''", "!file needs a path"),
        ("!file empty", "secret file empty is empty"),
        ("!file secrets", "can't read secret file secrets: Is a directory"),
        ("!command []", "!command needs a list of words"),
        ("!command [sleep, 5]", "!command needs a list of words"),
        ("!command [b9-no-such-program]", "can't run b9-no-such-program: No such file"),
        ("!command ['false']", "false ended with 1"),
    ],
)
def test_a_secret_that_cannot_be_had_is_a_problem(
    load: Load, monkeypatch: pytest.MonkeyPatch, tag: str, problem: str
) -> None:
    monkeypatch.setenv("B9_TEST_EMPTY", "")
    Path("empty").touch()
    with pytest.raises(BadInput) as caught:
        load(f"hosts:\n  w1:\n    become_password: {tag}\n")
    assert len(caught.value.problems) == 1
    assert str(caught.value).startswith(f"inv.yaml:3: {problem}")


def test_a_command_has_a_deadline_and_its_children_end_with_it(tmp_path: Path) -> None:
    references = References(tmp_path, command_seconds=0.3)
    script = "sleep 60 & echo $! > child; wait"
    started = time.monotonic()
    parse_yaml(f"!command [sh, -c, '{script}']", "inv.yaml", references.tags)
    assert time.monotonic() - started < 5
    assert [str(problem) for problem in references.problems] == [
        "inv.yaml:1: sh gave no answer in 0.3 s"
    ]
    child = int((tmp_path / "child").read_text())
    state = Path(f"/proc/{child}/stat")
    deadline = time.monotonic() + 5
    while state.exists() and state.read_text().split()[2] != "Z":
        assert time.monotonic() < deadline, "the command's child still runs"


def test_paths_and_commands_start_at_the_inventory(tmp_path: Path) -> None:
    site = tmp_path / "site"
    site.mkdir()
    (site / "password").write_text("from-file\n")
    (site / "inv.yaml").write_text(
        "hosts:\n"
        "  w1: {become_password: !file password}\n"
        "  w2: {become_password: !command [cat, password]}\n"
    )
    hosts = load_inventory(site / "inv.yaml").hosts
    assert hosts["w1"].become_password == hosts["w2"].become_password == "from-file"


def test_a_command_that_several_hosts_use_runs_once(load: Load) -> None:
    command = "!command [sh, -c, 'echo run >> runs; echo a-password']"
    load(f"hosts: {{w1: {{become_password: {command}}}, w2: {{become_password: {command}}}}}")
    assert Path("runs").read_text() == "run\n"


def test_nothing_runs_when_the_file_is_no_yaml(load: Load) -> None:
    with pytest.raises(BadInput, match="not valid YAML"):
        load("a: !command [touch, ran]\nb: [\n")
    assert not Path("ran").exists()
