"""-e in its forms, and hosts given without a file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from provisioner.errors import BadInput
from provisioner.inventory import Inventory, one_shot, parse_extra
from provisioner.secrets import Secret

Load = Callable[..., Inventory]


@pytest.mark.parametrize(
    ("items", "result"),
    [
        ([], {}),
        (["a=1"], {"a": "1"}),
        (["a=1 b='x y'"], {"a": "1", "b": "x y"}),
        (["a=b=c"], {"a": "b=c"}),
        (["a="], {"a": ""}),
        (['{"a": 1, "b": [true]}'], {"a": 1, "b": [True]}),
        (["{a: 1}"], {"a": 1}),
        (["a=1", "a=2"], {"a": "2"}),
        (['{"a": {"b": 1}}', '{"a": {"c": 2}}'], {"a": {"b": 1, "c": 2}}),
    ],
)
def test_extra_has_ansibles_forms(items: list[str], result: dict[str, object]) -> None:
    assert parse_extra(items) == result


def test_extra_from_a_file_may_refer_to_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("B9_TEST_TOKEN", "env-secret")
    (tmp_path / "extra.yaml").write_text("pool: cpu\nregistry_password: !env B9_TEST_TOKEN\n")
    extra = parse_extra([f"@{tmp_path}/extra.yaml"])
    assert extra == {"pool": "cpu", "registry_password": "env-secret"}
    assert isinstance(extra["registry_password"], Secret)


@pytest.mark.parametrize(
    ("item", "problem"),
    [
        ("word", "-e: expected NAME=VALUE, a mapping in braces or @FILE, got 'word'"),
        ("=1", "-e: expected NAME=VALUE, a mapping in braces or @FILE, got '=1'"),
        ("a='1", '-e: a quote is not closed in "a=\'1"'),
        ("[1, 2]", "-e: expected a mapping of variables"),
        ("@none.yaml", "no such file: none.yaml (check the path)"),
    ],
)
def test_extra_that_cannot_be_read_says_why(item: str, problem: str) -> None:
    with pytest.raises(BadInput) as caught:
        parse_extra([item])
    assert str(caught.value) == problem


@pytest.mark.parametrize(
    ("items", "problem"),
    [
        (["port=abc"], "-e: port: expected a whole number, got 'abc'"),
        (["ollama=x"], "-e: ollama: expected a mapping, got 'x'"),
        (
            ['{"ollama": {"modles": []}}'],
            "-e:1: unknown key 'modles' in ollama (did you mean 'models'?)",
        ),
        (["groups=x"], "-e: groups: expected a list, got 'x'"),
        (['{"groups": []}'], "-e:1: 'groups' can't be set by -e (groups belong in the inventory)"),
        (['{"gateway": {"api": "x"}}'], "-e:1: gateway.api: expected HOST:PORT, got 'x'"),
        (["gateway=x"], "-e: gateway: expected a mapping, got 'x'"),
        (
            ["my-var=1"],
            "-e: vars: 'my-var' can't be the name of a variable "
            "(a name has letters, digits and '_' only, and begins with no digit)",
        ),
    ],
)
def test_known_settings_in_extra_are_checked(load: Load, items: list[str], problem: str) -> None:
    with pytest.raises(BadInput) as caught:
        load("hosts: {w1: }", parse_extra(items))
    assert str(caught.value).splitlines()[0] == problem


def test_a_setting_of_an_extra_file_has_its_line(load: Load) -> None:
    Path("extra.yaml").write_text("pool: cpu\nport: abc\ngateway:\n  api: x\n")
    with pytest.raises(BadInput) as caught:
        load("hosts: {w1: }", parse_extra(["@extra.yaml"]))
    assert str(caught.value).splitlines() == [
        "extra.yaml:2: port: expected a whole number, got 'abc'",
        "extra.yaml:4: gateway.api: expected HOST:PORT, got 'x'",
    ]


def test_one_address_for_all_hosts_is_refused(load: Load) -> None:
    with pytest.raises(BadInput, match="the same address"):
        load("hosts: {w1: , w2: }", parse_extra(["address=198.51.100.7"]))


@pytest.mark.parametrize(
    ("target", "name", "user", "address", "port"),
    [
        ("ubuntu@203.0.113.7", "203.0.113.7", "ubuntu", "203.0.113.7", 22),
        ("ubuntu@203.0.113.7:2222", "203.0.113.7-2222", "ubuntu", "203.0.113.7", 2222),
        ("w1.example.org", "w1.example.org", None, "w1.example.org", 22),
        ("root@[2001:db8::7]:23", "2001-db8--7-23", "root", "2001:db8::7", 23),
        ("[2001:db8::7]", "2001-db8--7", None, "2001:db8::7", 22),
        ("2001:db8::7", "2001-db8--7", None, "2001:db8::7", 22),
        ("[::1]:2222", "1-2222", None, "::1", 2222),
    ],
)
def test_a_target_is_a_host(
    target: str, name: str, user: str | None, address: str, port: int
) -> None:
    (host,) = one_shot([target], None).hosts.values()
    assert (host.name, host.user, host.address, host.port) == (name, user, address, port)


@pytest.mark.parametrize(
    "target", ["", "@203.0.113.7", "ubuntu@", "w1:port", "w1:0", "w1:70000", "a b", "u@[::1", "-o"]
)
def test_a_bad_target_is_a_problem(target: str) -> None:
    with pytest.raises(BadInput) as caught:
        one_shot([target], None)
    (problem,) = caught.value.problems
    assert str(problem).startswith(f"--host: expected USER@ADDRESS[:PORT], got {target!r}")


def test_all_bad_targets_come_at_once() -> None:
    with pytest.raises(BadInput) as caught:
        one_shot(["w1:x", "w2", "w2"], "gw:y")
    assert [str(problem).partition(":")[0] for problem in caught.value.problems] == [
        "--host",
        "--host",
        "--gateway-host",
    ]


def test_no_target_at_all_is_a_problem() -> None:
    with pytest.raises(BadInput, match="there are no hosts"):
        one_shot([], "gw")


def test_a_whole_one_shot() -> None:
    extra = parse_extra(["pool=cpu connect_timeout=3", '{"gateway": {"manage": false}}'])
    inventory = one_shot(["ubuntu@203.0.113.7", "203.0.113.8"], "admin@gw.example.org:2200", extra)
    gateway = inventory.gateway
    assert inventory.source == "command line"
    assert gateway.host is not None
    assert (gateway.host.user, gateway.host.address, gateway.host.port) == (
        "admin",
        "gw.example.org",
        2200,
    )
    assert (gateway.manage, gateway.host.connect_timeout) == (False, 3.0)
    assert [host.variables["pool"] for host in inventory.select(None)] == ["cpu", "cpu"]


def test_a_key_file_of_one_shot_starts_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("id").touch()
    inventory = one_shot(["w1"], "gw", parse_extra(["identity_file=id"]))
    assert inventory.gateway.host is not None
    assert inventory.gateway.host.identity_file == str(tmp_path / "id")
    assert inventory.hosts["w1"].identity_file == str(tmp_path / "id")
