"""The gateway host has a new host key: refused everywhere, and healed by `b9prov trust`."""

from __future__ import annotations

from driver import Driver, Json, tail, wait_until
from looks import is_ready, sh, wait_ready

from provisioner.lab import Host

KEY = "/etc/ssh/ssh_host_ed25519_key"


def unpinned(data: Json) -> None:
    """An edit of the inventory: the gateway host's key is in known_hosts, not there."""
    del data["gateway"]["host_key"]


def test_a_new_host_key_of_the_gateway_is_refused_until_it_is_trusted(ready: Driver) -> None:
    gateway, worker = ready.lab.gateway, ready.lab.host("w1")
    inventory = ready.inventory(unpinned)
    known_hosts = ready.home / ".ssh" / "known_hosts"
    assert ready.run("trust", "gateway", "--yes", inventory=inventory).code == 0
    before = known_hosts.read_text()
    sh(gateway, f"cp -p {KEY} {KEY}.old; cp -p {KEY}.pub {KEY}.old.pub")
    try:
        sh(
            gateway,
            f"rm {KEY}; ssh-keygen -q -t ed25519 -N '' -f {KEY}; systemctl restart ssh; "
            # the sessions that were open, those of the tunnels
            "pkill -KILL -u b9tunnel",
        )
        wait_until(lambda: "Host key verification failed" in journal(worker), 20, "an alarm")
        assert "IDENTIFICATION HAS CHANGED" in journal(worker)
        refused = ready.run("up", "--limit", "w1", inventory=inventory)
        assert refused.code == 1, tail(refused)
        said = " ".join(map(str, refused.end("w1").values()))
        assert "is not the known SHA256:" in said and "b9prov trust --replace" in said
        asked = ready.run("trust", "gateway", "--yes", "--output", "plain", inventory=inventory)
        assert asked.code == 1 and "CHANGED" in asked.out, tail(asked)
        assert known_hosts.read_text() == before
        words = ("--replace", "gateway", "--yes", "--output", "plain")
        trusted = ready.run("trust", "gateway", *words, inventory=inventory)
        assert trusted.code == 0, tail(trusted)
        assert "--tags tunnel" in trusted.err
        healed = ready.up("--tags", "tunnel", inventory=inventory)
        assert all(healed.changed()[each.name] > 0 for each in ready.lab.worker_hosts)
        wait_ready(ready.lab, worker)
    finally:
        sh(gateway, f"mv {KEY}.old {KEY}; mv {KEY}.old.pub {KEY}.pub; systemctl restart ssh")
        ready.up()
    wait_until(lambda: is_ready(ready.lab, worker), 30, "w1 as before")


def journal(worker: Host) -> str:
    """What the worker's tunnel has said lately."""
    return worker.exec(["journalctl", "-u", "b9-tunnel", "-o", "cat", "-n", "40"]).stdout
