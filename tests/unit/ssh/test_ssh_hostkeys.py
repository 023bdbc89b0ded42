"""Whose host key is believed, against real sshds: and attacks on it."""

from __future__ import annotations

import ast
import re
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import paramiko
import pytest
from real_sshd import Sshd, fingerprint, make_key, public_line, run, sign

from provisioner.inventory import Host
from provisioner.ssh import connect as connect_module
from provisioner.ssh.connect import Unreachable, VerifiedConnection, connect, connection_to
from provisioner.ssh.hostkeys import Judge

MakeSshd = Callable[..., Sshd]
PACKAGE = Path(__file__).parents[3] / "provisioner"


@pytest.fixture
def known_hosts(home: Path) -> Path:
    return home / ".ssh" / "known_hosts"


def target(sshd: Sshd, home: Path, **settings: Any) -> Host:
    about = {"address": "127.0.0.1", "port": sshd.port, "user": sshd.user}
    return Host("w1", **{**about, "identity_file": str(home / "id"), **settings})


def reached(sshd: Sshd, home: Path, mode: str = "strict", **settings: Any) -> bool:
    """Connects; raises Unreachable."""
    with connect(target(sshd, home, **settings), mode) as connection:
        connected: bool = connection.is_connected
        return connected


def refused(sshd: Sshd, home: Path, *words: str, mode: str = "strict", **settings: Any) -> None:
    """The host is not believed, for a reason with these words; nobody tried to log in."""
    with pytest.raises(Unreachable) as caught:
        reached(sshd, home, mode, **settings)
    said = f"{caught.value.reason} ({caught.value.advice})"
    assert all(word in said for word in words), said
    assert "publickey" not in sshd.log


# -- unknown and changed keys


def test_an_unknown_key_is_refused_and_nothing_is_written(
    make_sshd: MakeSshd, home: Path, known_hosts: Path
) -> None:
    sshd = make_sshd()
    sshd.start()
    shown = fingerprint(sshd.key())
    refused(sshd, home, "unknown host key", shown, "b9prov trust", "--host-keys accept-new")
    assert list((home / ".ssh").iterdir()) == []


@pytest.mark.parametrize("mode", ["strict", "accept-new"])
@pytest.mark.parametrize("kind", ["ed25519", "rsa"])
def test_a_changed_key_is_refused_and_nothing_is_written(
    make_sshd: MakeSshd, home: Path, known_hosts: Path, mode: str, kind: str
) -> None:
    """Also where the known key is of another type."""
    sshd, other = make_sshd(), home / "other"
    make_key(other, kind)
    known_hosts.write_text(f"{sshd.name} {public_line(Path(f'{other}.pub'))}\n")
    before = known_hosts.read_bytes()
    sshd.start()
    refused(sshd, home, "is not the known", fingerprint(other), "--replace", mode=mode)
    assert known_hosts.read_bytes() == before


def test_a_new_key_is_accepted_when_told_so_and_remembered(
    make_sshd: MakeSshd, home: Path, known_hosts: Path
) -> None:
    (home / ".ssh" / "config").write_text("HashKnownHosts no\n")
    known_hosts.write_text("# without a line's end")
    sshd = make_sshd()
    sshd.start()
    assert reached(sshd, home, "accept-new")
    assert known_hosts.read_text() == f"# without a line's end\n{sshd.known()}"
    assert reached(sshd, home)


def test_it_is_remembered_hashed_when_ssh_config_says_so(
    make_sshd: MakeSshd, home: Path, known_hosts: Path
) -> None:
    (home / ".ssh" / "config").write_text("HashKnownHosts yes\n")
    sshd = make_sshd()
    sshd.start()
    assert reached(sshd, home, "accept-new")
    assert known_hosts.read_text().startswith("|1|") and "127.0.0.1" not in known_hosts.read_text()
    assert sshd.name in run("ssh-keygen", "-F", sshd.name, "-f", known_hosts)
    assert reached(sshd, home)


# -- known ones, however they are written


