"""Hostile values in an inventory, a key or a host's output: refused, or nothing but a value.

What the schema lets through is rendered into every file that `up` writes to a worker, and read back
with the parser that the file is for.
"""

from __future__ import annotations

import base64
import copy
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from fuzzing import bounded
from hypothesis import assume, example, given
from hypothesis import strategies as st

from provisioner.engine.render import render_host
from provisioner.engine.run import Options
from provisioner.errors import BadInput
from provisioner.inventory import load_inventory
from provisioner.paths import shipped_playbook
from provisioner.playbook.loader import Loader
from provisioner.remote.module import ModuleFailed
from provisioner.remote.modules import authorized_key, tunnel_slot

ROLES = Path(__file__).parents[3] / "playbooks" / "roles"
GOOD: dict[str, Any] = {
    "gateway": {
        "host": "192.0.2.1",
        "user": "tester",
        "api": "localhost:31994",
        "admin_token": "an admin's token",
        "forwards": ["1993:localhost:31993"],
        "tunnel_address": "gateway.example.org",
        "addresses": "10.199.0.0/24",
    },
    "defaults": {
        "user": "tester",
        "gpu": False,
        "pool": "a-pool",
        "provider": "generic",
        "k3s": {
            "mode": "join",
            "url": "https://192.0.2.9:6443",
            "token": "a join token",
            "data_dir": "/srv/k3s",
            "registries": {
                "mirrors": {"docker.io": {"endpoint": ["https://192.0.2.8"]}},
                "configs": {"192.0.2.8": {"auth": {"username": "us", "password": "a password"}}},
            },
            "kubelet_args": ["max-pods=30"],
            "config": {"node-label": "room=12"},
            "api": "127.0.0.1:6443",
        },
        "ollama": {
            "host": "127.0.0.1",
            "models": ["llama3.2"],
            "models_dir": "/srv/models",
            "keep_alive": "5m",
            "gpus": ["GPU-0"],
            "env": {"OLLAMA_DEBUG": "1"},
        },
        "artifacts": {"dir": "/srv/files", "mirror": "http://192.0.2.8/files"},
        "nvidia": {"driver_min": "525.60.13", "mig": ["1g.10gb"]},
    },
    "hosts": {"w1": {"address": "192.0.2.7", "jump": "one@192.0.2.2", "private_ip": "10.0.0.7"}},
}
AUTH = ("username", "password")
PLACES = (
    *(("gateway", key) for key in ("host", "user", "api", "tunnel_address", "addresses")),
    ("gateway", "forwards", 0),
    *(("defaults", key) for key in ("user", "pool", "provider")),
    *(("defaults", "k3s", key) for key in ("url", "token", "version", "data_dir", "api")),
    ("defaults", "k3s", "kubelet_args", 0),
    ("defaults", "k3s", "config", "node-label"),
    ("defaults", "k3s", "registries", "mirrors", "docker.io", "endpoint", 0),
    *(("defaults", "k3s", "registries", "configs", "192.0.2.8", "auth", key) for key in AUTH),
    *(("defaults", "ollama", key) for key in ("host", "models_dir", "version")),
    ("defaults", "ollama", "models", 0),
    ("defaults", "ollama", "keep_alive"),
    ("defaults", "ollama", "gpus", 0),
    ("defaults", "ollama", "env", "OLLAMA_DEBUG"),
    *(("defaults", "artifacts", key) for key in ("dir", "mirror")),
    *(("defaults", "nvidia", k) for k in ("driver_min", "toolkit_repo", "toolkit_key")),
    ("defaults", "nvidia", "device_plugin"),
    ("defaults", "nvidia", "mig", 0),
    *(("hosts", "w1", key) for key in ("address", "jump", "private_ip", "machine_id")),
)
ATTACKS = (
    "$(touch${IFS}/tmp/hit)",
    "`touch /tmp/hit`",
    "; touch /tmp/hit #",
    "&& true",
    "' 'x",
    '" "x',
    "\\",
    "\n[Service]\nExecStartPre=/bin/false",
    "\r\nPermitRootLogin yes",
    " LD_PRELOAD=/tmp/hit.so",
    '" "LD_PRELOAD=/tmp/hit.so',
    "%h%n%%",
    "$HOME",
    "${HOME}",
    "-oProxyCommand=touch /tmp/hit",
    " -oProxyCommand=true",
    "*",
    "../../../etc/passwd",
    "\u202egnp.exe",
    "ä\N{PILE OF POO}",
    "\x1b]0;hit\x07",
    "\x00",
    "%$(true)",
    "#",
    "|",
    ": [",
    'command="sh" ',
)
SHELL_WORD = re.compile(r"[\w.:%@+/,=\[\]‹›-]*", re.ASCII)
hostile = st.sampled_from(ATTACKS) | st.text(min_size=1, max_size=12)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("injection")


