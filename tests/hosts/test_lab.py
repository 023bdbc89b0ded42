"""The lab itself: its hosts behave as machines do, and it leaves nothing behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from provisioner import paths
from provisioner.inventory import load_inventory
from provisioner.lab import Host, Lab, LabError, lab_down, lab_names, lab_status, lab_up
from provisioner.lab.machine import mounted_under
from provisioner.lab.processes import running

LABS = paths.state_dir() / "lab"


def ssh(lab: Lab, host: Host, *words: str, timeout: int = 3) -> subprocess.CompletedProcess[str]:
    """Run a command over ssh, with the host key pinned to the one the lab recorded."""
    known_hosts = lab.directory / "known_hosts"
    known_hosts.write_text("".join(f"{each.address} {each.host_key}\n" for each in lab.hosts))
    options = ["BatchMode=yes", "StrictHostKeyChecking=yes", f"ConnectTimeout={timeout}"]
    options += [f"UserKnownHostsFile={known_hosts}", "GlobalKnownHostsFile=/dev/null"]
    flags = [word for option in options for word in ("-o", option)]
    argv = ["ssh", "-F", "none", "-i", str(lab.identity_file), *flags, f"admin@{host.address}"]
    return subprocess.run([*argv, *words], capture_output=True, text=True, timeout=30)


def strays() -> list[str]:
    """What of labs is on this machine that belongs to none of the labs there are."""
    found = [f"mount {point}" for point in mounted_under(LABS)]
    found += [f"process {p.pid} {' '.join(p.arguments())}" for p in running()]
    found = [line for line in found if f"{LABS}/" in line]
    found += [f"link {link.name}" for link in Path("/sys/class/net").iterdir()]
    places = (Path("/sys/fs/cgroup"), Path("/run/systemd/nspawn"))
    # os.walk passes over groups that vanish meanwhile, those of other labs' services
    walked = (
        os.path.join(top, name)
        for place in places
        for top, directories, files in os.walk(place)
        for name in directories + files
    )
    found += [f"group {path}" for path in walked if os.path.basename(path).startswith("b9lab")]
    found += [f"files {path}/" for path in LABS.iterdir() if path.is_dir()]
    labs = [Lab.load(name) for name in lab_names()]
    known = [f"{lab.directory}/" for lab in labs] + [f"{lab.network.bridge}-" for lab in labs]
    known += [f"link {lab.network.bridge}" for lab in labs]
    ours = [line for line in found if "b9lab" in line or f"{LABS}/" in line]
    return [line for line in ours if not any(mark in line for mark in known)]


@pytest.fixture
def other(lab: Lab) -> Iterator[str]:
    """The name of a second lab; when it is taken down nothing of it may stay."""
    name = f"{lab.name}-other"
    lab_down(name)
    yield name
    lab_down(name)
    assert strays() == []


def test_every_host_answers_ssh_with_its_recorded_key_and_lets_sudo_through(lab: Lab) -> None:
    for host in lab.hosts:
        done = ssh(lab, host, "hostname; sudo -n id -u; python3 -V; systemctl is-system-running")
        assert done.returncode == 0, done.stderr
        assert done.stdout.split()[:2] == [host.name, "0"]
        assert "running" in done.stdout


def test_sudo_does_not_wait_for_a_name_server(lab: Lab) -> None:
    begun = time.monotonic()
    assert ssh(lab, lab.host("w1"), "sudo -n true; getent hosts nowhere.example").stdout == ""
    assert time.monotonic() - begun < 3


def test_hosts_reach_each_other_and_the_controller(lab: Lab) -> None:
    for address in (lab.gateway.address, lab.host("w2").address, lab.network.controller):
        assert lab.host("w1").exec(["ping", "-c1", "-W2", address]).returncode == 0


def test_machine_ids_and_host_keys_are_unique(lab: Lab) -> None:
    ids = {host.path("/etc/machine-id").read_text() for host in lab.hosts}
    assert len(ids) == len({host.host_key for host in lab.hosts}) == len(lab.hosts)


def test_a_host_that_reboots_itself_comes_back_with_its_disk(lab: Lab) -> None:
    host = lab.host("w1")
    before = host.leader()
    assert before is not None
    host.exec(["sh", "-c", "echo kept >/var/kept; sync"])
    ssh(lab, host, "sudo -n systemctl reboot")
    assert before.wait(20)
    host.wait_ready()
    assert host.leader() != before
    assert ssh(lab, host, "cat /var/kept").stdout == "kept\n"


def test_reboot_waits_until_logins_work_again(lab: Lab) -> None:
    host = lab.host("w1")
    host.reboot()
    assert ssh(lab, host, "true").returncode == 0


def test_a_power_cut_ends_the_host_and_start_brings_it_back(lab: Lab) -> None:
    host = lab.host("w2")
    host.kill()
    assert not host.running()
    assert [row["state"] for row in lab_status(lab.name)] == ["on", "on", "off", "on"]
    with pytest.raises(LabError, match="not running"):
        host.exec(["true"])
    host.start()
    assert ssh(lab, host, "true").returncode == 0


def test_a_stopped_host_stays_off(lab: Lab) -> None:
    host = lab.host("w2")
    host.stop()
    assert not host.running()
    assert host.leader() is None
    host.start()
    assert ssh(lab, host, "true").returncode == 0


def test_a_host_whose_supervisor_was_killed_alone_can_be_started_again(lab: Lab) -> None:
    host = lab.host("w3")
    supervisor = host.supervisor()
    assert supervisor is not None
    os.kill(supervisor.pid, signal.SIGKILL)
    assert supervisor.wait(5)
    host.start()
    assert ssh(lab, host, "true").returncode == 0


def test_a_cut_link_loses_packets_until_it_is_restored(lab: Lab) -> None:
    host = lab.host("w3")
    host.cut_link()
    with pytest.raises(OSError):
        socket.create_connection((host.address, 22), timeout=1)
    assert host.exec(["true"]).returncode == 0
    host.restore_link()
    host.wait_ready(10)
    assert ssh(lab, host, "true").returncode == 0


def test_reset_gives_a_new_host_with_the_same_key(lab: Lab, fresh_worker: Host) -> None:
    fresh_worker.exec(["sh", "-c", "touch /etc/leftover; rm -rf /usr/lib/python3.11"])
    key = fresh_worker.host_key
    lab.reset(fresh_worker)
    assert not fresh_worker.path("/etc/leftover").exists()
    assert fresh_worker.host_key == key
    assert ssh(lab, fresh_worker, "python3 -V").returncode == 0


def test_the_reference_gateway_answers_on_localhost_also_after_a_reboot(lab: Lab) -> None:
    lab.gateway.reboot()
    lab.wait_gateway()
    done = lab.gateway.exec(
        ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "localhost:31994"]
    )
    assert int(done.stdout) >= 200


def test_the_inventory_names_every_worker_and_keeps_the_token_out(lab: Lab) -> None:
    text = lab.inventory_path.read_text()
    token = lab.admin_token_path.read_text().strip()
    assert token not in text
    assert lab.admin_token_path.stat().st_mode & 0o777 == 0o600
    inventory = load_inventory(lab.inventory_path)
    assert list(inventory.hosts) == ["w1", "w2", "w3"]
    assert inventory.hosts["w2"].host_key == lab.host("w2").host_key
    assert inventory.hosts["w1"].variables["artifacts"]["mirror"] == lab.mirror_url


def test_the_mirror_serves_ranges_to_hosts(lab: Lab) -> None:
    file = lab.artifacts_dir / "test-of-ranges"
    file.write_bytes(bytes(range(256)) * 9000)
    try:
        url = f"{lab.mirror_url}/{file.name}"
        assert urllib.request.urlopen(url, timeout=5).read() == file.read_bytes()
        resumed = urllib.request.Request(url, headers={"Range": "bytes=1000000-"})
        with urllib.request.urlopen(resumed, timeout=5) as answer:
            assert answer.status == 206
            assert answer.read() == file.read_bytes()[1000000:]
        done = lab.host("w1").exec(["curl", "-s", "-r", "0-3", url])
        assert done.stdout.encode() == bytes(range(4))
        past = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-r", "9999999-", url]
        assert lab.host("w1").exec(past).stdout == "416"
    finally:
        file.unlink()


def test_a_second_lab_up_touches_nothing(lab: Lab) -> None:
    before = [host.leader() for host in lab.hosts]
    assert lab_up(lab.name, 3, progress=print) == lab
    assert [host.leader() for host in lab.hosts] == before


def test_two_labs_live_side_by_side_and_one_can_grow_and_go(lab: Lab, other: str) -> None:
    second = lab_up(other, 1, progress=print)
    first_leader = second.gateway.leader()
    assert second.network.bridge != lab.network.bridge
    grown = lab_up(other, 2, progress=print)
    assert [host.name for host in grown.hosts] == ["gateway", "w1", "w2"]
    assert grown.gateway.leader() == first_leader
    assert ssh(grown, grown.host("w2"), "true").returncode == 0
    assert lab_down(other)
    assert ssh(lab, lab.host("w1"), "true").returncode == 0
    assert not lab_down(other)


@pytest.mark.parametrize("seconds", [0.15, 0.3, 0.45, 0.6])
def test_a_lab_up_that_was_killed_is_completed_or_taken_down(
    lab: Lab, other: str, seconds: float
) -> None:
    script = f"from provisioner.lab import lab_up; lab_up({other!r}, 1, progress=print)"
    up = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.DEVNULL)
    with pytest.raises(subprocess.TimeoutExpired):
        up.wait(seconds)
    up.kill()
    up.wait()
    whole = lab_up(other, 1, progress=print)
    assert ssh(whole, whole.host("w1"), "true").returncode == 0


def test_hosts_outlive_the_process_that_started_them(lab: Lab, other: str) -> None:
    script = f"from provisioner.lab import lab_up; lab_up({other!r}, 0, progress=print)"
    subprocess.run([sys.executable, "-c", script], check=True, stdout=subprocess.DEVNULL)
    assert ssh(Lab.load(other), Lab.load(other).gateway, "true").returncode == 0


def test_an_unknown_lab_and_a_bad_name_say_what_to_do() -> None:
    with pytest.raises(LabError, match="b9prov lab up"):
        Lab.load("nowhere")
    with pytest.raises(LabError, match="no name for a lab"):
        lab_up("../up", 1, progress=print)
