"""The `tunnel_slot` module in a network namespace with a real sshd and a real ssh."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from append_only import removable

SSHD = shutil.which("sshd") or "/usr/sbin/sshd"
ADDRESS = "10.199.0.1"
USER = "nobody"  # any user that is not root, with no shell
PORT = 2222

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not Path(SSHD).exists() or not shutil.which("ip"),
    reason="needs root, sshd and ip",
)

MODULE = """
import json, sys
from provisioner.remote.arguments import normalise
from provisioner.remote.module import Context
from provisioner.remote.modules import tunnel_slot
arguments = normalise(json.loads(sys.argv[1]), tunnel_slot.ARGUMENTS)
print(json.dumps(tunnel_slot.run(arguments, Context())))
"""
ECHO = """
import socket, sys
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print("up", flush=True)
while True:
    peer = server.accept()[0]
    peer.sendall(b"echo")
    peer.close()
"""
ASK = """
import socket, sys
print(socket.create_connection((sys.argv[1], int(sys.argv[2])), 5).recv(4).decode())
"""


def wait_for(what: Callable[[], Any], seconds: float = 10) -> None:
    """Await what another process does."""
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.05)


class Host:
    """A gateway host: a namespace, its files and its sshd."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.name = f"b9t{os.getpid()}"
        self.children: list[subprocess.Popen[str]] = []
        self.inside = ["ip", "netns", "exec", self.name]
        subprocess.run(["ip", "netns", "add", self.name], check=True)
        subprocess.run([*self.inside, "ip", "link", "set", "lo", "up"], check=True)

    def close(self) -> None:
        for child in self.children:
            child.kill()
            child.wait()
        subprocess.run(["ip", "netns", "delete", self.name], check=True)

    def start(self, *command: str) -> subprocess.Popen[str]:
        child = subprocess.Popen(
            [*self.inside, *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.children.append(child)
        return child

    def start_sshd(self) -> None:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        self.make_key("host")
        options = {
            "Port": PORT,
            "ListenAddress": "127.0.0.1",
            "HostKey": self.folder / "host",
            "AuthorizedKeysFile": self.folder / "authorized_keys",
            "PidFile": "none",
            "UsePAM": "no",
            "GatewayPorts": "clientspecified",
            "StrictModes": "yes",
        }
        config = self.folder / "sshd_config"
        config.write_text("".join(f"{name} {value}\n" for name, value in options.items()))
        self.start(SSHD, "-D", "-e", "-f", str(config))
        wait_for(lambda: self.listens("127.0.0.1", PORT))

    def make_key(self, name: str) -> str:
        path = self.folder / name
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)
        return path.with_suffix(".pub").read_text()

    def slot(self, **arguments: Any) -> dict[str, Any]:
        files = {
            "authorized_keys": str(self.folder / "authorized_keys"),
            "state_file": str(self.folder / "slots.json"),
            "audit_log": str(self.folder / "audit.jsonl"),
        }
        given = json.dumps({"worker": "w1", "user": USER, **files, **arguments})
        done = subprocess.run(
            [*self.inside, sys.executable, "-c", MODULE, given],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return dict(json.loads(done.stdout))

    def ssh(self, identity: str, *arguments: str) -> subprocess.Popen[str]:
        options = ("BatchMode=yes", "ExitOnForwardFailure=yes", "StrictHostKeyChecking=no")
        flags = [part for each in options for part in ("-o", each)]
        known = ("-o", f"UserKnownHostsFile={self.folder}/known_hosts", "-F", "none")
        target = ("-p", str(PORT), "-i", str(self.folder / identity), f"{USER}@127.0.0.1")
        return self.start("ssh", *flags, *known, *arguments, *target)

    def ask(self, address: str, port: int) -> str:
        command = [*self.inside, sys.executable, "-c", ASK, address, str(port)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.stdout.strip()

    def listens(self, address: str, port: int) -> bool:
        command = [*self.inside, "ss", "-Hltn", f"src {address}:{port}"]
        return bool(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    def addresses(self) -> str:
        command = [*self.inside, "ip", "-4", "address", "show", "dev", "lo"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def host() -> Iterator[Host]:
    # sshd's StrictModes wants every folder above the keys to be root's alone: /tmp is not
    folder = Path(tempfile.mkdtemp(prefix="b9prov-test-", dir="/run"))
    folder.chmod(0o755)
    try:
        running = Host(folder)
    except (subprocess.CalledProcessError, OSError):
        shutil.rmtree(folder)
        pytest.skip("network namespaces can't be made here")
    try:
        yield running
    finally:
        running.close()
        removable(folder)
        shutil.rmtree(folder)


@pytest.fixture
def tunnel(host: Host) -> subprocess.Popen[str]:
    """Worker w1 with its slot, an echo where its k3s would be, and its tunnel up."""
    host.start_sshd()
    for port in (31994, 7443):
        assert host.start(sys.executable, "-c", ECHO, str(port)).stdout.readline()  # type: ignore[union-attr]
    assert host.slot(public_key=host.make_key("w1"))["address"] == ADDRESS
    forwards = (f"-R{ADDRESS}:6443:127.0.0.1:7443", "-L127.0.0.1:1994:localhost:31994")
    probe = f"-L127.0.0.1:7999:{ADDRESS}:6443"
    running = host.ssh("w1", "-N", *forwards, probe)
    wait_for(lambda: host.listens(ADDRESS, 6443) or running.poll() is not None)
    return running


def test_the_slot_carries_the_tunnel_and_nothing_more(
    host: Host, tunnel: subprocess.Popen[str]
) -> None:
    assert f"{ADDRESS}/32" in host.addresses()
    assert host.ask(ADDRESS, 6443) == "echo"
    assert host.ask("127.0.0.1", 1994) == "echo"
    assert host.ask("127.0.0.1", 7999) == "echo"
    assert host.ssh("w1", "-N", "-R127.0.0.1:6443:127.0.0.1:7443").wait(10) != 0
    assert host.ssh("w1", "-N", "-R0.0.0.0:6443:127.0.0.1:7443").wait(10) != 0
    command = host.ssh("w1")
    assert command.wait(10) != 0
    assert tunnel.poll() is None


def test_a_revoked_worker_is_cut_off_at_once(host: Host, tunnel: subprocess.Popen[str]) -> None:
    assert host.slot(state="absent")["changed"]
    assert tunnel.wait(5) == 255
    assert not host.listens(ADDRESS, 6443)
    assert ADDRESS not in host.addresses()
    assert host.ssh("w1", "-N").wait(10) == 255
    assert host.listens("127.0.0.1", PORT)  # the sshd itself is untouched


def test_a_replaced_key_frees_the_listener(host: Host, tunnel: subprocess.Popen[str]) -> None:
    assert host.slot(public_key=host.make_key("new"))["changed"]
    assert tunnel.wait(5) == 255
    host.ssh("new", "-N", f"-R{ADDRESS}:6443:127.0.0.1:7443")
    wait_for(lambda: host.ask(ADDRESS, 6443) == "echo")


def test_nothing_to_do_leaves_the_session_alone(host: Host, tunnel: subprocess.Popen[str]) -> None:
    assert not host.slot(public_key=(host.folder / "w1.pub").read_text())["changed"]
    assert tunnel.poll() is None and host.ask(ADDRESS, 6443) == "echo"


def test_only_sshd_is_ended(host: Host) -> None:
    """Another program at the address is no session of ours."""
    host.slot(public_key=host.make_key("w1"))
    code = ECHO.replace("127.0.0.1", ADDRESS)
    other = host.start(sys.executable, "-c", code, "6443")
    assert other.stdout and other.stdout.readline()
    host.slot(state="absent")
    assert other.poll() is None


def test_a_session_that_listens_nowhere_is_ended_too(
    host: Host, tunnel: subprocess.Popen[str]
) -> None:
    host.slot(worker="w2", public_key=host.make_key("w2"))
    other = host.ssh("w2", "-N", "-R10.199.0.2:6443:127.0.0.1:7443")
    wait_for(lambda: host.listens("10.199.0.2", 6443))
    quiet = host.ssh("w1", "-N", "-L127.0.0.1:1995:localhost:31994")
    wait_for(lambda: host.listens("127.0.0.1", 1995))
    assert host.slot(state="revoked")["changed"]
    assert (tunnel.wait(5), quiet.wait(5)) == (255, 255)
    assert host.ssh("w1", "-N").wait(10) == 255
    assert other.poll() is None and host.ask("10.199.0.2", 6443) == "echo"
