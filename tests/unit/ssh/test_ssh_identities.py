"""With which keys a user logs in, against real sshds and a real agent."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from real_sshd import Sshd, fingerprint, make_key, public_line, run, sign

from provisioner.inventory import Host
from provisioner.ssh import identities
from provisioner.ssh.connect import Unreachable, connect

MakeSshd = Callable[..., Sshd]
PASSPHRASE = "a passphrase of some length"


@pytest.fixture
def sshd(make_sshd: MakeSshd, home: Path) -> Sshd:
    """One that runs, is known, and is not a place that `id` may log in to."""
    found = make_sshd()
    found.allow()
    found.start()
    (home / ".ssh" / "known_hosts").write_text(found.known())
    return found


@pytest.fixture
def agent(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An agent without keys."""
    socket = home / "agent"
    process = subprocess.Popen(["ssh-agent", "-D", "-a", socket], stdout=subprocess.DEVNULL)
    monkeypatch.setenv("SSH_AUTH_SOCK", str(socket))
    while not socket.exists():
        assert process.poll() is None
    yield
    process.terminate()
    process.wait(10)


def login(sshd: Sshd, identity: Path | None = None, **settings: Any) -> None:
    """Raises Unreachable."""
    name = None if identity is None else str(identity)
    about: dict[str, Any] = {"port": sshd.port, "user": sshd.user, "identity_file": name}
    connect(Host("w1", "127.0.0.1", **{**about, **settings})).close()


def refusal(sshd: Sshd, identity: Path | None = None, **settings: Any) -> str:
    with pytest.raises(Unreachable) as caught:
        login(sshd, identity, **settings)
    return f"{caught.value.reason} ({caught.value.advice})"


def offered(sshd: Sshd) -> list[str]:
    """The fingerprints of the keys that were offered, refused or not."""
    return re.findall(r"(?:Failed|Accepted) publickey for .*?(SHA256:\S+)", sshd.log)


@pytest.mark.parametrize("kind", ["ecdsa", "ed25519", "rsa"])
def test_a_file(sshd: Sshd, home: Path, kind: str) -> None:
    sshd.allow(make_key(home / "mine", kind))
    login(sshd, home / "mine")
    assert offered(sshd) == [fingerprint(home / "mine")]


def test_a_default_key(sshd: Sshd, home: Path) -> None:
    sshd.allow(make_key(home / ".ssh" / "id_ed25519"))
    login(sshd)


def test_no_key_at_all(sshd: Sshd) -> None:
    assert "there is no key to log in with (set identity_file" in refusal(sshd)


def test_a_file_that_is_no_key(sshd: Sshd, home: Path) -> None:
    (home / "mine").write_text("hello\n")
    assert "it is no private key (correct identity_file)" in refusal(sshd, home / "mine")


def test_an_identity_file_stands_alone(sshd: Sshd, home: Path, agent: None) -> None:
    """Neither the agent's keys, nor default keys, nor those of ssh_config are offered."""
    for name in ("id_ed25519", "of_config", "of_agent"):
        sshd.allow(
            *(sshd.folder / "authorized_keys").read_text().splitlines(),
            make_key(home / ".ssh" / name),
        )
    run("ssh-add", "-q", home / ".ssh" / "of_agent")
    (home / ".ssh" / "config").write_text("Host *\n  IdentityFile ~/.ssh/of_config\n")
    assert "refused the key" in refusal(sshd, home / "id")
    assert offered(sshd) == [fingerprint(home / "id")]


def test_identities_only(sshd: Sshd, home: Path, agent: None) -> None:
    sshd.allow(make_key(home / "of_agent"))
    run("ssh-add", "-q", home / "of_agent")
    only = f"Host *\n  IdentityFile {home}/id\n  IdentitiesOnly yes\n"
    (home / ".ssh" / "config").write_text(only)
    assert "refused the key" in refusal(sshd)
    assert offered(sshd) == [fingerprint(home / "id")]


def test_ssh_configs_file_and_the_agents_keys(sshd: Sshd, home: Path, agent: None) -> None:
    sshd.allow(make_key(home / "of_agent"))
    run("ssh-add", "-q", home / "of_agent")
    (home / ".ssh" / "config").write_text(f"Host *\n  IdentityFile {home}/id\n")
    login(sshd)
    sshd.allow(public_line(home / "id.pub"))
    login(sshd)


def test_an_agent_that_is_not_to_be_asked(sshd: Sshd, home: Path, agent: None) -> None:
    sshd.allow(make_key(home / "of_agent"))
    run("ssh-add", "-q", home / "of_agent")
    (home / ".ssh" / "config").write_text("Host *\n  IdentityAgent none\n")
    assert "there is no key" in refusal(sshd)


