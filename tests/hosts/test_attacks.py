"""Attacks on a lab that is ready: with what a stolen worker has, and as another user of a host.

docs/security.md says what each of them gets, and names the test here.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import pytest
from driver import Driver, wait_until
from looks import agent_config, k3s_answers, reverse_address, sh, wait_ready

from provisioner.lab import Host, Lab

PATIENCE = 30.0
TUNNEL = "/etc/b9prov/tunnel"
# anybody but root and the users of b9prov
STRANGER = ("runuser", "-u", "nobody", "--")
# takes connections at an address and a port, and keeps what it is sent
SQUATTER = """
import socket, sys
listener = socket.create_server((sys.argv[1], int(sys.argv[2])))
print("squatting", flush=True)
while True:
    peer, _ = listener.accept()
    print("called", flush=True)
    peer.settimeout(1)
    try:
        print("told", peer.recv(100), flush=True)
        peer.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\n{}")
    except OSError:
        pass
"""


@pytest.fixture(autouse=True)
def _all_are_ready(ready: Driver) -> None:
    """As `up` leaves new hosts."""


@pytest.fixture
def worker(lab: Lab) -> Host:
    """The worker that was stolen: the attacker is root there."""
    return lab.host("w1")


@pytest.fixture
def other(lab: Lab) -> Host:
    """A worker that the attacker is after."""
    return lab.host("w2")


Tried = list[tuple[int, str]]


def tried(host: Host, commands: Iterable[Sequence[str]]) -> Tried:
    """Each command's exit code and all that it said; none gets longer than 5 s."""
    script = "".join(
        f"timeout 5 {shlex.join(each)} </dev/null 2>&1; printf '\\0%d\\0' $?\n" for each in commands
    )
    said = host.exec(["sh", "-c", script]).stdout.split("\0")[:-1]
    return [(int(code), text) for text, code in zip(said[::2], said[1::2], strict=True)]


def ssh(lab: Lab, *words: str) -> list[str]:
    """A worker's ssh with the tunnel's key; GATEWAY is where the tunnel leads to."""
    options = ("-F", "none", "-i", f"{TUNNEL}/id_ed25519", "-o", "BatchMode=yes")
    known = ("-o", f"UserKnownHostsFile={TUNNEL}/known_hosts")
    target = f"b9tunnel@{lab.gateway.address}"
    return ["ssh", *options, *known, *(target if word == "GATEWAY" else word for word in words)]


@pytest.fixture
def thief(lab: Lab, worker: Host) -> Iterator[tuple[str, ...]]:
    """A connection with the stolen key, as the options that use it."""
    shared = ("-S", "/run/thief")
    sh(worker, shlex.join(ssh(lab, "-MNf", *shared, "GATEWAY")) + " >/dev/null 2>&1")
    yield shared
    tried(worker, [ssh(lab, *shared, "-O", "exit", "GATEWAY")])


def refused(host: Host, user: str, *commands: Sequence[str]) -> None:
    """All of these fail for a user of the host, and none because there is no such program."""
    done = tried(host, [["runuser", "-u", user, "--", *words] for words in commands])
    for words, (code, said) in zip(commands, done, strict=True):
        assert code not in (0, 124, 127), (words, said)


def listener(lab: Lab, worker: Host) -> str:
    """Which session of sshd holds a worker's listener."""
    return sh(lab.gateway, f"ss -Hltnp src {reverse_address(worker)}:6443")


# -- a stolen worker's tunnel key


def test_a_stolen_key_runs_nothing(lab: Lab, worker: Host) -> None:
    """Whatever is asked for, the worker's own listener is freed, and that is all."""
    asked = [
        ("GATEWAY",),
        ("-tt", "GATEWAY"),
        ("GATEWAY", "id"),
        ("GATEWAY", "/bin/sh -c id"),
        ("-s", "GATEWAY", "sftp"),
        ("GATEWAY", "scp -f /etc/passwd"),
        ("GATEWAY", "--", "-c id"),
        ("-o", "SetEnv=PYTHONINSPECT=1 LD_PRELOAD=/run/x.so", "GATEWAY", "id"),
    ]
    commands = [ssh(lab, "-o", "LogLevel=ERROR", *words) for words in asked]
    for words, (_, said) in zip(asked, tried(worker, commands), strict=True):
        kept = re.sub("Could not chdir .*|PTY allocation .*", "", said).strip()
        assert kept in ("", "0 ended", "1 ended"), (words, said)


