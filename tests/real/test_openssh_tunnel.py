"""The worker's own `ssh -N` against a real sshd: what its one line permits, and nothing else.

Server and command are those that `up` installs: the sshd drop-in, the key's line and the unit.
"""

from __future__ import annotations

import itertools
import shlex
import shutil
import signal
import socket
import socketserver
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import jinja2
import pytest
from real_servers import accepts, eventually, received, running

from provisioner import paths
from provisioner.remote.modules.tunnel_slot import key_line, permitted

pytestmark = pytest.mark.usefixtures("own_network")

USER = "nobody"  # has no shell, as the tunnel user
ADDRESS = "10.199.0.7"
NEIGHBOUR = "10.199.0.8"  # on the gateway host too, but another worker's
SSH_PORT = 2222
API, TUNNEL, K3S, SECRET_PORT = 31994, 1994, 6443, 9000
NAMES = {API: b"the gateway's API", K3S: b"the worker's k3s", SECRET_PORT: b"something else"}
SSHD = shutil.which("sshd") or "/usr/sbin/sshd"


class Greeter(socketserver.BaseRequestHandler):
    """Says which port was reached."""

    def handle(self) -> None:
        self.request.sendall(NAMES[self.server.server_address[1]])


@contextmanager
def greeting(port: int) -> Iterator[None]:
    """A server on 127.0.0.1 that says its name."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", port), Greeter) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield
        server.shutdown()


@dataclass(frozen=True)
class Gateway:
    """A running sshd, and the folder with what a worker has of it."""

    folder: Path

    @property
    def unit_command(self) -> list[str]:
        """The command of the tunnel's program, as its shell would run it."""
        program = tunnel_program(SSH_PORT).replace("$(within 5 2)", "5")
        options, _, rest = program.partition("/usr/bin/ssh")[2].partition('"$@"')
        login = rest.partition("</dev/null")[0]
        forwards = program.partition("ssh_to_gateway")[2].partition("ssh_to_gateway")[2]
        words = shlex.split(
            f"/usr/bin/ssh {options}{forwards.partition('}')[0]}{login}".replace("\\\n", " ")
        )
        login_at = words.index("$(gateway_host)")
        words[login_at : login_at + 1] = ["-p", str(SSH_PORT), f"{USER}@127.0.0.1"]
        return [word.replace("$CREDENTIALS_DIRECTORY", str(self.folder)) for word in words]

    def ssh(self, *words: str) -> list[str]:
        """An ssh with the worker's key that asks for `words` in place of the unit's forwards."""
        command = self.unit_command
        options = command[1 : command.index("-L")]
        kept = [word for word in options if word not in ("-N", "-T")]
        return ["/usr/bin/ssh", *kept, "-p", str(SSH_PORT), *words]

    def program(self, *ports: int) -> AbstractContextManager[subprocess.Popen[bytes]]:
        """The tunnel's program, running for a gateway with hosts at those ports."""
        program = self.folder / "tunnel"
        program.write_text(tunnel_program(*ports))
        given = {name: str(self.folder) for name in ("CREDENTIALS_DIRECTORY", "RUNTIME_DIRECTORY")}
        return running(["sh", program], self.folder / "program.log", given)

    def tunnel(self) -> AbstractContextManager[subprocess.Popen[bytes]]:
        """The running tunnel."""
        return running(list(self.unit_command), self.folder / "tunnel.log")


def template(name: str) -> jinja2.Template:
    """A template as the engine renders it."""
    loader = jinja2.FileSystemLoader(paths.data_dir("templates"))
    environment = jinja2.Environment(loader=loader, trim_blocks=True, autoescape=False)
    environment.filters["quote"] = shlex.quote
    return environment.get_template(name)


def tunnel_program(*ports: int) -> str:
    """The tunnel's program, for a gateway with hosts at ports of this machine."""
    return template("b9-tunnel.sh.j2").render(
        tunnel={"port": TUNNEL, "way_back": 16443, "alive_interval": 10, "alive_count": 3},
        tunnel_forwards=[f"{TUNNEL}:localhost:{API}"],
        slot={"address": ADDRESS},
        k3s={"api": "127.0.0.1:6443"},
        gateway={
            "hosts": [
                {"name": f"at {port}", "tunnel_address": "127.0.0.1", "tunnel_port": port}
                for port in ports
            ]
        },
        tunnel_user=USER,
    )


