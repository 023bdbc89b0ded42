"""`b9prov upgrade` on this machine, with playbooks that stand for those shipped."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from provisioner.agent import VERSION

INVENTORY = """\
hosts:
  localhost:
    pool: cpu
    ollama: {version: "0.9.6"}
    k3s: {version: v1.33.4+k3s1, mode: MODE}
"""


@pytest.fixture
def installed(folder: Path, playbook: Callable[..., Path]) -> Callable[..., tuple[str, ...]]:
    """Options for a host on which these versions are said to be installed."""

    def say(
        ollama: str = "ollama version is 0.9.6+own",
        k3s: str = "k3s version v1.33.4+k3s1 (abc)",
        agent: str = f"b9agent {VERSION}",
        build: str = "another",
        mode: str = "server",
        up: str = "    - file: {path: '{{ playbook_dir }}/upped', state: touch}\n",
    ) -> tuple[str, ...]:
        (folder / "inventory.yaml").write_text(INVENTORY.replace("MODE", mode))
        found = json.dumps([ollama, k3s, agent, build])
        own = playbook(f"    - set_fact: {{b9_versions: {found}}}\n", "own/versions.yaml").parent
        playbook(up, "own/up.yaml")
        return ("upgrade", "--playbooks", str(own))

    return say


def rows(done) -> list[list[str]]:
    found = json.loads(done.stdout.splitlines()[0])
    assert (found["schema"], found["event"]) == (1, "upgrades")
    return [[row[key] for key in ("part", "now", "then", "how")] for row in found["upgrades"]]


def build(b9prov, installed) -> str:
    """The digest of the agent that this b9prov brings."""
    from hashlib import sha256

    from provisioner.cli.session import agent_zipapp

    return sha256(Path(agent_zipapp()).read_bytes()).hexdigest()


def test_nothing_to_do(b9prov, installed, folder) -> None:
    done = b9prov(*installed(build=build(b9prov, installed)))
    said = "nothing to do: all versions are the inventory's\n"
    assert (done.returncode, done.stdout) == (0, said), done.stderr
    assert not (folder / "own" / "upped").exists()


def test_what_would_change(b9prov, installed, folder) -> None:
    words = installed(
        ollama="Warning: client version is 0.8.0",
        k3s="k3s version v1.32.9+k3s1 (abc)",
        agent="b9agent 0.0.9",
    )
    done = b9prov(*words, "--check", "--output", "json")
    assert done.returncode == 0
    assert rows(done) == [
        ["ollama", "0.8.0", "0.9.6", "restarted"],
        ["k3s", "v1.32.9+k3s1", "v1.33.4+k3s1", "drained, restarted"],
        ["agent", "0.0.9", VERSION, "restarted"],
    ]
    assert not (folder / "own" / "upped").exists()
    done = b9prov(*installed(k3s="k3s version v1.33.4+rke2r1 (abc)"), "--output", "json", "--check")
    assert rows(done)[0][:3] == ["k3s", "v1.33.4+rke2r1", "v1.33.4+k3s1"]


def test_what_is_not_ours_is_left(b9prov, installed) -> None:
    words = installed(ollama="", k3s="k3s version v1.30.0+k3s1 (abc)", mode="existing")
    done = b9prov(*words, "--check", "--output", "json")
    assert rows(done) == [["agent", VERSION, f"{VERSION}, rebuilt", "restarted"]]


def test_what_is_no_worker_yet_is_left(b9prov, installed) -> None:
    done = b9prov(*installed(ollama="", k3s="", agent="", build=""))
    assert done.returncode == 0 and "b9prov up makes it one" in done.stderr


def test_it_is_carried_out_by_up(b9prov, installed, folder) -> None:
    done = b9prov(*installed(agent="b9agent 0.0.9"), "--output", "json")
    assert done.returncode == 0, done.stderr
    assert (folder / "own" / "upped").exists()
    *_, summary, last = map(json.loads, done.stdout.splitlines())
    assert summary["event"] == "summary"
    assert last == {
        "schema": 1, "event": "upgraded", "done": ["localhost"], "left": [], "exit_code": 0,
    }  # fmt: skip


def test_a_failure_says_how_to_go_on(b9prov, installed) -> None:
    words = installed(agent="b9agent 0.0.9", up="    - fail: {msg: not today}\n")
    done = b9prov(*words)
    assert done.returncode == 1 and "not today" in done.stdout
    assert "stopped: upgraded none; not localhost" in done.stderr
    assert f"b9prov upgrade --playbooks {words[-1]}" in done.stderr


def test_where_one_can_not_be_asked_nothing_is_changed(b9prov, installed, folder, listener) -> None:
    words = installed(agent="b9agent 0.0.9")
    port = listener.getsockname()[1]
    listener.close()
    with (folder / "inventory.yaml").open("a") as file:
        file.write(f"  gone: {{address: 127.0.0.1, port: {port}, user: a}}\n")
    done = b9prov(*words)
    assert done.returncode == 1 and "nothing was changed" in done.stderr
    assert "gone: " in done.stderr and not (folder / "own" / "upped").exists()
    assert b9prov(*words, "--limit", "localhost").returncode == 0