@pytest.mark.parametrize(
    "edit",
    [
        lambda line: line,
        lambda line: line.replace("[127", "example.org,[127"),
        lambda line: line.replace("[127.0.0.1]", "[127.0.*.?]"),
        lambda line: f"not-a-line\n@what {line}{line}",
    ],
)
def test_a_known_key(
    make_sshd: MakeSshd, home: Path, known_hosts: Path, edit: Callable[[str], str]
) -> None:
    sshd = make_sshd("ecdsa", "ed25519", "rsa")
    known_hosts.write_text(edit(sshd.known("rsa")))
    sshd.start()
    assert reached(sshd, home)


def test_a_key_that_is_known_hashed(make_sshd: MakeSshd, home: Path, known_hosts: Path) -> None:
    sshd = make_sshd()
    known_hosts.write_text(sshd.known())
    run("ssh-keygen", "-q", "-H", "-f", known_hosts)
    assert "127.0.0.1" not in known_hosts.read_text()
    sshd.start()
    assert reached(sshd, home)


@pytest.mark.parametrize(
    "hosts", ["127.0.0.1", "[127.0.0.1]:1", "*,!{}", "|1||", "|1|AAAA|AAAA", ""]
)
def test_the_key_of_another_host_or_port_is_not_this_hosts(
    make_sshd: MakeSshd, home: Path, known_hosts: Path, hosts: str
) -> None:
    sshd = make_sshd()
    known_hosts.write_text(sshd.known().replace(sshd.name, hosts.format(sshd.name)))
    sshd.start()
    refused(sshd, home, "unknown host key")


def test_a_revoked_key_is_refused_whatever_else_is_said(
    make_sshd: MakeSshd, home: Path, known_hosts: Path
) -> None:
    sshd = make_sshd()
    known_hosts.write_text(f"{sshd.known()}@revoked * {sshd.known().partition(' ')[2]}")
    sshd.start()
    refused(sshd, home, "revoked")
    refused(sshd, home, "revoked", host_key=public_line(Path(f"{sshd.key()}.pub")))


# -- pins


@pytest.mark.parametrize("kind", ["ecdsa", "ed25519", "rsa"])
def test_pinned_keys_and_fingerprints(make_sshd: MakeSshd, home: Path, kind: str) -> None:
    sshd = make_sshd("ecdsa", "ed25519", "rsa")
    sshd.start()
    assert reached(sshd, home, host_key=fingerprint(sshd.key(kind)))
    assert reached(sshd, home, host_key=public_line(Path(f"{sshd.key(kind)}.pub")))


@pytest.mark.parametrize("mode", ["strict", "accept-new"])
def test_a_pin_goes_over_known_hosts(
    make_sshd: MakeSshd, home: Path, known_hosts: Path, mode: str
) -> None:
    sshd = make_sshd()
    known_hosts.write_text(sshd.known())
    other = make_key(home / "other")
    sshd.start()
    for pin in (other, fingerprint(home / "other")):
        refused(
            sshd, home, "is not the pinned", fingerprint(home / "other"), mode=mode, host_key=pin
        )


# -- keys that an authority has signed


def signed(make_sshd: MakeSshd, home: Path, *options: str, kind: str = "ed25519") -> Sshd:
    """One whose host key the authority `ca` has signed, and that shows its certificate."""
    make_key(home / "ca", kind)
    sshd = make_sshd(kind)
    sign(home / "ca", Path(f"{sshd.key(kind)}.pub"), *options)
    sshd.start(f"HostCertificate {sshd.key(kind)}-cert.pub")
    return sshd


def trust_authority(home: Path, known_hosts: Path, hosts: str = "*", marker: str = "") -> None:
    line = f"{marker or '@cert-authority'} {hosts} {public_line(home / 'ca.pub')}\n"
    with known_hosts.open("a") as file:
        file.write(line)