def test_no_file_is_copied(lab: Lab, worker: Host) -> None:
    _, *options, target = ssh(lab, "GATEWAY")
    programs = (["scp"], ["scp", "-O"], ["sftp"])
    commands = [[*each, *options, f"{target}:/etc/passwd", "/run/got"] for each in programs]
    assert all(code for code, _ in tried(worker, commands))
    assert worker.exec(["test", "-e", "/run/got"]).returncode != 0


def test_a_stolen_key_frees_no_others_listener(lab: Lab, worker: Host, other: Host) -> None:
    before = wait_until(lambda: listener(lab, other), PATIENCE, "the other's listener")
    own, its = reverse_address(worker), reverse_address(other)
    asked = ["free {1}", "free {0} {1}", "free {0}; free {1}", "free {0}\nfree {1}", "free '{1}'"]
    asked += ["-c 'free {1}'", "free $(echo {1})", "{1}"]
    tried(worker, [ssh(lab, "GATEWAY", "--", words.format(own, its)) for words in asked])
    assert listener(lab, other) == before


def test_a_stolen_key_reaches_nothing_but_the_gateways_api(
    lab: Lab, worker: Host, other: Host, thief: tuple[str, ...]
) -> None:
    gateway = lab.gateway.address
    closed = ["127.0.0.1:22", f"{gateway}:22", "169.254.169.254:80", "[::1]:31994"]
    closed += [f"{reverse_address(other)}:6443", f"{other.address}:22", f"{gateway}:31994"]
    places = [*closed, "localhost:31995", "localhost:31994"]
    done = tried(worker, [ssh(lab, *thief, "-W", place, "GATEWAY") for place in places])
    assert done.pop()[0] == 0  # the gateway's API
    assert [code for code, _ in done] == [255] * len(done), list(zip(places, done, strict=False))


def test_nor_does_it_by_socks_or_by_sockets_of_files(
    lab: Lab, worker: Host, thief: tuple[str, ...]
) -> None:
    forward = (*thief, "-O", "forward")
    curl = ("curl", "-s", "-m", "4", "--http0.9")
    socks = (*curl, "--socks5-hostname", "127.0.0.1:7001")
    codes = [
        code
        for code, _ in tried(
            worker,
            [
                ssh(lab, *forward, "-D", "127.0.0.1:7001", "GATEWAY"),
                ssh(lab, *forward, "-L", "127.0.0.1:7002:/run/b9prov-free.sock", "GATEWAY"),
                (*socks, "http://localhost:31994/api/v1/health"),
                (*socks, "http://127.0.0.1:22/"),
                (*curl, "http://127.0.0.1:7002/"),
            ],
        )
    ]
    assert codes[:3] == [0, 0, 0]
    assert all(codes[3:])


def test_a_stolen_key_listens_nowhere_else(
    lab: Lab, worker: Host, other: Host, thief: tuple[str, ...]
) -> None:
    own = reverse_address(worker)
    places = [f"{reverse_address(other)}:6443", "0.0.0.0:6443", "*:6443", "localhost:6443"]
    places += [f"{own}:6444", f"{own}:0", "[::]:6443", f"{lab.gateway.address}:6443"]
    places += ["/run/thief.sock", "/tmp/thief.sock"]
    wanted = [*(f"{place}:127.0.0.1:6443" for place in places), "1080"]
    before = sh(lab.gateway, "ss -Hltx | wc -l")
    forward = (*thief, "-O", "forward", "-R")
    done = tried(worker, [ssh(lab, *forward, what, "GATEWAY") for what in wanted])
    for what, (code, said) in zip(wanted, done, strict=True):
        assert code == 255, (what, said)
        assert "orwarding failed" in said, (what, said)
    assert sh(lab.gateway, "ss -Hltx | wc -l") == before