def at(data: Any, place: tuple[Any, ...]) -> Any:
    for part in place:
        data = data.get(part) if isinstance(data, dict) else data[part]
    return data


def with_value(place: tuple[Any, ...], value: str) -> dict[str, Any]:
    data = copy.deepcopy(GOOD)
    at(data, place[:-1])[place[-1]] = value
    if place[-1] == "machine_id":
        at(data, place[:-1])["machine_token"] = "a machine's token"
    return data


def rendered(folder: Path, data: dict[str, Any]) -> dict[str, str]:
    """The files that `up` would write. Raises BadInput."""
    path = folder / "inventory.yaml"
    path.write_text(yaml.safe_dump(data))
    inventory = load_inventory(path)
    playbook = Loader([ROLES]).playbook(shipped_playbook("up", None))
    magic = {"b9agent_pyz": str(path), "b9prov_state_dir": "/nonexistent"}
    files = render_host(playbook, inventory, "w1", Options(magic=magic))
    return {file.path: file.content for file in files}


def unit_settings(text: str) -> Iterator[tuple[str, str]]:
    """Sections and settings of a unit file, as systemd tells its lines apart."""
    for line in text.split("\n"):
        if line and line[0] not in "#;":
            name, _, value = line.partition("=")
            yield name, value


def environment(value: str) -> list[str]:
    """The assignments in the value of Environment=, unquoted, specifiers expanded."""
    return [word.replace("%%", "%") for word in shlex.split(value)]