@pytest.mark.parametrize("kind", ["ecdsa", "ed25519", "rsa"])
@pytest.mark.parametrize("hosts", ["127.0.0.*", "[127.0.0.1]:*"])
def test_a_signed_key_is_believed(
    make_sshd: MakeSshd, home: Path, known_hosts: Path, kind: str, hosts: str
) -> None:
    sshd = signed(make_sshd, home, "-h", "-n", "127.0.0.1,other", kind=kind)
    trust_authority(home, known_hosts, hosts)
    assert reached(sshd, home)
    assert "127.0.0.1]" not in known_hosts.read_text().replace(hosts, "")


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (("-h", "-n", "192.0.2.1,example.org"), "is for 192.0.2.1, example.org"),
        (("-h",), "names no host"),
        (("-n", "127.0.0.1"), "a user's"),
        (("-h", "-n", "127.0.0.1", "-V", "20200101:20200102"), "expired"),
        (("-h", "-n", "127.0.0.1", "-V", "20900101:20910101"), "not valid yet"),
        (("-h", "-n", "127.0.0.1", "-O", "critical:odd=1"), "demands"),
    ],
)
def test_a_certificate_that_is_not_good_is_refused(
    make_sshd: MakeSshd, home: Path, known_hosts: Path, options: tuple[str, ...], why: str
) -> None:
    make_key(home / "ca")
    trust_authority(home, known_hosts)
    sshd = make_sshd()
    sign(home / "ca", Path(f"{sshd.key()}.pub"), *options)
    # sshd itself shows no user's certificate: so does this one, whatever it is
    with Impostor(sshd, sshd.key()) as port, pytest.raises(Unreachable) as caught:
        reached(sshd, home, port=port)
    assert why in caught.value.reason, caught.value.reason


def test_another_authority_is_refused(make_sshd: MakeSshd, home: Path, known_hosts: Path) -> None:
    sshd = signed(make_sshd, home, "-h", "-n", "127.0.0.1")
    known_hosts.write_text(f"@cert-authority * {make_key(home / 'other')}\n")
    refused(sshd, home, "unknown host key", "authority that is not known")


def test_an_authority_is_believed_for_its_hosts_alone(
    make_sshd: MakeSshd, home: Path, known_hosts: Path
) -> None:
    sshd = signed(make_sshd, home, "-h", "-n", "127.0.0.1")
    trust_authority(home, known_hosts, "*.example.org")
    refused(sshd, home, "unknown host key")


def test_an_authoritys_own_key_is_no_host_key(
    make_sshd: MakeSshd, home: Path, known_hosts: Path
) -> None:
    sshd = make_sshd()
    known_hosts.write_text(f"@cert-authority {sshd.known()}")
    sshd.start()
    refused(sshd, home, "unknown host key")


def test_a_revoked_authority(make_sshd: MakeSshd, home: Path, known_hosts: Path) -> None:
    sshd = signed(make_sshd, home, "-h", "-n", "127.0.0.1")
    trust_authority(home, known_hosts)
    trust_authority(home, known_hosts, marker="@revoked")
    refused(sshd, home, "revoked")


def test_a_signed_key_that_is_known_as_it_is(
    make_sshd: MakeSshd, home: Path, known_hosts: Path
) -> None:
    sshd = signed(make_sshd, home, "-h", "-n", "127.0.0.1")
    known_hosts.write_text(sshd.known())
    assert reached(sshd, home)
    assert reached(sshd, home, host_key=fingerprint(sshd.key()))


class Impostor:
    """Shows the certificate of a host, but signs with a key of its own."""

    def __init__(self, sshd: Sshd, own: Path) -> None:
        blob = paramiko.pkey.PublicBlob.from_file(f"{sshd.key()}-cert.pub").key_blob

        class Key(paramiko.Ed25519Key):
            def asbytes(self) -> bytes:
                return blob

        self._key = Key.from_private_key_file(str(own))
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._threads: list[paramiko.Transport] = []

    def __enter__(self) -> int:
        def serve() -> None:
            while True:
                try:
                    peer, _ = self._socket.accept()
                except OSError:
                    return
                transport = paramiko.Transport(peer)
                transport.add_server_key(self._key)
                self._threads.append(transport)
                transport.start_server(event=threading.Event(), server=paramiko.ServerInterface())

        threading.Thread(target=serve, daemon=True).start()
        port: int = self._socket.getsockname()[1]
        return port

    def __exit__(self, *error: object) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for transport in self._threads:
            transport.close()


