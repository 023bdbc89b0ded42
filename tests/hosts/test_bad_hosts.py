"""Hosts and gateways that are not as they should be: said plainly, and nothing hangs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from driver import Driver, Json, Ran, tail, wait_until
from looks import differences, footprint, is_ready, sh

from provisioner.lab import Host
from provisioner.lab.files import make_key, public_key

LIMIT_SECONDS = 45.0
PASSWORD = "correct horse battery staple"


@pytest.fixture(scope="module")
def bare(driver: Driver) -> Driver:
    """New hosts; every test puts right what it makes wrong with w1."""
    driver.lab.reset_all()
    return driver


def on_w1(**settings: Any) -> Callable[[Json], None]:
    """An edit of the inventory that sets some of w1's keys."""

    def edit(data: Json) -> None:
        data["hosts"]["w1"].update(settings)

    return edit


def at_gateway(**settings: Any) -> Callable[[Json], None]:
    """An edit of the inventory that sets some of the gateway's keys."""
    return lambda data: data["gateway"].update(settings)


def up_w1(driver: Driver, *words: str, edit: Callable[[Json], Any] | None = None) -> Ran:
    inventory = driver.inventory(edit) if edit else None
    return driver.run("up", "--limit", "w1", *words, inventory=inventory, seconds=LIMIT_SECONDS)


def assert_said(ran: Ran, reason: str, advice: str, *, unreachable: bool = False) -> None:
    """w1 failed with a reason and advice that hold these words; no traceback anywhere."""
    assert ran.code == 1, tail(ran)
    assert "Traceback" not in ran.text
    end = ran.end("w1")
    assert end["end"] == ("unreachable" if unreachable else "failed"), end
    assert reason in end["reason"], end
    assert advice in f"{end['reason']} {end['advice']}", end
    (finished,) = ran.of("run_finished")
    assert "--limit" in finished["retry"]
    if not unreachable:
        (task,) = ran.of("task_finished", host="w1", status="failed")
        assert end["reason"].startswith(f"{task['task']}: ")


@contextmanager
def moved(host: Host, path: str) -> Iterator[None]:
    """While a file of a host is out of the way."""
    sh(host, f"mv {path} {path}.away")
    try:
        yield
    finally:
        sh(host, f"rm -f {path}; mv {path}.away {path}")


@contextmanager
def running(host: Host, *argv: str) -> Iterator[None]:
    """While a program runs in a host."""
    sh(host, f"systemd-run -q --unit=intruder -p RemainAfterExit=yes {' '.join(argv)}")
    try:
        yield
    finally:
        sh(host, "systemctl stop intruder")


# -- no way in


def test_a_refused_key(bare: Driver, tmp_path: Path) -> None:
    make_key(tmp_path / "id_other", "other")
    ran = up_w1(bare, edit=on_w1(identity_file=str(tmp_path / "id_other")))
    assert_said(ran, "refused the key", "authorized_keys", unreachable=True)


def test_an_identity_file_that_is_not_there(bare: Driver, tmp_path: Path) -> None:
    ran = up_w1(bare, edit=on_w1(identity_file=str(tmp_path / "nowhere")))
    assert ran.code in (1, 2), tail(ran)
    assert "nowhere" in ran.text
    assert "Traceback" not in ran.text


def test_an_unknown_host_key_is_believed_only_when_told_so(bare: Driver) -> None:
    known_hosts = bare.home / ".ssh" / "known_hosts"
    known_hosts.unlink(missing_ok=True)

    def forget(data: Json) -> None:
        del data["hosts"]["w1"]["host_key"]

    ran = up_w1(bare, edit=forget)
    assert_said(ran, "host key", "accept-new", unreachable=True)
    assert not known_hosts.exists()
    ran = up_w1(bare, "--check", "--host-keys", "accept-new", edit=forget)
    assert ran.code == 0, tail(ran)
    assert bare.lab.host("w1").host_key in known_hosts.read_text()
    ran = up_w1(bare, "--check", edit=forget)
    assert ran.code == 0, tail(ran)


def test_a_changed_host_key(bare: Driver) -> None:
    other = bare.lab.host("w2").host_key
    ran = up_w1(bare, edit=on_w1(host_key=other))
    assert_said(ran, "host key", "key", unreachable=True)


