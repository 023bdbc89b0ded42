"""Bad input: exit 2, one line on stderr for each error, nothing contacted."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

HOST = "hosts:\n  w1: {address: 127.0.0.1, port: PORT, user: nobody, pool: cpu}\n"

INVENTORIES = {
    "empty": ("", r"inventory\.yaml:?\d*: .*(empty|hosts)"),
    "no hosts": ("hosts: {}\n", r"inventory\.yaml:1: .*host"),
    "tab": (HOST + "\tdefaults: {}\n", r"inventory\.yaml:3: .*tab"),
    "duplicate host": (HOST + "  w1: 127.0.0.2\n", r"inventory\.yaml:3: .*(w1|twice)"),
    "unknown key": (HOST + "default: {}\n", r"inventory\.yaml:3: .*'default'.*defaults"),
    "unknown host key": (HOST + "  w2: {adress: 127.0.0.2}\n", r"inventory\.yaml:3: .*address"),
    "wrong type": (HOST + "defaults: {k3s: 5}\n", r"inventory\.yaml:3: .*k3s"),
    "not a port": (HOST.replace("PORT", "ssh"), r"inventory\.yaml:2: .*port"),
    "secret of no variable": (
        HOST + "gateway: {host: 127.0.0.3, admin_token: !env NOT_SET_ANYWHERE}\n",
        r"inventory\.yaml:3: .*NOT_SET_ANYWHERE",
    ),
    "secret of no file": (
        HOST + "gateway: {host: 127.0.0.3, admin_token: !file no/such/token}\n",
        r"inventory\.yaml:3: .*no/such/token",
    ),
    "secret of a failing command": (
        HOST + 'gateway: {host: 127.0.0.3, admin_token: !command ["false"]}\n',
        r"inventory\.yaml:3: .*false",
    ),
    "not yaml": (HOST + "defaults: [}\n", r"inventory\.yaml:3: "),
}
PLAYBOOKS = {
    "unknown module": ("    - comand: echo\n", r"try\.yaml:4: .*comand.*command"),
    "unknown argument": ("    - file: {path: /x, stat: directory}\n", r"try\.yaml:4: .*stat"),
    "missing argument": ("    - template: {src: x.j2}\n", r"try\.yaml:4: .*dest"),
    "unknown keyword": ("    - command: echo\n      whne: true\n", r"try\.yaml:5: .*whne.*when"),
    "undefined variable": (
        "    - command: echo {{ nothing_such }}\n",
        r"try\.yaml:4: .*nothing_such",
    ),
    "no template": ("    - template: {src: none.j2, dest: /x}\n", r"try\.yaml:4: .*none\.j2"),
    "undefined variable in a template": (
        "    - template: {src: bad.j2, dest: /x}\n",
        r"bad\.j2:2: .*nothing_such",
    ),
    "loop of includes": ("    - import_tasks: a.yaml\n", r"a\.yaml:?\d*: .*loop.*b\.yaml"),
    "no role": ("    - import_role: {name: none}\n", r"try\.yaml:4: .*none"),
}


def refused(done: object, expected: str, errors: int = 1) -> None:
    """The output of a refusal: nothing on stdout, and so many lines of errors."""
    code, out, err = done.returncode, done.stdout, done.stderr  # type: ignore[attr-defined]
    assert code == 2, err
    assert out == ""
    lines = err.splitlines()
    assert len(lines) == errors, err
    assert all(line.startswith("error: ") for line in lines)
    assert re.search(expected, err), err
    assert "Traceback" not in err


@pytest.mark.parametrize("case", INVENTORIES)
def test_an_inventory_that_is_wrong(case, b9prov, folder, listener, untouched, playbook) -> None:
    text, expected = INVENTORIES[case]
    port = str(listener.getsockname()[1])
    (folder / "inventory.yaml").write_text(text.replace("PORT", port))
    play = playbook("    - command: 'true'\n")
    refused(b9prov("play", str(play), "-i", "inventory.yaml"), expected)
    refused(b9prov("up", "inventory.yaml"), expected)
    refused(b9prov("inventory", "validate", "inventory.yaml"), expected)
    assert untouched()


@pytest.mark.parametrize("case", PLAYBOOKS)
def test_a_playbook_that_is_wrong(
    case: str,
    b9prov: Callable[..., object],
    folder: Path,
    listener: socket.socket,
    playbook: Callable[..., Path],
) -> None:
    tasks, expected = PLAYBOOKS[case]
    (folder / "inventory.yaml").write_text(HOST.replace("PORT", str(listener.getsockname()[1])))
    (folder / "a.yaml").write_text("- import_tasks: b.yaml\n")
    (folder / "b.yaml").write_text("- import_tasks: a.yaml\n")
    (folder / "templates").mkdir()
    (folder / "templates" / "bad.j2").write_text("fine\n{{ nothing_such }}\n")
    refused(b9prov("play", str(playbook(tasks))), expected)


def test_every_problem_has_its_line(b9prov, folder) -> None:
    (folder / "inventory.yaml").write_text("hosts:\n  w1: {prot: 5}\n  w2: {adress: x}\n")
    refused(b9prov("up"), "prot", errors=2)


ONE_SHOT = ["--host", "127.0.0.1", "--gateway-host", "127.0.0.1"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["up"], r"no inventory was given"),
        (["up", "missing.yaml"], r"missing\.yaml"),
        (["play", "missing.yaml"], r"no inventory was given"),
        (["up", "x.yaml", "--host", "a@127.0.0.1"], r"together"),
        (["up", "--gateway-host", "a@127.0.0.1"], r"goes with --host"),
        (["up", "--host", "a@b@c"], r"--host: .*USER@ADDRESS"),
        (["up", "--host", "a@127.0.0.1:99999"], r"--host: "),
        (["up", "--host", "127.0.0.1", "--limit", "w9"], r"w9"),
        (["up", "--host", "127.0.0.1", "--limit", "@none"], r"none"),
        (["up", "--host", "127.0.0.1", "-e", "novalue"], r"-e: .*novalue"),
        (["up", "--host", "127.0.0.1", "-e", "@none.yaml"], r"none\.yaml"),
        (["up", *ONE_SHOT, "--junit", "no/such/folder/x.xml"], r"JUnit"),
        (["up", "--forks", "0"], r"forks"),
        (["up", "--output", "html"], r"html"),
        (["up", "--playbooks", "no/such"], r"no/such"),
        (["up", "--nonsense"], r"nonsense"),
        (["inventory", "show", "missing.yaml"], r"missing\.yaml"),
        (["nonsense"], r"nonsense.*up, down"),
        (["down", *ONE_SHOT], r"127.*--yes"),
        (["lab", "up", "--workers", "0"], r"workers"),
    ],
)
def test_a_command_line_that_is_wrong(b9prov, words, expected) -> None:
    refused(b9prov(*words), expected)


def test_a_playbook_that_is_missing(b9prov, local) -> None:
    refused(b9prov("play", "missing.yaml"), r"missing\.yaml")