def test_who_has_the_certificate_but_not_the_key_is_refused(
    make_sshd: MakeSshd, home: Path, known_hosts: Path
) -> None:
    sshd = signed(make_sshd, home, "-h", "-n", "127.0.0.1")
    trust_authority(home, known_hosts)
    make_key(home / "thief")
    refusal = pytest.raises(Unreachable, match="Signature verification")
    with Impostor(sshd, home / "thief") as port, refusal:
        reached(sshd, home, port=port)


# -- jump hosts


def test_an_unknown_jump_host_is_refused(
    make_sshd: MakeSshd, home: Path, known_hosts: Path
) -> None:
    jump, sshd = make_sshd(), make_sshd()
    known_hosts.write_text(sshd.known())
    jump.start()
    sshd.start()
    by_config = f"Host 127.0.0.1\n  ProxyJump {jump.user}@localhost:{jump.port}\n"
    (home / ".ssh" / "id_ed25519").write_bytes((home / "id").read_bytes())
    for mode in ("strict", "accept-new"):
        way = f"{jump.user}@127.0.0.1:{jump.port}"
        refused(sshd, home, "the jump host: unknown host key", jump.name, mode=mode, jump=way)
    (home / ".ssh" / "config").write_text(by_config)
    connect_module._config.cache_clear()
    refused(sshd, home, "the jump host: unknown host key", "localhost")
    assert "publickey" not in jump.log
    known_hosts.write_text(sshd.known() + jump.known().replace("127.0.0.1", "localhost"))
    assert reached(sshd, home)
    assert "Accepted publickey" in jump.log


def test_through_two_jump_hosts(make_sshd: MakeSshd, home: Path, known_hosts: Path) -> None:
    first, second, sshd = make_sshd(), make_sshd(), make_sshd()
    for each in (first, second, sshd):
        each.start()
    (home / ".ssh" / "id_ed25519").write_bytes((home / "id").read_bytes())
    way = ",".join(f"{each.user}@127.0.0.1:{each.port}" for each in (first, second))
    known_hosts.write_text(sshd.known() + first.known())
    with pytest.raises(Unreachable, match="the jump host: unknown host key") as caught:
        reached(sshd, home, jump=way)
    assert second.name in caught.value.reason
    known_hosts.write_text(sshd.known() + first.known() + second.known())
    assert reached(sshd, home, jump=way)


def test_jump_hosts_of_ssh_config_may_be_none(make_sshd: MakeSshd, home: Path) -> None:
    (home / ".ssh" / "config").write_text("Host *\n  ProxyJump none\n")
    assert connection_to(Host("w1", "192.0.2.1")).gateway is None


# -- paramiko's auto-add is never in force


def test_every_connection_is_judged_from_its_making_on(home: Path) -> None:
    (home / ".ssh" / "config").write_text("Host w9\n  ProxyJump a@one,b@two\n")
    for host in (Host("w1", "192.0.2.1", jump="a@one:2,two"), Host("w9", "w9"), Host("w2", "x")):
        connection = connection_to(host)
        while connection is not None:
            assert isinstance(connection, VerifiedConnection)
            assert isinstance(connection.client._policy, Judge)
            assert connection.client.get_host_keys().keys() == []
            connection = connection.gateway


def test_nothing_else_in_the_program_opens_ssh_connections() -> None:
    """Fabric's own `Connection` takes any key; `VerifiedConnection` alone is made of it."""
    makers = {"Connection", "SSHClient", "Transport", "SerialGroup", "ThreadingGroup"}
    found = set()
    for file in PACKAGE.rglob("*.py"):
        text = file.read_text()
        assert not re.search(r"AutoAddPolicy|WarningPolicy|load_system_host_keys", text), file
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Call):
                name = getattr(node.func, "id", getattr(node.func, "attr", ""))
                if name in makers:
                    found.add(f"{file.relative_to(PACKAGE)}: {name}")
    assert found == set()
