"""`b9prov trust`, and what is asked on a terminal, against real sshds."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from real_sshd import Sshd, fingerprint, make_key, public_line, run, sign
from terminal_process import Terminal

from provisioner.cli.failures import BAD_INPUT, FAILED
from provisioner.cli.main import program

MakeSshd = Callable[..., Sshd]
PASSPHRASE = "a passphrase of some length"


@pytest.fixture
def known_hosts(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(home)
    monkeypatch.setenv("XDG_STATE_HOME", str(home / "state"))
    (home / ".ssh" / "config").write_text("HashKnownHosts no\n")
    return home / ".ssh" / "known_hosts"


@pytest.fixture
def sshd(make_sshd: MakeSshd, known_hosts: Path) -> Sshd:
    found = make_sshd("ed25519", "rsa")
    found.start()
    return found


def inventory(home: Path, sshd: Sshd, gateway: Sshd | None = None, **settings: Any) -> str:
    """One host, w1, and with `gateway` the gateway host."""
    login = {"user": sshd.user, "identity_file": str(home / "id"), **settings}
    data: dict[str, Any] = {"hosts": {"w1": {"address": "127.0.0.1", "port": sshd.port, **login}}}
    if gateway:
        data["gateway"] = {"host": "127.0.0.1", "port": gateway.port, "user": gateway.user}
    (home / "inventory.yaml").write_text(json.dumps(data))
    return "inventory.yaml"


def trust(*words: str) -> Result:
    result = CliRunner().invoke(program, ["trust", *words])
    assert "Traceback" not in result.output
    return result


def rows(result: Result) -> dict[str, dict[str, Any]]:
    found = json.loads(result.stdout)
    assert found["schema"] == 1
    return {row["name"]: row for row in found["hosts"]}


def test_without_a_terminal_nothing_is_stored(home: Path, sshd: Sshd, known_hosts: Path) -> None:
    result = trust(inventory(home, sshd))
    assert result.exit_code == FAILED
    for word in (sshd.name, "ssh-ed25519", fingerprint(sshd.key()), "new", "--fingerprint w1=SHA"):
        assert word in result.output, result.output
    assert not known_hosts.exists()


def test_new_keys_are_stored_with_yes(
    home: Path, sshd: Sshd, make_sshd: MakeSshd, known_hosts: Path
) -> None:
    gateway = make_sshd()
    gateway.start()
    result = trust(inventory(home, sshd, gateway), "--yes", "--output", "json")
    assert result.exit_code == 0, result.output
    assert {name: row["state"] for name, row in rows(result).items()} == {
        "gateway": "stored",
        "w1": "stored",
    }
    assert known_hosts.read_text() == gateway.known() + sshd.known()
    assert known_hosts.stat().st_mode & 0o777 == 0o600
    again = trust("inventory.yaml", "w1", "--output", "json")
    assert again.exit_code == 0
    assert {name: row["state"] for name, row in rows(again).items()} == {"w1": "known"}
    assert rows(again)["w1"]["fingerprint"] == fingerprint(sshd.key())


@pytest.mark.parametrize("kind", ["ed25519", "rsa"])
def test_a_fingerprint_that_is_as_told(
    home: Path, sshd: Sshd, known_hosts: Path, kind: str
) -> None:
    told = f"w1={fingerprint(sshd.key(kind))}"
    result = trust(inventory(home, sshd), "--fingerprint", told)
    assert result.exit_code == 0, result.output
    assert known_hosts.read_text() == sshd.known(kind)


def test_a_fingerprint_that_is_another(home: Path, sshd: Sshd, known_hosts: Path) -> None:
    make_key(home / "other")
    told = f"w1={fingerprint(home / 'other')}"
    result = trust(inventory(home, sshd), "--yes", "--fingerprint", told)
    assert result.exit_code == FAILED
    assert "somebody may be in between" in result.output
    assert not known_hosts.exists()


def test_a_changed_key_is_replaced_only_when_told_so(
    home: Path, sshd: Sshd, make_sshd: MakeSshd, known_hosts: Path
) -> None:
    other, elsewhere = make_key(home / "other"), "192.0.2.1 " + make_key(home / "third")
    old = f"# mine\n{elsewhere}\n{sshd.name},example.org {other}\n*,!nobody {other}\n"
    known_hosts.write_text(f"@cert-authority * {other}\n" + old.replace(f"*,!nobody {other}\n", ""))
    before = known_hosts.read_text()
    path = inventory(home, sshd)
    result = trust(path, "--yes")
    change = f"{fingerprint(home / 'other')} → {fingerprint(sshd.key())}"
    assert result.exit_code == FAILED
    assert "CHANGED" in result.output and change in result.output
    assert f"b9prov trust {path} --replace w1" in result.output
    assert known_hosts.read_text() == before
    result = trust(path, "--replace", "w1")
    assert result.exit_code == FAILED, "nobody has agreed"
    assert known_hosts.read_text() == before
    result = trust(path, "--replace", "w1", "--yes")
    assert result.exit_code == 0, result.output
    assert change in result.output and "replaced" in result.output
    after = before.replace(f"{sshd.name},example.org", "example.org") + sshd.known()
    assert known_hosts.read_text() == after
    assert trust(path).exit_code == 0


def test_a_changed_key_that_is_known_hashed(home: Path, sshd: Sshd, known_hosts: Path) -> None:
    known_hosts.write_text(f"{sshd.name} {make_key(home / 'other')}\n")
    run("ssh-keygen", "-q", "-H", "-f", known_hosts)
    (home / ".ssh" / "config").write_text("HashKnownHosts yes\n")
    assert trust(inventory(home, sshd), "--replace", "w1", "--yes").exit_code == 0
    assert known_hosts.read_text().count("\n") == 1
    assert public_line(Path(f"{sshd.key()}.pub")) in known_hosts.read_text()
    assert known_hosts.read_text().startswith("|1|")


def test_a_pinned_key_is_changed_in_the_inventory_alone(
    home: Path, sshd: Sshd, known_hosts: Path
) -> None:
    make_key(home / "other")
    path = inventory(home, sshd, host_key=fingerprint(home / "other"))
    result = trust(path, "--replace", "w1", "--yes")
    assert result.exit_code == FAILED
    assert f"set its host_key in {path}: {fingerprint(sshd.key())}" in result.output
    assert not known_hosts.exists()
    path = inventory(home, sshd, host_key=fingerprint(sshd.key("rsa")))
    result = trust(path, "--output", "json")
    assert (result.exit_code, rows(result)["w1"]["state"]) == (0, "known")


def test_a_signed_key_is_known(home: Path, make_sshd: MakeSshd, known_hosts: Path) -> None:
    authority, sshd = make_key(home / "ca"), make_sshd()
    sign(home / "ca", Path(f"{sshd.key()}.pub"), "-h", "-n", "127.0.0.1")
    sshd.start(f"HostCertificate {sshd.key()}-cert.pub")
    known_hosts.write_text(f"@cert-authority 127.0.0.1 {authority}\n")
    result = trust(inventory(home, sshd), "--output", "json")
    assert (result.exit_code, rows(result)["w1"]["state"]) == (0, "known")


def test_a_revoked_key_is_never_stored(home: Path, sshd: Sshd, known_hosts: Path) -> None:
    known_hosts.write_text(f"@revoked * {public_line(Path(f'{sshd.key()}.pub'))}\n")
    result = trust(inventory(home, sshd), "--yes", "--replace", "w1")
    assert result.exit_code == FAILED and "REVOKED" in result.output
    assert known_hosts.read_text().count("\n") == 1


def test_jump_hosts_are_trusted_before_those_behind(
    home: Path, sshd: Sshd, make_sshd: MakeSshd, known_hosts: Path
) -> None:
    jump = make_sshd()
    jump.start()
    (home / ".ssh" / "id_ed25519").write_bytes((home / "id").read_bytes())
    path = inventory(home, sshd, jump=f"{jump.user}@127.0.0.1:{jump.port}")
    result = trust(path)
    assert result.exit_code == FAILED
    assert "the jump host: unknown host key" in result.output
    assert "publickey" not in jump.log
    told = f"{jump.name}={fingerprint(jump.key())}"
    result = trust(path, "--fingerprint", told, "--yes", "--output", "json")
    assert result.exit_code == 0, result.output
    assert known_hosts.read_text() == jump.known() + sshd.known()
    assert "Accepted publickey" in jump.log


def test_a_host_that_is_down(home: Path, make_sshd: MakeSshd, known_hosts: Path) -> None:
    result = trust(inventory(home, make_sshd()), "--yes")
    assert result.exit_code == FAILED
    assert "unreachable" in result.output and "nothing answers" in result.output


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--replace", "w9"), "no host is called 'w9' (there are w1)"),
        (("--fingerprint", "w9=SHA256:x"), "no host is called 'w9'"),
        (("--fingerprint", "w1"), "write HOST=SHA256:"),
        (("w9",), "w9"),
    ],
)
def test_bad_input(home: Path, sshd: Sshd, words: tuple[str, ...], said: str) -> None:
    result = trust(inventory(home, sshd), *words)
    assert result.exit_code == BAD_INPUT
    assert said in result.output


# -- on a terminal


@pytest.fixture
def terminal(home: Path) -> Callable[..., Terminal]:
    """Runs `b9prov` on a terminal."""

    def run_on(*words: str) -> Terminal:
        code = "from provisioner.cli.main import main; main()"
        return Terminal([sys.executable, "-c", code, *words], dict(os.environ), home)

    return run_on


def test_it_asks_before_it_stores(
    home: Path, sshd: Sshd, known_hosts: Path, terminal: Callable[..., Terminal]
) -> None:
    path = inventory(home, sshd)
    for answer, code in (("n\n", FAILED), ("y\n", 0)):
        asked = terminal("trust", path)
        asked.wait_for("Store 1 key in", fingerprint(sshd.key()))
        assert not known_hosts.exists()
        asked.press(answer)
        assert asked.end() == code, asked.text
    assert known_hosts.read_text() == sshd.known()


def test_passphrase_and_sudos_password_are_asked_for_once_and_not_shown(
    home: Path, sshd: Sshd, known_hosts: Path, terminal: Callable[..., Terminal]
) -> None:
    sshd.allow(make_key(home / "mine", passphrase=PASSPHRASE))
    known_hosts.write_text(sshd.known() + sshd.known().replace("127.0.0.1", "localhost"))
    path = inventory(home, sshd, identity_file=str(home / "mine"))
    data = json.loads((home / path).read_text())
    data["hosts"]["w2"] = {**data["hosts"]["w1"], "address": "localhost"}
    (home / path).write_text(json.dumps(data))
    (home / "try.yaml").write_text(
        "- hosts: workers\n  tasks:\n    - command: echo {{ inventory_hostname }} done\n"
    )
    asked = terminal("play", "try.yaml", "-i", path, "-K", "-vv", "--output", "plain")
    asked.wait_for(f"passphrase of {home / 'mine'}: ")
    asked.press("not that one\n")
    asked.wait_for("that is not its passphrase")
    asked.press(f"{PASSPHRASE}\n")
    asked.wait_for("sudo's password: ")
    asked.press("sudo-secret-42\n")
    assert asked.end() == 0, asked.text
    assert asked.text.count("passphrase of") == 2
    assert asked.text.count("sudo's password") == 1
    assert "w1 done" in asked.text and "w2 done" in asked.text
    for secret in (PASSPHRASE, "sudo-secret-42"):
        assert secret not in asked.text
        kept = [file for file in (home / "state").rglob("*") if file.is_file()]
        assert kept
        assert not [file for file in kept if secret.encode() in file.read_bytes()]


def test_without_a_terminal_nothing_is_asked_for(home: Path, sshd: Sshd, known_hosts: Path) -> None:
    make_key(home / "mine", passphrase=PASSPHRASE)
    known_hosts.write_text(sshd.known())
    path = inventory(home, sshd, identity_file=str(home / "mine"))
    (home / "try.yaml").write_text("- hosts: workers\n  tasks: [{command: 'true'}]\n")
    result = CliRunner().invoke(program, ["play", "try.yaml", "-i", path, "-K"])
    assert result.exit_code == BAD_INPUT
    assert "become_password" in result.output
    result = CliRunner().invoke(program, ["play", "try.yaml", "-i", path, "--output", "plain"])
    assert result.exit_code == FAILED
    assert f"the private key {home / 'mine'} is encrypted" in result.output
