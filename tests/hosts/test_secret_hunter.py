"""The secret hunter: a run with all that may hold secrets, and then every byte that it left."""

from __future__ import annotations

import base64
import os
import stat
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest
from driver import Driver, Json, Ran, tail
from looks import secrets_of, world_readable

from provisioner.lab import Host

SAMPLE_SECONDS = 0.05
OWN = {
    "become password": "correct horse battery staple",
    "variable": 'hunted-7f31/"quoted"+and so on',
    "block": "hunted-line-one-5521\nhunted-line-two-9934",
    "no_log": "hunted-unregistered-8842",
}
HUNT = """\
- hosts: workers
  become: true
  tasks:
    - {name: file, copy: {dest: /etc/hunted, content: "{{ hunted }}", mode: "0600"}}
    - {name: again, copy: {dest: /etc/hunted, content: "{{ hunted_block }}", mode: "0600"}}
    - {name: template, template: {src: hunted.j2, dest: /etc/hunted.conf, mode: "0600"}}
    - name: line
      lineinfile: {path: /etc/hunted.conf, line: "key {{ hunted }}", mode: "0600"}
    - {name: said, command: cat, args: {stdin: "{{ hunted }}"}, register: said}
    - {name: encoded, command: base64 -w0, args: {stdin: "{{ hunted }}"}, register: encoded}
    - {name: told, debug: {msg: "{{ said.stdout }} {{ encoded.stdout }} {{ hunted | urlencode }}"}}
    - {name: fact, set_fact: {known: "{{ hunted }}"}}
    - {name: "named {{ hunted }}", command: "true"}
    - {name: loop, debug: {msg: "{{ item }}"}, loop: ["{{ hunted }}", "{{ hunted_block }}"]}
    - {name: hidden, command: cat, args: {stdin: hunted-unregistered-8842}, no_log: true}
    - name: asked
      uri: {url: "http://127.0.0.1:1/{{ hunted | urlencode }}", headers: {X: "{{ hunted }}"}}
      ignore_errors: true
    - name: broken
      shell: "cat; cat >&2 /etc/hunted; exit 3"
      args: {stdin: "{{ hunted }}"}
"""


@dataclass
class Processes:
    """Command lines and environments of this machine's processes, those in lab hosts among them."""

    seen: dict[str, set[bytes]] = field(
        default_factory=lambda: {"cmdline": set(), "environ": set()}
    )
    _ended: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Processes:
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._thread.join(10)

    def _watch(self) -> None:
        while not self._ended.wait(SAMPLE_SECONDS):
            for process in filter(str.isdecimal, os.listdir("/proc")):
                for kind, seen in self.seen.items():
                    try:
                        seen.add(Path(f"/proc/{process}/{kind}").read_bytes())
                    except OSError:
                        continue


@dataclass(frozen=True)
class Hunt:
    """What was run, and what it said."""

    driver: Driver
    said: dict[str, Ran]
    processes: Processes
    secrets: dict[str, set[bytes]]

    def found(self, data: bytes) -> set[str]:
        """The secrets that `data` holds in any form."""
        return {what for what, forms in self.secrets.items() if any(f in data for f in forms)}

    def found_in(self, files: Iterable[Path]) -> dict[str, set[str]]:
        """Of each file that holds secrets, which."""
        return {
            str(file): found
            for file in files
            if file.is_file() and not file.is_symlink() and (found := self.found(file.read_bytes()))
        }


def forms(secret: str) -> set[bytes]:
    """A secret as it is, each of its lines, in URLs, and in base64 wherever it begins there."""
    found = set()
    for each in {secret, *secret.splitlines()}:
        data = each.encode()
        found |= {data, quote(each).encode(), quote(each, safe="").encode()}
        found |= {quote_plus(each).encode(), each.replace('"', '\\"').encode()}
        for shift in range(3):
            encoded = base64.b64encode(b"\0" * shift + data)
            # less the ends, which depend on what is around it
            found.add(encoded[(0, 2, 3)[shift] : len(encoded) - 4])
    return found