# -- encrypted keys


@pytest.mark.parametrize("kind", ["ecdsa", "ed25519", "rsa"])
def test_an_encrypted_file(sshd: Sshd, home: Path, kind: str) -> None:
    sshd.allow(make_key(home / "mine", kind, PASSPHRASE))
    said = refusal(sshd, home / "mine")
    assert f"the private key {home / 'mine'} is encrypted" in said
    assert "ssh-add" in said and "terminal" in said
    assert not identities.unlock(home / "mine", "not that one")
    assert "is encrypted" in refusal(sshd, home / "mine")
    assert identities.unlock(home / "mine", PASSPHRASE)
    login(sshd, home / "mine")


def test_an_encrypted_file_that_the_agent_has(sshd: Sshd, home: Path, agent: None) -> None:
    plain = home / "plain"
    sshd.allow(make_key(plain))
    (home / "mine").write_bytes(plain.read_bytes())
    (home / "mine").chmod(0o600)
    run("ssh-keygen", "-q", "-p", "-N", PASSPHRASE, "-f", home / "mine")
    run("ssh-add", "-q", plain)
    assert "is encrypted" in refusal(sshd, home / "mine")  # nothing says which key it is
    (home / "mine.pub").write_text(Path(f"{plain}.pub").read_text())
    login(sshd, home / "mine")


def test_which_files_are_to_be_asked_for(home: Path) -> None:
    make_key(home / "mine", passphrase=PASSPHRASE)
    make_key(home / ".ssh" / "id_rsa", "rsa", PASSPHRASE)
    named = identities.Identities.of("me", str(home / "mine"), {})
    assert named.locked() == [home / "mine"]
    assert identities.Identities.of("me", str(home / "nowhere.pub"), {}).files
    default = identities.Identities.of("me", None, {})
    assert default.locked() == [home / ".ssh" / "id_rsa"]
    make_key(home / ".ssh" / "id_ed25519")
    assert default.locked() == []  # there is one to offer without asking


# -- certificates


@pytest.mark.parametrize("kind", ["ecdsa", "ed25519", "rsa"])
def test_a_certificate_beside_the_file(make_sshd: MakeSshd, home: Path, kind: str) -> None:
    make_key(home / "ca")
    make_key(home / "mine", kind)
    sshd = make_sshd()
    sshd.allow()
    sshd.start(f"TrustedUserCAKeys {home}/ca.pub")
    (home / ".ssh" / "known_hosts").write_text(sshd.known())
    assert "refused the key" in refusal(sshd, home / "mine")
    sign(home / "ca", home / "mine.pub", "-n", sshd.user)
    login(sshd, home / "mine")
    assert "-CERT" in sshd.log


def test_a_certificate_that_ssh_config_names(make_sshd: MakeSshd, home: Path, agent: None) -> None:
    """Of a key that the agent has."""
    make_key(home / "ca")
    make_key(home / "mine")
    sshd = make_sshd()
    sign(home / "ca", home / "mine.pub", "-n", sshd.user)
    os.rename(home / "mine-cert.pub", home / "elsewhere-cert.pub")
    run("ssh-add", "-q", home / "mine")
    (home / "mine").unlink()
    (home / ".ssh" / "config").write_text(
        f"Host *\n  IdentityFile {home}/mine\n  CertificateFile {home}/elsewhere-cert.pub\n"
    )
    sshd.allow()
    sshd.start(f"TrustedUserCAKeys {home}/ca.pub")
    (home / ".ssh" / "known_hosts").write_text(sshd.known())
    login(sshd)


def test_a_certificate_that_is_in_the_agent(make_sshd: MakeSshd, home: Path, agent: None) -> None:
    make_key(home / "ca")
    make_key(home / "mine")
    sshd = make_sshd()
    sign(home / "ca", home / "mine.pub", "-n", sshd.user)
    run("ssh-add", "-q", home / "mine")
    sshd.allow()
    sshd.start(f"TrustedUserCAKeys {home}/ca.pub")
    (home / ".ssh" / "known_hosts").write_text(sshd.known())
    login(sshd)


def test_a_host_that_wants_more_than_a_key(make_sshd: MakeSshd, home: Path) -> None:
    sshd = make_sshd()
    sshd.start("PasswordAuthentication yes", "AuthenticationMethods publickey,password")
    (home / ".ssh" / "known_hosts").write_text(sshd.known())
    assert "the key is accepted, but password is wanted as well" in refusal(sshd, home / "id")