def test_the_door_is_as_narrow_as_it_is_written(lab: Lab) -> None:
    """What can't be tried from a worker without a display, an agent and a tun device."""
    settings = sh(lab.gateway, "sshd -T -C user=b9tunnel,host=x,addr=192.0.2.1").splitlines()
    for line in (
        "x11forwarding no",
        "allowagentforwarding no",
        "allowstreamlocalforwarding no",
        "permittunnel no",
        "permittty no",
        "permituserrc no",
        "acceptenv none",
        "authenticationmethods publickey",
        "authorizedkeysfile /etc/b9prov/authorized_keys",
        "authorizedkeyscommand none",
        "trustedusercakeys none",
    ):
        assert line in settings
    others = sh(lab.gateway, "sshd -T -C user=admin,host=x,addr=192.0.2.1").splitlines()
    assert "authorizedkeysfile /etc/b9prov/authorized_keys" not in others


# -- a stolen worker's tokens


def test_the_gateways_list_gives_away_the_tokens_of_others(worker: Host, other: Host) -> None:
    """And with one of them its k3s is open to whoever reaches it past the tunnel."""
    machine = agent_config(worker)["machine"]
    url = "http://127.0.0.1:1994/api/v1/machine/list?pool_name=gpu&provider_name=generic"
    bearer = f"Authorization: Bearer {machine['token']}"
    # the attacks before this one may have cost the worker its session
    retry = "--retry 20 --retry-delay 1 --retry-connrefused"
    listed = sh(worker, f"curl -sSf -m 30 {retry} -H @- '{url}' <<'END'\n{bearer}\nEND")
    token = agent_config(other)["k3s"]["token"]
    assert token in listed
    jobs = f"https://{other.address}:6443/apis/batch/v1/namespaces/default/jobs"
    ask = "curl -sk -m 10 -o /dev/null -w '%{http_code}'"
    assert sh(worker, f"{ask} -H @- {jobs} <<'END'\nAuthorization: Bearer {token}\nEND") == "200"
    assert sh(worker, f"{ask} {jobs}") == "401"


# -- another user of the gateway host


@contextmanager
def squatting(host: Host, address: str, port: int) -> Iterator[list[str]]:
    """While a stranger listens there; what he got is in the list at the end."""
    got: list[str] = []
    words = ["systemd-run", "-q", "--unit=squatter", "-p", "User=nobody", "--service-type=exec"]
    done = host.exec([*words, "python3", "-c", SQUATTER, address, str(port)])
    assert done.returncode == 0, done.stderr
    said = "journalctl -u squatter -o cat --no-pager -I || journalctl -u squatter -o cat --no-pager"
    try:
        wait_until(lambda: "squatting" in sh(host, said), PATIENCE, "the squatter listens")
        yield got
        got += sh(host, said).splitlines()
    finally:
        sh(host, "systemctl stop squatter")


def test_who_listens_in_a_workers_place_is_told_nothing(lab: Lab, worker: Host) -> None:
    address = reverse_address(worker)
    call = f"curl -s -m 3 -H 'Authorization: Bearer secret' http://{address}:6443/"
    sh(worker, "systemctl stop b9-tunnel")
    try:
        wait_until(lambda: not listener(lab, worker), PATIENCE, "the worker is away")
        with squatting(lab.gateway, address, 6443) as got:
            assert lab.gateway.exec(["sh", "-c", call]).returncode == 28  # no answer in time
        assert not any("told" in line for line in got), got
    finally:
        sh(worker, "systemctl start b9-tunnel")
    wait_until(lambda: k3s_answers(lab, worker), PATIENCE, "the worker is back")


def test_another_user_of_the_gateway_host_gets_at_nothing(lab: Lab, worker: Host) -> None:
    host, address = lab.gateway, reverse_address(worker)
    free = "import socket; socket.socket(socket.AF_UNIX).connect('/run/b9prov-free.sock')"
    refused(
        host,
        "nobody",
        ("ls", "/var/lib/b9prov"),
        ("cat", "/var/lib/b9prov/machines.json"),
        ("touch", "/etc/b9prov/x"),
        ("sh", "-c", "echo >>/etc/b9prov/authorized_keys"),
        ("python3", "-c", free),
        ("/etc/b9prov/tunnel-shell", "-c", f"free {address}"),
        ("ip", "address", "delete", f"{address}/32", "dev", "lo"),
        ("nft", "delete", "table", "inet", "b9prov"),
    )
    code = ("curl", "-sk", "-m", "5", "-o", "/dev/null", "-w", "%{http_code}")
    jobs = f"https://{address}:6443/apis/batch/v1/namespaces/default/jobs"
    wait_until(lambda: k3s_answers(lab, worker), PATIENCE, "the worker's k3s")
    assert host.exec([*STRANGER, *code, jobs]).stdout == "401"