def make_key(path: Path) -> str:
    """A new key pair; returns the public half without its comment."""
    command = ("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path))
    subprocess.run(command, check=True)
    return " ".join(path.with_suffix(".pub").read_text().split()[:2])


@pytest.fixture(scope="module")
def gateway(own_network: None) -> Iterator[Gateway]:
    """A gateway host on loopback, with a worker that has the slot ADDRESS."""
    # sshd wants every folder above the keys to be root's alone, which /tmp is not.
    folder = Path(tempfile.mkdtemp(prefix="b9prov-real-", dir="/run"))
    folder.chmod(0o755)
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder)
        for address in (ADDRESS, NEIGHBOUR):
            command = ("ip", "address", "add", f"{address}/32", "dev", "lo")
            subprocess.run(command, check=True)
        write_configuration(folder)
        for port in NAMES:
            stack.enter_context(greeting(port))
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        sshd = [SSHD, "-D", "-e", "-f", folder / "sshd_config"]
        stack.enter_context(running(sshd, folder / "sshd.log"))
        eventually(lambda: accepts("127.0.0.1", SSH_PORT), "sshd listens")
        yield Gateway(folder)


def write_configuration(folder: Path) -> None:
    """What the gateway host and the worker have on disk."""
    host_key = make_key(folder / "host_key")
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{SSH_PORT} {host_key}\n")
    line = key_line("w1", make_key(folder / "key"), ADDRESS, permitted([f"localhost:{API}"]))
    (folder / "authorized_keys").write_text(f"{line}\n")
    drop_in = template("sshd-tunnel.conf.j2").render(tunnel_user=USER)
    drop_in = drop_in.replace("/etc/b9prov/authorized_keys", str(folder / "authorized_keys"))
    (folder / "sshd_config").write_text(
        f"Port {SSH_PORT}\nListenAddress 127.0.0.1\nHostKey {folder / 'host_key'}\n"
        f"PidFile none\nUsePAM no\nLogLevel VERBOSE\n{drop_in}"
    )


@pytest.fixture
def tunnel(gateway: Gateway) -> Iterator[subprocess.Popen[bytes]]:
    """The unit's ssh, once its reverse listener is there."""
    eventually(lambda: not accepts(ADDRESS, K3S), "the listener of the test before is gone")
    with gateway.tunnel() as process:
        eventually(lambda: accepts(ADDRESS, K3S), "the reverse listener")
        eventually(lambda: accepts("127.0.0.1", TUNNEL), "the local listener")
        yield process


def test_the_worker_reaches_the_gateways_api(tunnel: subprocess.Popen[bytes]) -> None:
    assert received("127.0.0.1", TUNNEL) == NAMES[API]


def test_the_gateway_reaches_the_workers_k3s(tunnel: subprocess.Popen[bytes]) -> None:
    assert received(ADDRESS, K3S) == NAMES[K3S]


def test_the_worker_may_probe_its_own_reverse_address(
    gateway: Gateway, tunnel: subprocess.Popen[bytes]
) -> None:
    probe = gateway.ssh("-N", "-L", f"127.0.0.1:7001:{ADDRESS}:{K3S}", f"{USER}@127.0.0.1")
    with running(list(probe), gateway.folder / "probe.log"):
        eventually(lambda: accepts("127.0.0.1", 7001), "the probe's listener")
        assert received("127.0.0.1", 7001) == NAMES[K3S]


@pytest.mark.parametrize("command", [[], ["id"], ["internal-sftp"]])
def test_there_is_no_shell(gateway: Gateway, command: list[str]) -> None:
    done = run(gateway.ssh(f"{USER}@127.0.0.1", *command))
    assert done.returncode == 1
    assert done.stdout in ("", "This account is currently not available.\n")


def test_there_is_no_subsystem(gateway: Gateway) -> None:
    done = run(gateway.ssh("-s", f"{USER}@127.0.0.1", "sftp"))
    assert (done.returncode != 0, done.stdout) == (True, "")