def check_shell(text: str) -> None:
    """It is a script, and no word of it but the script's own has anything that a shell reads."""
    done = subprocess.run(["sh", "-n"], input=text, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    for option, word in re.findall(r"^    (-[LR]) (.*?)(?: \\)?$", text, re.MULTILINE):
        assert SHELL_WORD.fullmatch(word), (option, word)
    (words,) = re.findall(r"^    0\) set -- (.*) ;;$", text, re.MULTILINE)
    name, port, address = shlex.split(words)
    assert name == "gateway" and port.isdecimal(), words
    assert SHELL_WORD.fullmatch(address) and not address.startswith("-"), words


def check_against(good: dict[str, str], found: dict[str, str], data: dict[str, Any]) -> None:
    """The files are those of good values, but for the values."""
    assert found.keys() == good.keys()
    for path, text in found.items():
        if path.endswith((".service", ".path", ".conf")):
            ours, theirs = (list(unit_settings(each)) for each in (good[path], text))
            assert [name for name, _ in ours] == [name for name, _ in theirs], text
            differing = {name for (name, a), (_, b) in zip(ours, theirs, strict=True) if a != b}
            assert differing <= {"Environment", "ReadWritePaths", "RequiresMountsFor"}, text
    defaults = data["defaults"]
    unit = list(unit_settings(found["/etc/systemd/system/ollama.service"]))
    ollama = defaults["ollama"]
    assert environment(dict(unit)["ReadWritePaths"])[1:] == [ollama["models_dir"]]
    dropped_in = "/etc/systemd/system/ollama.service.d/50-b9prov.conf"
    settings = [each for each in unit_settings(found[dropped_in]) if each[0] == "Environment"]
    host, gpus = ollama["host"], ",".join(ollama["gpus"])
    assert [word for _, value in settings for word in environment(value)] == [
        f"OLLAMA_HOST={f'[{host}]' if ':' in host else host}:11434",
        f"OLLAMA_MODELS={ollama['models_dir']}",
        f"OLLAMA_KEEP_ALIVE={ollama['keep_alive']}",
        f"CUDA_VISIBLE_DEVICES={gpus}",
        f"ROCR_VISIBLE_DEVICES={gpus}",
        f"OLLAMA_DEBUG={ollama['env']['OLLAMA_DEBUG']}",
    ]
    unit = dict(unit_settings(found["/etc/systemd/system/k3s.service"]))
    assert environment(unit["RequiresMountsFor"]) == [defaults["k3s"]["data_dir"]]
    k3s = yaml.safe_load(found["/etc/rancher/k3s/config.yaml"])
    assert k3s == {
        "server": defaults["k3s"]["url"],
        "token": defaults["k3s"]["token"],
        "node-name": "w1",
        "data-dir": defaults["k3s"]["data_dir"],
        "kubelet-arg": defaults["k3s"]["kubelet_args"],
        **defaults["k3s"]["config"],
    }
    registries = yaml.safe_load(found["/etc/rancher/k3s/registries.yaml"])
    assert registries == defaults["k3s"]["registries"]
    agent = yaml.safe_load(found["/etc/b9agent/config.yaml"])
    assert (agent["pool"], agent["provider"]) == (defaults["pool"], defaults["provider"])
    assert agent["machine"]["private_ip"] == data["hosts"]["w1"]["private_ip"]
    check_shell(found["/usr/local/lib/b9prov/tunnel"])
    known = found["/etc/b9prov/tunnel/known_hosts"]
    address = data["gateway"].get("tunnel_address") or data["gateway"]["host"]
    assert known.splitlines() == [known.strip("\n")]
    assert known.split()[0] == address and known.split()[1] == "ssh-ed25519"


@pytest.fixture(scope="module")
def good(folder: Path) -> dict[str, str]:
    """The files of good values."""
    return rendered(folder, GOOD)


def test_good_values_are_as_they_are(good: dict[str, str]) -> None:
    check_against(good, good, GOOD)


def test_the_check_itself_sees(good: dict[str, str]) -> None:
    path = "/usr/local/lib/b9prov/tunnel"
    for attack in ("$(true)", "; true", "x' 'y", "`x`"):
        bad = good[path].replace("1993:localhost", f"1993:{attack}")
        assert bad != good[path]
        with pytest.raises(AssertionError):
            check_shell(bad)


@bounded(200)
@given(
    place=st.sampled_from(PLACES),
    attack=hostile,
    how=st.sampled_from(("{attack}", "{good}{attack}", "{attack}{good}")),
)
@example(("gateway", "forwards", 0), "$(true)", "1993:{attack}:31993")
@example(("gateway", "forwards", 0), "$(true)", "1993:a{attack}:31993")
@example(("gateway", "api"), "`true`", "{attack}:31994")
@example(("gateway", "api"), "-oProxyCommand=true", "{attack}:31994")
@example(("gateway", "tunnel_address"), "%$(true)", "{good}{attack}")
@example(("gateway", "tunnel_address"), "fe80::1%;true", "{attack}")
@example(("defaults", "ollama", "host"), "fe80::1%a b", "{attack}")
@example(("defaults", "ollama", "models_dir"), "/a b\"c%d\\e'f$g", "{attack}")
@example(("defaults", "ollama", "models_dir"), "/x\u2028y", "{attack}")
def test_a_hostile_value_is_refused_or_a_value(
    folder: Path, good: dict[str, str], place: tuple[Any, ...], attack: str, how: str
) -> None:
    value = how.format(attack=attack, good=at(GOOD, place) or "good")
    # the inventory's author may write templates, as in Ansible; what hosts say is below
    assume("{{" not in value and "{%" not in value and "{#" not in value)
    data = with_value(place, value)
    try:
        found = rendered(folder, data)
    except BadInput:
        return
    check_against(good, found, data)


@bounded(200)
@given(name=st.sampled_from(ATTACKS).map(lambda attack: f"w{attack}") | st.text(max_size=8))
def test_a_hostile_hosts_name(folder: Path, name: str) -> None:
    data = copy.deepcopy(GOOD)
    data["hosts"] = {name: data["hosts"]["w1"]}
    path = folder / "named.yaml"
    path.write_text(yaml.safe_dump(data))
    try:
        loaded = load_inventory(path)
    except BadInput:
        return
    assert all(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", each) for each in loaded.hosts)


# -- the gateway host's authorized_keys

KEY = "ssh-ed25519 " + base64.b64encode(b"\0\0\0\x0bssh-ed25519\0\0\0 " + b"k" * 32).decode()


@bounded(300)
@given(
    worker=st.just("w1") | hostile,
    key=st.just(KEY) | hostile.map(lambda attack: KEY + attack) | hostile.map(lambda a: a + KEY),
    target=st.just("localhost:31994") | hostile.map(lambda attack: f"a{attack}:31994") | hostile,
)
@example("w1", KEY + "\n" + KEY, "localhost:1")
@example("w1", 'command="sh" ' + KEY, "localhost:1")
@example("w1", KEY, 'a:1",command="sh')
def test_a_line_of_authorized_keys(worker: str, key: str, target: str) -> None:
    """Whatever a worker calls itself and shows as its key: one line, one key, no more rights."""
    try:
        if not tunnel_slot.WORKER.fullmatch(worker):
            return
        targets = tunnel_slot.permitted([target])
        line = tunnel_slot.key_line(worker, tunnel_slot.public_key(key), "10.199.0.1", targets)
    except ModuleFailed:
        return
    assert line.splitlines() == [line]
    found = authorized_key.parse(line)
    assert found and f"{found.kind} {found.blob}" == KEY
    wanted = {"restrict", "port-forwarding", 'permitlisten="10.199.0.1:6443"'}
    wanted |= {'command="free 10.199.0.1"'}
    opened = {f'permitopen="{each}"' for each in (*targets, "10.199.0.1:6443")}
    assert set(found.options.split(",")) == wanted | opened
    shown = subprocess.run(["ssh-keygen", "-lf", "-"], input=line, text=True, capture_output=True)
    assert shown.returncode == 0 and shown.stdout.count("\n") == 1, shown.stderr
