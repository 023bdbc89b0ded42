"""Every bad inventory: the exact problem, with file and line, and the way out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from provisioner.errors import BadInput
from provisioner.inventory import load_inventory

Refused = Callable[..., list[str]]

CASES = {
    "empty file": (
        "",
        "inv.yaml: the inventory is empty (inventory.example.yaml shows every key)",
    ),
    "only a comment": (
        "# nothing\n",
        "inv.yaml: the inventory is empty (inventory.example.yaml shows every key)",
    ),
    "a list": (
        "- w1\n",
        "inv.yaml:1: expected a mapping, got a list (inventory.example.yaml shows every key)",
    ),
    "no hosts key": (
        "defaults: {user: ubuntu}\n",
        "inv.yaml: there are no hosts (inventory.example.yaml shows every key)",
    ),
    "empty hosts": (
        "gateway: {host: gw}\nhosts:\n",
        "inv.yaml:2: there are no hosts (inventory.example.yaml shows every key)",
    ),
    "empty hosts mapping": (
        "hosts: {}\n",
        "inv.yaml:1: there are no hosts (inventory.example.yaml shows every key)",
    ),
    "hosts a list": (
        "hosts: [w1, w2]\n",
        "inv.yaml:1: hosts: expected a mapping, got a list",
    ),
    "tab": (
        "hosts:\n\tw1: 198.51.100.7\n",
        "inv.yaml:2: a tab is used for indentation (YAML allows only spaces)",
    ),
    "duplicate host": (
        "hosts:\n  w1: 198.51.100.7\n  w1: 198.51.100.8\n",
        "inv.yaml:3: duplicate key 'w1' (it is already given at line 2)",
    ),
    "unknown tag": (
        "hosts:\n  w1: {become_password: !vault x}\n",
        "inv.yaml:2: unknown tag !vault (known here: !command, !env, !file)",
    ),
    "unknown top key": (
        "host:\n  w1:\n",
        "inv.yaml:1: unknown key 'host' (did you mean 'hosts'?)",
    ),
    "unknown key of a host": (
        "hosts:\n  w1:\n    adress: 198.51.100.7\n",
        "inv.yaml:3: unknown key 'adress' in hosts.w1 (did you mean 'address'?)",
    ),
    "unknown key deep down": (
        "hosts:\n  w1:\n    k3s:\n      verison: v1\n",
        "inv.yaml:4: unknown key 'verison' in hosts.w1.k3s (did you mean 'version'?)",
    ),
    "unknown key like nothing": (
        "hosts:\n  w1: {flavour: sweet}\n",
        "inv.yaml:2: unknown key 'flavour' in hosts.w1 (variables of your own go under vars:)",
    ),
    "ansible's key": (
        "hosts:\n  w1:\n    ansible_host: 198.51.100.7\n",
        "inv.yaml:3: unknown key 'ansible_host' in hosts.w1 (did you mean 'address'?)",
    ),
    "key a number": (
        "hosts:\n  w1:\n    1.5: x\n",
        "inv.yaml:3: unknown key '1.5' in hosts.w1 (variables of your own go under vars:)",
    ),
    "list a set": (
        "hosts: {w1: {ollama: {models: !!set {a}}}}\n",
        "inv.yaml:1: hosts.w1.ollama.models: expected a list, got {'a'}",
    ),
    "host key in defaults": (
        "defaults:\n  machine_id: e13daa82\nhosts: {w1: }\n",
        "inv.yaml:2: 'machine_id' in defaults can be given for single hosts only",
    ),
    "unknown key of the gateway": (
        "gateway:\n  host: gw\n  tokn: x\nhosts: {w1: }\n",
        "inv.yaml:3: unknown key 'tokn' in gateway (did you mean 'admin_token'?)",
    ),
    "port a word": (
        "hosts:\n  w1:\n    port: abc\n",
        "inv.yaml:3: hosts.w1.port: expected a whole number, got 'abc'",
    ),
    "port true": (
        "hosts:\n  w1: {port: true}\n",
        "inv.yaml:2: hosts.w1.port: expected a whole number, got true",
    ),
    "port out of range": (
        "hosts:\n  w1: {port: 70000}\n",
        "inv.yaml:2: hosts.w1.port: expected a whole number from 1 to 65535, got 70000",
    ),
    "port null": (
        "defaults:\n  port:\nhosts: {w1: }\n",
        "inv.yaml:2: defaults.port: expected a whole number, got nothing",
    ),
    "port a fraction": (
        "hosts:\n  w1: {port: 22.5}\n",
        "inv.yaml:2: hosts.w1.port: expected a whole number, got 22.5",
    ),
    "version a number": (
        "defaults:\n  ollama:\n    version: 0.9\nhosts: {w1: }\n",
        "inv.yaml:3: defaults.ollama.version: expected text, got 0.9 (put it in quotes)",
    ),
    "boolean a word": (
        "defaults: {k3s: {enabled: maybe}}\nhosts: {w1: }\n",
        "inv.yaml:1: defaults.k3s.enabled: expected true or false, got 'maybe'",
    ),
    "gpu a word": (
        "defaults: {gpu: some}\nhosts: {w1: }\n",
        "inv.yaml:1: defaults.gpu: expected true, false or auto, got 'some'",
    ),
    "choice": (
        "defaults: {k3s: {mode: agent}}\nhosts: {w1: }\n",
        "inv.yaml:1: defaults.k3s.mode: expected one of server, join, existing, got 'agent'",
    ),
    "section a word": (
        "defaults:\n  ollama: yes please\nhosts: {w1: }\n",
        "inv.yaml:2: defaults.ollama: expected a mapping, got 'yes please'",
    ),
    "list a word": (
        "defaults: {ollama: {models: llama3.2}}\nhosts: {w1: }\n",
        "inv.yaml:1: defaults.ollama.models: expected a list, got 'llama3.2'",
    ),
    "item of a list": (
        "defaults:\n  ollama:\n    models:\n      - llama3.2\n      - 7\nhosts: {w1: }\n",
        "inv.yaml:5: defaults.ollama.models.1: expected text, got 7 (put it in quotes)",
    ),
    "host a number": (
        "hosts:\n  w1: 7\n",
        "inv.yaml:2: hosts.w1: expected a mapping, got 7",
    ),
    "name a number": (
        "hosts:\n  1: 198.51.100.7\n",
        "inv.yaml:2: hosts.1: expected a name of letters, digits, '.', '_' and '-', 63 "
        "at most, got 1 (put it in quotes)",
    ),
    "name with a slash": (
        "hosts:\n  a/b: 198.51.100.7\n",
        "inv.yaml:2: hosts.a/b: expected a name of letters, digits, '.', '_' and '-', 63 "
        "at most, got 'a/b' (names become file names and key comments on the gateway "
        "host)",
    ),
    "name dots": (
        "hosts:\n  ../w1: 198.51.100.7\n",
        "inv.yaml:2: hosts.../w1: expected a name of letters, digits, '.', '_' and '-', "
        "63 at most, got '../w1' (names become file names and key comments on the "
        "gateway host)",
    ),
    "name reserved": (
        "hosts:\n  gateway: 198.51.100.7\n",
        "inv.yaml:2: hosts.gateway: expected another name, got 'gateway' ('gateway' has "
        "a meaning of its own in host patterns)",
    ),
    "group name reserved": (
        "groups:\n  all: {}\nhosts: {w1: }\n",
        "inv.yaml:2: groups.all: expected another name, got 'all' ('all' has a meaning "
        "of its own in host patterns)",
    ),
    "address with user": (
        "hosts:\n  w1: ubuntu@198.51.100.7\n",
        "inv.yaml:2: hosts.w1.address: expected an IP address or host name, got "
        "'ubuntu@198.51.100.7' (the user goes under user:)",
    ),
    "address with port": (
        "hosts:\n  w1: {address: '198.51.100.7:2222'}\n",
        "inv.yaml:2: hosts.w1.address: expected an IP address or host name, got "
        "'198.51.100.7:2222' (the port goes under port:)",
    ),
    "user with option": (
        "hosts:\n  w1: {user: -oProxyCommand=x}\n",
        "inv.yaml:2: hosts.w1.user: expected one word that does not begin with '-', got "
        "'-oProxyCommand=x'",
    ),
    "host key": (
        "hosts:\n  w1: {host_key: 'MD5:aa:bb'}\n",
        'inv.yaml:2: hosts.w1.host_key: expected "SHA256:…" or "ssh-ed25519 AAAA…", as '
        "ssh-keygen -l or ssh-keyscan shows, got 'MD5:aa:bb'",
    ),
    "truncated key": (
        "hosts:\n  w1: {host_key: ssh-ed25519 AAAA}\n",
        'inv.yaml:2: hosts.w1.host_key: expected "SHA256:…" or "ssh-ed25519 AAAA…", as '
        "ssh-keygen -l or ssh-keyscan shows, got 'ssh-ed25519 AAAA'",
    ),
    "timeout": (
        "hosts:\n  w1: {connect_timeout: 0}\n",
        "inv.yaml:2: hosts.w1.connect_timeout: expected a number of seconds from 0.1 to 600, got 0",
    ),
    "timeout beyond all numbers": (
        f"hosts:\n  w1: {{connect_timeout: 1{'0' * 400}}}\n",
        f"inv.yaml:2: hosts.w1.connect_timeout: expected a number of seconds, got 1{'0' * 59}…",
    ),
    "url": (
        "gateway: {url: 'gw:31994'}\nhosts: {w1: }\n",
        "inv.yaml:1: gateway.url: expected a URL that begins with http:// or https://, "
        "got 'gw:31994'",
    ),
    "api": (
        "gateway: {host: gw, api: localhost}\nhosts: {w1: }\n",
        "inv.yaml:1: gateway.api: expected HOST:PORT, got 'localhost'",
    ),
    "api with a port beyond all numbers": (
        f"gateway: {{host: gw, api: 'gw:{'9' * 5000}'}}\nhosts: {{w1: }}\n",
        f"inv.yaml:1: gateway.api: expected HOST:PORT, got 'gw:{'9' * 56}…",
    ),
    "forward": (
        "gateway:\n  host: gw\n  forwards: ['6379:redis']\nhosts: {w1: }\n",
        "inv.yaml:3: gateway.forwards.0: expected PORT:HOST:HOSTPORT, got '6379:redis'",
    ),
    "forward taken": (
        "gateway:\n  host: gw\n  forwards: ['1994:localhost:31993']\nhosts: {w1: }\n",
        "inv.yaml:3: gateway.forwards: port 1994 of a worker is taken already (choose another)",
    ),
    "forward twice": (
        "gateway:\n"
        "  host: gw\n"
        "  forwards:\n"
        "  - 1993:localhost:31993\n"
        "  - 1993:localhost:31566\n"
        "hosts: {w1: }\n",
        "inv.yaml:5: gateway.forwards: port 1993 of a worker is taken already (choose another)",
    ),
    "network word": (
        "gateway: {host: gw, addresses: ten}\nhosts: {w1: }\n",
        "inv.yaml:1: gateway.addresses: expected an IPv4 network such as 10.199.0.0/24, got 'ten'",
    ),
    "network host bits": (
        "gateway: {host: gw, addresses: 10.199.0.7/24}\nhosts: {w1: }\n",
        "inv.yaml:1: gateway.addresses: expected an IPv4 network such as 10.199.0.0/24, "
        "got '10.199.0.7/24' (did you mean 10.199.0.0/24?)",
    ),
    "network v6": (
        "gateway: {host: gw, addresses: 'fd00::/64'}\nhosts: {w1: }\n",
        "inv.yaml:1: gateway.addresses: expected an IPv4 network such as 10.199.0.0/24, "
        "got 'fd00::/64'",
    ),
    "network too small": (
        "gateway:\n  host: gw\n  addresses: 10.199.0.0/30\nhosts: {w1: , w2: , w3: }\n",
        "inv.yaml:3: gateway.addresses: 10.199.0.0/30 has 2 addresses for 3 hosts (give "
        "a wider network, such as a /24)",
    ),
    "network too small for a fleet": (
        "gateway: {host: gw}\nhosts: {" + ", ".join(f"w{n}: " for n in range(600)) + "}\n",
        "inv.yaml:1: gateway.addresses: 10.199.0.0/24 has 254 addresses for 600 hosts (give "
        "a wider network, such as a /22)",
    ),
    "gateway without host": (
        "gateway: {user: ubuntu}\nhosts: {w1: }\n",
        "inv.yaml:1: gateway: host or url is needed (the SSH address of the gateway "
        "host, or the URL of the API)",
    ),
    "same address": (
        "hosts:\n  w1: 198.51.100.7\n  w2: {address: 198.51.100.7, port: 22}\n",
        "inv.yaml:3: hosts.w2: the same address as hosts.w1, 198.51.100.7 port 22 (two "
        "workers would fight over one machine)",
    ),
    "same machine": (
        "hosts:\n"
        "  w1: {machine_id: e13daa82, machine_token: aaaaaaaa}\n"
        "  w2: {machine_id: e13daa82, machine_token: bbbbbbbb}\n",
        "inv.yaml:3: hosts.w2: the same machine_id as hosts.w1, e13daa82 (each worker is "
        "a machine of its own)",
    ),
    "machine id alone": (
        "hosts:\n  w1:\n    machine_id: e13daa82\n",
        "inv.yaml:3: hosts.w1: machine_id is given without machine_token (they go together)",
    ),
    "join without url": (
        "hosts:\n  w1:\n    k3s:\n      mode: join\n",
        "inv.yaml:4: hosts.w1: k3s.mode join needs k3s.url and k3s.token",
    ),
    "a key of k3s's configuration that is one of ours": (
        "hosts:\n  w1:\n    k3s:\n      config:\n        data-dir: /srv\n",
        "inv.yaml:5: hosts.w1: k3s.config can't have 'data-dir' (it is k3s.data_dir)",
    ),
    "k3s's configuration is a list": (
        "hosts:\n  w1:\n    k3s:\n      config: [tls-san]\n",
        "inv.yaml:4: hosts.w1.k3s.config: expected a mapping, got a list",
    ),
    "not of registries.yaml": (
        "hosts:\n  w1:\n    k3s:\n      registries:\n        mirror: {}\n",
        "inv.yaml:5: hosts.w1.k3s.registries: expected mirrors and configs, as in registries.yaml,"
        " not 'mirror'",
    ),
    "a kubeconfig for a k3s of ours": (
        "hosts:\n  w1:\n    k3s:\n      kubeconfig: /root/.kube/config\n",
        "inv.yaml:4: hosts.w1: k3s.kubeconfig goes with k3s.mode existing",
    ),
    "images for another's Kubernetes": (
        "hosts:\n  w1:\n    k3s: {mode: existing, kubeconfig: /x, prepull: [busybox]}\n",
        "inv.yaml:3: hosts.w1: k3s.prepull goes with a k3s, not with k3s.kubeconfig"
        " (have that Kubernetes pull its images itself)",
    ),
    "unknown host in group": (
        "groups:\n  lambda:\n    hosts: [worker-1, wroker-2]\nhosts: {worker-1: , worker-2: }\n",
        "inv.yaml:3: groups.lambda: there is no host 'wroker-2' (did you mean 'worker-2'?)",
    ),
    "unknown group of host": (
        "groups: {lambda: {}}\nhosts:\n  w1: {groups: [lamda]}\n",
        "inv.yaml:3: hosts.w1: there is no group 'lamda' (did you mean 'lambda'?)",
    ),
    "host and group": (
        "groups:\n  w1: {}\nhosts: {w1: }\n",
        "inv.yaml:2: 'w1' is both a host and a group",
    ),
    "variable name": (
        "hosts:\n  w1: {vars: {my-var: 1}}\n",
        "inv.yaml:2: hosts.w1.vars: 'my-var' can't be the name of a variable (a name has "
        "letters, digits and '_' only, and begins with no digit)",
    ),
    "variable shadows": (
        "hosts:\n  w1:\n    vars: {pool: cpu}\n",
        "inv.yaml:3: 'pool' is a setting, not a variable of your own (take it out of vars:)",
    ),
    "env": (
        "gateway:\n  host: gw\n  admin_token: !env B9_NOT_SET\nhosts: {w1: }\n",
        "inv.yaml:3: environment variable B9_NOT_SET is not set (export B9_NOT_SET=…)",
    ),
    "secret file": (
        "gateway:\n  host: gw\n  admin_token: !file no-token\nhosts: {w1: }\n",
        "inv.yaml:3: no such secret file: no-token (make it, readable by you alone (chmod 600))",
    ),
    "command a text": (
        "gateway:\n  host: gw\n  admin_token: !command pass show token\nhosts: {w1: }\n",
        "inv.yaml:3: !command needs a list of words (write !command [PROGRAM, ARGUMENT, "
        "…]; no shell)",
    ),
    "command fails": (
        "gateway:\n"
        "  host: gw\n"
        "  admin_token: !command [sh, -c, 'echo no token >&2; exit 3']\n"
        "hosts: {w1: }\n",
        "inv.yaml:3: sh ended with 3 (it said: no token)",
    ),
    "command silent": (
        "gateway:\n  host: gw\n  admin_token: !command ['true']\nhosts: {w1: }\n",
        "inv.yaml:3: true printed nothing",
    ),
    "token a number": (
        "gateway:\n  host: gw\n  admin_token: 12345678\nhosts: {w1: }\n",
        "inv.yaml:3: gateway.admin_token: expected text (put it in quotes)",
    ),
    "token a list": (
        "gateway:\n  host: gw\n  admin_token: [hunter22]\nhosts: {w1: }\n",
        "inv.yaml:3: gateway.admin_token: expected text",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_bad_inventory_is_one_problem_in_plain_words(name: str, refused: Refused) -> None:
    text, problem = CASES[name]
    assert refused(text) == [problem]


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"no such file: .*/none.yaml \(check the path\)"):
        load_inventory(tmp_path / "none.yaml")


def test_a_directory_is_said(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="is a directory"):
        load_inventory(tmp_path)


def test_a_missing_key_file_is_said_once_for_all_hosts(refused: Refused) -> None:
    text = """\
        defaults:
          identity_file: keys/none
        hosts: {w1: , w2: , w3: }
        """
    path = Path("keys/none").absolute()
    assert refused(text) == [f"inv.yaml:2: identity_file: no such file: {path}"]


def test_all_problems_come_at_once_in_the_order_of_the_file(refused: Refused) -> None:
    text = """\
        gateway:
          host: gw
          admin_token: !env B9_NOT_SET
        defaults:
          become_password: !file none
          prot: 22
        hosts:
          w1: {port: x}
          w2: {become_password: !file none-either}
        """
    assert [problem.partition(": ")[0] for problem in refused(text)] == [
        "inv.yaml:3",
        "inv.yaml:5",
        "inv.yaml:6",
        "inv.yaml:8",
        "inv.yaml:9",
    ]


def test_the_last_number_0_and_255_are_no_addresses_for_workers(refused: Refused) -> None:
    hosts = ", ".join(f"w{number}: " for number in range(509))
    text = f"{{gateway: {{host: gw, addresses: 10.199.0.0/23}}, hosts: {{{hosts}}}}}"
    (problem,) = refused(text)
    assert "10.199.0.0/23 has 508 addresses for 509 hosts" in problem


def test_an_unresolved_secret_is_one_problem_even_where_a_number_belongs(refused: Refused) -> None:
    text = "hosts: {w1: {port: !env B9_NOT_SET}}"
    assert refused(text) == [
        "inv.yaml:1: environment variable B9_NOT_SET is not set (export B9_NOT_SET=…)"
    ]


@pytest.mark.parametrize(
    ("text", "name", "what"),
    [
        ("gateway: !env B9_NOT_SET\nhosts: {w1: }", "gateway", "a mapping"),
        ("groups: {a: !env B9_NOT_SET}\nhosts: {w1: }", "groups.a", "a mapping"),
        ("hosts: !env B9_NOT_SET", "hosts", "a mapping"),
        ("hosts: {w1: {groups: !env B9_NOT_SET}}", "hosts.w1.groups", "a list"),
    ],
)
def test_no_secret_will_do_for_a_mapping_or_a_list(
    refused: Refused, text: str, name: str, what: str
) -> None:
    assert refused(text) == [
        "inv.yaml:1: environment variable B9_NOT_SET is not set (export B9_NOT_SET=…)",
        f"inv.yaml:1: {name}: expected {what}, got another value, which is secret",
    ]


def test_an_unknown_key_is_one_whatever_its_value(refused: Refused) -> None:
    assert refused("hosts: {w1: {adress: !env B9_NOT_SET}}") == [
        "inv.yaml:1: environment variable B9_NOT_SET is not set (export B9_NOT_SET=…)",
        "inv.yaml:1: unknown key 'adress' in hosts.w1 (did you mean 'address'?)",
    ]


def test_the_value_of_a_secret_is_not_in_the_problem(
    refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("B9_TEST_SECRET", "hunter22")
    assert refused("hosts: {w1: {port: !env B9_TEST_SECRET}}") == [
        "inv.yaml:1: hosts.w1.port: expected a whole number, got another value, which is secret"
    ]
    assert "hunter22" not in str(refused("hosts: {w1: {become_password: [hunter22]}}"))
    assert "12345678" not in str(refused("hosts: {1: {become_password: 12345678}}"))


def test_what_is_no_yaml_is_named_with_its_line(refused: Refused) -> None:
    # the words behind the colon are those of the YAML library, with or without libyaml
    [problem] = refused("gateway: {host: a}\nhosts: {w1: [}\n")
    assert problem.startswith("inv.yaml:2: not valid YAML: ")
