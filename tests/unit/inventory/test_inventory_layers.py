"""defaults < groups < host < -e, and what a host's variables are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from provisioner.inventory import Inventory, parse_extra

Load = Callable[..., Inventory]

LAYERS = """\
    defaults:
      user: ubuntu
      ollama: {models: [a], port: 1}
      vars: {colour: red, deep: {one: 1, two: 2}}
    groups:
      first: {hosts: [w1, w2], pool: one, ollama: {port: 2}}
      second: {hosts: [w1], pool: two}
    hosts:
      w1: {address: 198.51.100.7, vars: {deep: {two: 22}}}
      w2: {pool: own, groups: [second], ollama: {models: [b, c]}}
      w3: 198.51.100.9
    """


def test_a_host_without_settings_has_every_default(load: Load) -> None:
    host = load("hosts: {w1: }").hosts["w1"]
    assert (host.address, host.port, host.user, host.connect_timeout) == ("w1", 22, None, 10.0)
    assert host.variables["pool"] == "gpu"
    assert host.variables["k3s"]["mode"] == "server"
    assert host.variables["tunnel"]["port"] == 1994
    assert host.variables["machine_id"] is None


def test_connection_settings_and_groups_are_no_variables(load: Load) -> None:
    variables = load(LAYERS).hosts["w1"].variables
    for key in ("address", "port", "user", "become_password", "connect_timeout", "groups", "vars"):
        assert key not in variables


def test_the_later_group_wins_over_the_earlier_and_the_host_over_both(load: Load) -> None:
    hosts = load(LAYERS).hosts
    assert hosts["w1"].variables["pool"] == "two"
    assert hosts["w2"].variables["pool"] == "own"
    assert hosts["w3"].variables["pool"] == "gpu"


def test_mappings_merge_deeply_and_lists_are_replaced(load: Load) -> None:
    hosts = load(LAYERS).hosts
    assert hosts["w1"].variables["ollama"]["models"] == ["a"]
    assert hosts["w1"].variables["ollama"]["port"] == 2
    assert hosts["w2"].variables["ollama"]["models"] == ["b", "c"]
    assert hosts["w1"].variables["deep"] == {"one": 1, "two": 22}
    assert hosts["w1"].variables["colour"] == "red"


def test_groups_are_those_that_list_the_host_and_those_it_names(load: Load) -> None:
    inventory = load(LAYERS)
    assert inventory.hosts["w2"].groups == ("first", "second")
    assert inventory.groups == {"first": ("w1", "w2"), "second": ("w1", "w2")}
    assert inventory.hosts["w3"].groups == ()


def test_hosts_share_nothing_that_can_change(load: Load) -> None:
    text = """\
        defaults: {ollama: {models: [a]}, vars: {deep: {one: 1}}}
        hosts: {w1: , w2: }
        """
    hosts = load(text).hosts
    hosts["w1"].variables["deep"]["one"] = "changed"
    hosts["w1"].variables["ollama"]["models"].append("changed")
    hosts["w1"].variables["preflight"]["ignore"].append("changed")
    hosts["w1"].variables["tunnel"]["port"] = "changed"
    for other in (hosts["w2"], load(text).hosts["w1"]):
        assert other.variables["deep"]["one"] == 1
        assert other.variables["ollama"]["models"] == ["a"]
        assert other.variables["preflight"]["ignore"] == []
        assert other.variables["tunnel"]["port"] == 1994


def test_an_empty_section_leaves_the_layers_below_alone(load: Load) -> None:
    text = """\
        defaults:
          ollama: {port: 7}
          vars: {colour: red}
        hosts:
          w1:
            ollama:
            vars:
        """
    variables = load(text).hosts["w1"].variables
    assert (variables["ollama"]["port"], variables["colour"]) == (7, "red")


def test_null_takes_a_setting_back_to_none(load: Load) -> None:
    host = load("{defaults: {user: ubuntu}, hosts: {w1: {user: null}}}").hosts["w1"]
    assert host.user is None


def test_extra_wins_and_is_typed(load: Load) -> None:
    extra = parse_extra(["pool=cpu port=2222 gpu=no own=text", '{"ollama": {"port": 9}}'])
    host = load(LAYERS, extra).hosts["w1"]
    assert (host.port, host.variables["pool"], host.variables["gpu"]) == (2222, "cpu", False)
    assert host.variables["own"] == "text"
    assert (host.variables["ollama"]["port"], host.variables["ollama"]["models"]) == (9, ["a"])


def test_extra_from_a_program_merges_like_that_of_the_command_line(load: Load) -> None:
    host = load(LAYERS, {"pool": "cpu", "ollama": {"port": 9}}).hosts["w1"]
    assert host.variables["pool"] == "cpu"
    assert host.variables["ollama"]["models"] == ["a"]


def test_the_gateway_host_has_its_own_connection_and_the_hosts_defaults(load: Load) -> None:
    text = """\
        gateway: {host: gw.example.org, port: 2200, vars: {colour: blue}}
        defaults: {user: ubuntu, tunnel: {port: 1995}, vars: {colour: red, shape: round}}
        hosts: {w1: }
        """
    gateway = load(text, parse_extra(["user=root", "shape=flat"])).gateway
    assert gateway.host is not None
    assert (gateway.host.name, gateway.host.address, gateway.host.port) == (
        "gateway",
        "gw.example.org",
        2200,
    )
    assert gateway.host.user is None
    assert gateway.host.variables["tunnel"]["port"] == 1995
    assert (gateway.host.variables["colour"], gateway.host.variables["shape"]) == ("blue", "flat")


def test_a_gateway_has_its_defaults(load: Load) -> None:
    gateway = load("hosts: {w1: }").gateway
    assert (gateway.host, gateway.api, gateway.url) == (None, "localhost:31994", None)
    assert (gateway.manage, gateway.addresses, gateway.forwards) == (True, "10.199.0.0/24", [])


def test_extra_can_speak_of_the_gateway(load: Load) -> None:
    text = "{gateway: {host: gw, api: 'a:1'}, hosts: {w1: }}"
    gateway = load(text, parse_extra(['{"gateway": {"manage": false}}'])).gateway
    assert (gateway.api, gateway.manage) == ("a:1", False)


def test_a_relative_key_file_starts_at_the_inventory(load: Load, tmp_path: Path) -> None:
    Path("keys").mkdir()
    Path("keys/id").touch()
    host = load("{defaults: {identity_file: keys/id}, hosts: {w1: }}").hosts["w1"]
    assert host.identity_file == str(tmp_path / "keys/id")


def test_the_public_half_of_an_agents_key_will_do(load: Load, tmp_path: Path) -> None:
    Path("id.pub").touch()
    host = load("{hosts: {w1: {identity_file: id}}}").hosts["w1"]
    assert host.identity_file == str(tmp_path / "id")


def test_the_same_private_address_behind_two_jump_hosts_is_two_machines(load: Load) -> None:
    text = """\
        hosts:
          w1: {address: 10.0.0.5, jump: one}
          w2: {address: 10.0.0.5, jump: two}
        """
    assert list(load(text).hosts) == ["w1", "w2"]


def test_host_keys_are_fingerprints_or_keys(load: Load) -> None:
    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJmZ3uVb7t0u3uTz8l4dV2yHq1oTjTq1n0m0w3wq3wq3"
    fingerprint = "SHA256:" + "a" * 43
    text = f"hosts: {{w1: {{host_key: '{key} root@w1'}}, w2: {{host_key: '{fingerprint}'}}}}"
    hosts = load(text).hosts
    assert hosts["w1"].host_key == f"{key} root@w1"
    assert hosts["w2"].host_key == fingerprint