def test_the_tunnels_user_has_no_more_than_the_tunnels(lab: Lab) -> None:
    """What a hole in sshd itself would lead to."""
    refused(
        lab.gateway,
        "b9tunnel",
        ("cat", "/var/lib/b9prov/machines.json"),
        ("sh", "-c", "echo >>/etc/b9prov/authorized_keys"),
        ("sh", "-c", "echo >>/etc/b9prov/tunnel-shell"),
        ("nft", "delete", "table", "inet", "b9prov"),
    )


# -- another user of a worker


def test_another_user_of_a_worker_gets_at_nothing(worker: Host) -> None:
    refused(
        worker,
        "nobody",
        ("cat", "/etc/b9agent/config.yaml"),
        ("cat", f"{TUNNEL}/id_ed25519"),
        ("cat", "/etc/rancher/k3s/k3s.yaml"),
        ("cat", "/etc/rancher/k3s/config.yaml"),
        ("ls", "/var/lib/rancher/k3s/server/manifests"),
        ("sh", "-c", "cat /run/credentials/b9agent.service/*"),
        ("sh", "-c", "cat /run/credentials/b9-tunnel.service/*"),
        ("sh", "-c", "cat /proc/$(systemctl show -P MainPID b9agent)/environ"),
        ("touch", "/run/b9agent-asks/stop-ollama"),
        ("touch", "/usr/local/lib/b9prov/x"),
        ("systemctl", "stop", "--no-ask-password", "b9agent"),
    )


def test_another_user_of_a_worker_gets_nothing_from_the_gateway(worker: Host) -> None:
    code = ("curl", "-s", "-m", "10", "-o", "/dev/null", "-w", "%{http_code}")
    api = "http://127.0.0.1:1994/api/v1"
    wait_until(
        lambda: worker.exec([*STRANGER, *code, f"{api}/health"]).stdout == "200",
        PATIENCE,
        "the gateway's API",
    )
    body = ("-H", "Content-Type: application/json", "-d", '{"machine_id":"0","pool_name":"gpu"}')
    asked = [
        [*STRANGER, *code, f"{api}/machine/config"],
        [*STRANGER, *code, f"{api}/machine/list?pool_name=gpu&provider_name=generic"],
        [*STRANGER, *code, *body, f"{api}/machine/register"],
        [*STRANGER, *code, *body, f"{api}/machine/keepalive"],
    ]
    assert all(said in ("401", "500") for _, said in tried(worker, asked))


def test_who_listens_in_the_tunnels_place_is_told_nothing(lab: Lab, worker: Host) -> None:
    """The machine's tokens go to the tunnel's own listener alone."""
    refusal = "journalctl -u b9agent -o cat --no-pager | grep -c 'b9tunnel does not listen there'"
    sh(worker, "systemctl stop b9-tunnel")
    try:
        with squatting(worker, "127.0.0.1", 1994) as got:
            sh(worker, "systemctl restart b9agent")
            wait_until(lambda: sh(worker, f"{refusal} || true") != "0", PATIENCE, "the refusal")
        assert "called" in got
        assert {line for line in got if line.startswith("told")} <= {"told b''"}, got
    finally:
        sh(worker, "systemctl start b9-tunnel")
    wait_ready(lab, worker)


def test_a_web_page_can_not_ask_the_agent(worker: Host) -> None:
    url = "http://127.0.0.1:9999/inference/stop"
    code = ("curl", "-s", "-m", "5", "-X", "POST", "-o", "/dev/null", "-w", "%{http_code}", url)
    headers = ("Origin: http://evil.example", "Host: evil.example:9999")
    assert tried(worker, [(*code, "-H", header) for header in headers]) == [(0, "403")] * 2
    assert sh(worker, "systemctl is-active ollama") == "active"