def test_a_changed_host_key_in_known_hosts_is_not_accepted_as_new(bare: Driver) -> None:
    worker, known_hosts = bare.lab.host("w1"), bare.home / ".ssh" / "known_hosts"
    known_hosts.parent.mkdir(exist_ok=True)
    known_hosts.write_text(f"{worker.address} {bare.lab.host('w2').host_key}\n")

    def forget(data: Json) -> None:
        del data["hosts"]["w1"]["host_key"]

    try:
        ran = up_w1(bare, "--host-keys", "accept-new", edit=forget)
    finally:
        known_hosts.unlink()
    assert_said(ran, "host key", "known_hosts", unreachable=True)


def test_a_port_that_refuses(bare: Driver) -> None:
    ran = up_w1(bare, edit=on_w1(port=2222))
    assert_said(ran, f"{bare.lab.host('w1').address}:2222", "sshd listens", unreachable=True)


def test_a_port_that_is_no_ssh(bare: Driver) -> None:
    with running(bare.lab.host("w1"), "python3", "-m", "http.server", "2222"):
        listening = "ss -Hlnt 'sport = :2222'"
        wait_until(lambda: sh(bare.lab.host("w1"), listening), 10, "a server at 2222")
        ran = up_w1(bare, edit=on_w1(port=2222))
    assert_said(ran, "", "", unreachable=True)
    assert ran.end("w1")["reason"]
    assert ran.end("w1")["advice"]


def test_a_host_that_swallows_packets(bare: Driver) -> None:
    worker = bare.lab.host("w1")
    worker.cut_link()
    try:
        ran = up_w1(bare, edit=on_w1(connect_timeout=2))
    finally:
        worker.restore_link()
        worker.wait_ready()
    assert_said(ran, worker.address, "firewall", unreachable=True)
    assert ran.seconds < 15


def test_a_name_that_does_not_resolve(bare: Driver) -> None:
    ran = up_w1(bare, edit=on_w1(address="no-such-host.invalid"))
    assert_said(ran, "does not resolve", "DNS", unreachable=True)


# -- in, but not able to do anything


def test_no_python(bare: Driver) -> None:
    with moved(bare.lab.host("w1"), "/usr/bin/python3"):
        ran = up_w1(bare)
    assert_said(ran, "python3 is not installed", "python3", unreachable=True)


def test_sudo_that_wants_a_password(bare: Driver) -> None:
    worker = bare.lab.host("w1")
    sh(worker, f"echo 'admin:{PASSWORD}' | chpasswd")
    sudoers = "/etc/sudoers.d/90-admin"
    with moved(worker, sudoers):
        sh(worker, f"echo 'admin ALL=(ALL) ALL' >{sudoers}; chmod 440 {sudoers}")
        none = up_w1(bare)
        wrong = up_w1(bare, edit=on_w1(become_password="not that one, this"))
        right = up_w1(bare, "--check", "-vv", edit=on_w1(become_password=PASSWORD))
    assert_said(none, "password", "become_password", unreachable=True)
    assert_said(wrong, "password", "become_password", unreachable=True)
    assert right.code == 0, tail(right)
    assert PASSWORD not in right.text


def test_a_user_who_may_not_use_sudo(bare: Driver) -> None:
    worker = bare.lab.host("w1")
    with moved(worker, "/etc/sudoers.d/90-admin"):
        sh(worker, f"echo 'admin:{PASSWORD}' | chpasswd")
        ran = up_w1(bare, edit=on_w1(become_password=PASSWORD))
    assert_said(ran, "sudo", "", unreachable=True)
    assert ran.end("w1")["advice"]


# -- preflight


def test_another_system(bare: Driver) -> None:
    worker = bare.lab.host("w1")
    with moved(worker, "/etc/os-release"):
        sh(worker, "printf 'ID=slackware\\nNAME=Slackware\\nVERSION_ID=15.0\\n' >/etc/os-release")
        ran = up_w1(bare)
    assert_said(ran, "Slackware", "")
    assert "Debian" in ran.text


def test_a_system_that_is_too_old(bare: Driver) -> None:
    worker = bare.lab.host("w1")
    with moved(worker, "/etc/os-release"), moved(worker, "/etc/debian_version"):
        sh(worker, "printf 'ID=debian\\nNAME=Debian\\nVERSION_ID=\"9\"\\n' >/etc/os-release")
        sh(worker, "echo 9.13 >/etc/debian_version")
        ran = up_w1(bare)
    assert_said(ran, "9", "")


@pytest.mark.parametrize("port", [6443, 1994, 11434])
def test_a_port_that_is_taken(bare: Driver, port: int) -> None:
    worker = bare.lab.host("w1")
    with running(worker, "python3", "-m", "http.server", str(port)):
        wait_until(lambda: sh(worker, f"ss -Hlnt 'sport = :{port}'"), 10, "the intruder")
        ran = up_w1(bare)
    assert_said(ran, str(port), "")
    assert "python3" in ran.end("w1")["reason"]
    assert ran.end("w1")["advice"]