@pytest.fixture(scope="module")
def hunt(driver: Driver) -> Iterator[Hunt]:
    lab = driver.lab
    lab.reset_all()
    worker, home = lab.host("w1"), driver.home
    sudoers = worker.path("/etc/sudoers.d/90-admin")
    before = sudoers.read_text()
    worker.exec(["chpasswd"], input=f"admin:{OWN['become password']}\n")
    sudoers.write_text("admin ALL=(ALL) ALL\n")
    (home / "templates").mkdir(exist_ok=True)
    (home / "templates" / "hunted.j2").write_text("password = {{ hunted }}\n{{ hunted_block }}\n")
    (home / "hunt.yaml").write_text(HUNT)
    for name in ("variable", "block", "become password"):
        (home / f"secret {name}").write_text(OWN[name])

    def edit(data: Json) -> None:
        data["hosts"] = {name: data["hosts"][name] for name in ("w1", "w2")}
        data["hosts"]["w1"]["become_password"] = "@become password@"
        data["defaults"]["vars"] = {"hunted": "@variable@", "hunted_block": "@block@"}

    inventory = driver.inventory(edit)
    text = inventory.read_text()
    for name in ("variable", "block", "become password"):
        text = text.replace(f"'@{name}@'", f"!file 'secret {name}'")
    inventory.write_text(text)
    plan = ("-o", str(home / "plan.json"), "--playbook", str(home / "hunt.yaml"))
    with Processes() as processes:
        up = ("-vv", "--diff", "--junit", str(home / "up.xml"))
        said = {"up": driver.run("up", *up, inventory=inventory)}
        assert said["up"].code == 0, tail(said["up"])
        for kind in ("plain", "json"):
            said[f"play {kind}"] = play(driver, inventory, kind)
        worker.exec(["rm", "/etc/hunted", "/etc/hunted.conf"])
        said["plan"] = driver.run("plan", *plan, "--output", "plain", inventory=inventory)
        said["status"] = driver.run("status", inventory=inventory)
        said["inventory"] = inventory_command(driver, "show", str(inventory))
        said["runs"] = inventory_command(driver, "show", "last", group="runs")
        assert [said[name].code for name in ("inventory", "runs", "status")] == [0, 0, 0]
    hunted = {**OWN, **secrets_of(lab, lab.worker_hosts[:2])}
    yield Hunt(driver, said, processes, {what: forms(each) for what, each in hunted.items()})
    sudoers.write_text(before)


def play(driver: Driver, inventory: Path, kind: str) -> Ran:
    """The playbook above, which fails on each host in its last task."""
    words = ("-i", str(inventory), "-vv", "--diff", "--output", kind)
    junit = ("--junit", str(driver.home / f"{kind}.xml"))
    ran = driver.run("play", *words, *junit, inventory=driver.home / "hunt.yaml")
    assert ran.code == 1 and "broken" in ran.out, tail(ran)
    return ran


def inventory_command(driver: Driver, *words: str, group: str = "inventory") -> Ran:
    """`b9prov GROUP …`, which takes its words in another order."""
    command, *rest = words
    return driver.run(group, *rest, "--output", "json", inventory=Path(command))


def test_the_hunter_sees(hunt: Hunt) -> None:
    """What it can't find by design would be found if it were there."""
    for what, secret in (*OWN.items(),):
        for text in (
            secret,
            f"x{quote(secret)}",
            f"Basic {base64.b64encode(b'u:' + secret.encode())!r}",
        ):
            assert what in hunt.found(text.encode()), text
    commands = b"\n".join(hunt.processes.seen["cmdline"])
    assert b"sudo\0" in commands and b"/usr/local/lib/b9prov/tunnel" in commands
    assert b"CREDENTIALS_DIRECTORY" in b"\n".join(hunt.processes.seen["environ"])


def test_nothing_is_said(hunt: Hunt) -> None:
    for command, ran in hunt.said.items():
        assert hunt.found(ran.text.encode()) == set(), command
    for command in ("up", "play plain", "play json", "plan", "inventory"):
        assert "********" in hunt.said[command].text, command
    assert "hidden" in hunt.said["play plain"].text


def test_nothing_is_kept_by_the_controller(hunt: Hunt) -> None:
    given = {hunt.driver.home / f"secret {name}" for name in OWN} | {hunt.driver.home / "hunt.yaml"}
    files = [file for file in hunt.driver.home.rglob("*") if file not in given]
    names = {file.name for file in files}
    assert {"plan.json", "up.xml", "plain.xml", "events.jsonl"} <= names, names
    assert hunt.found_in(files) == {}


def test_nothing_is_in_a_command_line_or_an_environment(hunt: Hunt) -> None:
    for kind, seen in hunt.processes.seen.items():
        found = {data: hunt.found(data) for data in seen}
        assert {data[:300]: what for data, what in found.items() if what} == {}, kind


def test_nothing_is_in_a_hosts_logs(hunt: Hunt) -> None:
    for host in hunt.driver.lab.hosts:
        journal = host.exec(["journalctl", "--no-pager", "-o", "export", "--all"]).stdout
        assert "sshd" in journal
        assert hunt.found(journal.encode()) == set(), host.name
        assert hunt.found_in(host.path("/var/log").rglob("*")) == {}


def test_nothing_is_in_a_hosts_temporary_files(hunt: Hunt) -> None:
    for host in hunt.driver.lab.hosts:
        assert hunt.found_in(temporary(host)) == {}


def test_nothing_is_in_a_file_that_everybody_can_read(hunt: Hunt) -> None:
    for host in hunt.driver.lab.hosts:
        assert hunt.found_in(world_readable(host)) == {}


def temporary(host: Host) -> Iterator[Path]:
    """What is in the places of passing files, and not its owner's alone."""
    leader = host.leader()
    assert leader is not None
    for name in ("run", "tmp", "var/tmp", "dev/shm"):
        for file in Path(f"/proc/{leader.pid}/root/{name}").rglob("*"):
            about = file.lstat()
            if stat.S_ISREG(about.st_mode) and (name != "run" or about.st_mode & 0o077):
                yield file