@pytest.mark.parametrize(
    "listen",
    [
        f"{NEIGHBOUR}:{K3S}",
        f"{ADDRESS}:6444",
        f"*:{K3S}",
        f"0.0.0.0:{K3S}",
        f"127.0.0.1:{K3S + 1}",
        f"localhost:{K3S}",
        "/run/b9prov-real.sock",
    ],
)
def test_no_other_listener_is_had(gateway: Gateway, listen: str) -> None:
    done = run(gateway.ssh("-N", "-R", f"{listen}:127.0.0.1:{K3S}", f"{USER}@127.0.0.1"))
    assert done.returncode == 255
    assert "remote port forwarding failed" in done.stderr


@pytest.mark.parametrize(
    "target", [f"127.0.0.1:{SECRET_PORT}", f"{NEIGHBOUR}:{K3S}", f"localhost:{SSH_PORT}"]
)
def test_no_other_target_is_reached(gateway: Gateway, target: str) -> None:
    forward = gateway.ssh("-N", "-L", f"127.0.0.1:7002:{target}", f"{USER}@127.0.0.1")
    log = gateway.folder / "refused.log"
    with running(list(forward), log):
        eventually(lambda: accepts("127.0.0.1", 7002), "the local listener")
        assert received("127.0.0.1", 7002) == b""
        refusal = "administratively prohibited"
        eventually(lambda: refusal in log.read_text(), "the refusal is in the log")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_tunnel_that_ended_frees_its_listener_for_the_next(
    gateway: Gateway, number: signal.Signals
) -> None:
    for _ in range(2):
        with gateway.tunnel() as process:
            eventually(lambda: accepts(ADDRESS, K3S), "the reverse listener")
            assert received(ADDRESS, K3S) == NAMES[K3S]
            process.send_signal(number)
            process.wait(10)
        eventually(lambda: not accepts(ADDRESS, K3S), "the listener is freed", seconds=20)


def test_a_second_tunnel_of_the_same_worker_ends_at_once(
    gateway: Gateway, tunnel: subprocess.Popen[bytes]
) -> None:
    reverse = ("-R", f"{ADDRESS}:{K3S}:127.0.0.1:{K3S}", f"{USER}@127.0.0.1")
    assert run(gateway.ssh("-N", *reverse)).returncode == 255
    assert tunnel.poll() is None


def test_another_host_key_is_refused(gateway: Gateway) -> None:
    known = gateway.folder / "known_hosts"
    right = known.read_text()
    other = make_key(gateway.folder / "other_key")
    known.write_text(f"[127.0.0.1]:{SSH_PORT} {other}\n")
    try:
        done = run(gateway.unit_command)
    finally:
        known.write_text(right)
    assert done.returncode == 255
    assert "Host key verification failed" in done.stderr


def test_a_gateway_host_that_turns_it_away_sees_few_tries(gateway: Gateway) -> None:
    tries: list[float] = []

    class TurnAway(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            tries.append(time.monotonic())

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), TurnAway) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with gateway.program(server.server_address[1]):
            eventually(lambda: len(tries) >= 6, "six tries", seconds=40)
        server.shutdown()
    gaps = [later - earlier for earlier, later in itertools.pairwise(tries)]
    assert gaps[0] < 2 and 0.7 < gaps[1] < 4
    assert all(4.9 < gap < 9 for gap in gaps[2:5]), gaps


def test_a_host_that_is_away_is_stood_in_for_until_the_session_ends(gateway: Gateway) -> None:
    active = gateway.folder / "gateway"
    with closed_port() as closed, gateway.program(closed, SSH_PORT):
        eventually(lambda: accepts(ADDRESS, K3S), "the reverse listener", seconds=20)
        assert received(ADDRESS, K3S) == NAMES[K3S]
        assert active.read_text() == f"at {SSH_PORT}\n"


def test_the_first_host_is_taken_while_it_is_there(gateway: Gateway) -> None:
    active = gateway.folder / "gateway"
    with closed_port() as closed, gateway.program(SSH_PORT, closed):
        eventually(lambda: accepts(ADDRESS, K3S), "the reverse listener", seconds=20)
        assert active.read_text() == f"at {SSH_PORT}\n"


@contextmanager
def closed_port() -> Iterator[int]:
    """A port of this machine where nobody listens meanwhile."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


def run(command: list[str]) -> subprocess.CompletedProcess[str]:
    """A command that must end by itself."""
    return subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30, check=False
    )