def test_a_disk_without_room(bare: Driver) -> None:
    ran = up_w1(bare, "-e", "{preflight: {min_disk_gib: 1000000}}")
    assert_said(ran, "disk", "")
    assert ran.end("w1")["advice"]


HOLD = "import fcntl,time; f=open('/var/lib/dpkg/lock-frontend','w'); fcntl.lockf(f,2); "


def test_an_apt_lock_that_is_not_let_go(bare: Driver) -> None:
    worker = bare.lab.host("w1")
    with running(worker, "python3", "-c", f'"{HOLD}time.sleep(600)"'):
        wait_until(lambda: ":" in sh(worker, "cat /proc/locks"), 10, "the lock")
        ran = up_w1(bare, "-e", "preflight_apt_lock_timeout=1")
    assert_said(ran, "/var/lib/dpkg/lock-frontend is held by", "")
    assert "python3" in ran.end("w1")["reason"]
    assert ran.end("w1")["advice"]


def test_an_apt_lock_is_waited_for(bare: Driver) -> None:
    worker = bare.lab.host("w1")
    with running(worker, "python3", "-c", f'"{HOLD}time.sleep(4)"'):
        wait_until(lambda: ":" in sh(worker, "cat /proc/locks"), 10, "the lock")
        ran = up_w1(bare, "--check")
    assert ran.code == 0, tail(ran)


def test_all_that_is_wrong_is_told_at_once(bare: Driver) -> None:
    worker = bare.lab.host("w1")
    with moved(worker, "/usr/bin/ssh-keygen"):
        ran = up_w1(bare, "-e", "{preflight: {min_disk_gib: 1000000}}")
    assert_said(ran, "disk", "")
    assert "ssh-keygen" in ran.end("w1")["reason"] + ran.end("w1")["advice"]


def test_nothing_that_preflight_refused_was_touched(bare: Driver) -> None:
    lab = bare.lab
    lab.reset(lab.host("w1"))
    before = footprint(*lab.hosts)
    ran = up_w1(bare, "-e", "{preflight: {min_disk_gib: 1000000}}")
    assert ran.code == 1, tail(ran)
    assert differences(before, footprint(*lab.hosts)) == ""


# -- the gateway


def test_a_gateway_host_that_is_down(bare: Driver) -> None:
    lab = bare.lab
    lab.gateway.kill()
    try:
        ran = up_w1(bare, edit=at_gateway(connect_timeout=2))
    finally:
        lab.gateway.start()
        lab.wait_gateway()
    assert ran.code == 1, tail(ran)
    assert "Traceback" not in ran.text
    assert lab.gateway.address in ran.end("w1")["reason"]
    assert ran.end("w1")["advice"]


def test_a_gateway_host_that_refuses_the_key(bare: Driver, tmp_path: Path) -> None:
    make_key(tmp_path / "id_other", "other")
    assert public_key(tmp_path / "id_other") != bare.lab.gateway.authorized_key
    ran = up_w1(bare, edit=at_gateway(identity_file=str(tmp_path / "id_other")))
    assert ran.code == 1, tail(ran)
    assert "Traceback" not in ran.text
    end = ran.end("w1")
    assert end["end"] == "unreachable"
    assert end["reason"].startswith("gateway: ") and "refused the key" in end["reason"]
    assert end["advice"]


def test_a_gateway_that_is_stopped(bare: Driver) -> None:
    sh(bare.lab.gateway, "systemctl stop reference-gateway")
    try:
        ran = up_w1(bare)
    finally:
        sh(bare.lab.gateway, "systemctl start reference-gateway")
        bare.lab.wait_gateway()
    assert_said(ran, "the gateway does not answer", "gateway.api")


def test_a_wrong_admin_token(bare: Driver) -> None:
    wrong = "wrong-token-0123456789"
    ran = up_w1(bare, edit=at_gateway(admin_token=wrong))
    assert_said(ran, "admin token", "gateway.admin_token")
    assert wrong not in ran.text


def test_an_unknown_pool(bare: Driver) -> None:
    ran = up_w1(bare, "-e", "pool=nowhere")
    assert_said(ran, "the gateway refuses pool nowhere", "the gateway's own configuration")


def test_after_all_that_the_worker_can_still_be_made_ready(bare: Driver) -> None:
    bare.up("--limit", "w1")
    assert is_ready(bare.lab, bare.lab.host("w1"))
