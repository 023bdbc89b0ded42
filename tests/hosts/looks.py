"""Looks at the lab's hosts and its gateway, past `b9prov`."""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
import urllib.request
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from driver import wait_until

from provisioner.lab import Host, Lab
from provisioner.lab.gateway_host import API_PORT

Json = dict[str, Any]
READY_SECONDS = 60.0
AGENT_CONFIG = "/etc/b9agent/config.yaml"
KEYS = "/etc/b9prov/authorized_keys"
_TTL = "/run/systemd/system/reference-gateway.service.d/ttl.conf"
MACHINES = "/var/lib/b9prov/machines.json"


def sh(host: Host, script: str) -> str:
    """What a script says on a host, where it must go well; without space around it."""
    done = host.exec(["sh", "-euc", script], timeout=120)
    assert done.returncode == 0, done.stderr
    return str(done.stdout).strip()


def ask(lab: Lab, path: str, method: str = "GET", body: Json | None = None) -> Json:
    """The reference gateway's answer to its administrator."""
    token = lab.admin_token_path.read_text().strip()
    url = f"http://{lab.gateway.address}:{API_PORT}{path}"
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, headers, method=method)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=5) as answer:
        result: Json = json.load(answer)
    return result


def machines(lab: Lab) -> dict[str, Json]:
    """The machines that the gateway lists, by their ids."""
    listed = ask(lab, f"/api/v1/gateway/machines?poolName={lab.pool}&limit=1000")
    return {machine["id"]: machine for machine in listed["machines"]}


def dial(lab: Lab, machine_id: str) -> Json:
    """How the gateway's last dial of a worker's k3s went, and the Job it made there."""
    found = ask(lab, "/reference/machines")["machines"]
    return next((each for each in found if each["machine_id"] == machine_id), {})


def create_machine(lab: Lab) -> Json:
    """A new machine as the gateway tells of it, its token with it."""
    made: Json = ask(lab, "/api/v1/gateway/machines", "POST", {"poolName": lab.pool})["machine"]
    return made


def delete_machine(lab: Lab, machine_id: str) -> None:
    """Delete a machine behind its agent's back."""
    ask(lab, f"/api/v1/gateway/machines/{machine_id}?poolName={lab.pool}", "DELETE")


def agent_config(worker: Host) -> Json:
    """The settings that a worker's agent was given."""
    config: Json = yaml.safe_load(worker.path(AGENT_CONFIG).read_text())
    return config


def machine_id(worker: Host) -> str:
    """The id that a worker registers under."""
    return str(agent_config(worker)["machine"]["id"])


def reverse_address(worker: Host) -> str:
    """The worker's address on the gateway host."""
    return str(agent_config(worker)["machine"]["hostname"])


def key_lines(lab: Lab) -> list[str]:
    """The workers' lines in the gateway host's file of keys."""
    lines = lab.gateway.path(KEYS).read_text().splitlines()
    return [line for line in lines if line.strip() and not line.startswith("#")]


def addresses(lab: Lab) -> list[str]:
    """The workers' addresses on the gateway host's loopback interface."""
    shown = lab.gateway.exec(["ip", "-4", "-o", "address", "show", "dev", "lo"]).stdout
    return [found for found in re.findall(r"inet ([0-9.]+)/", shown) if found != "127.0.0.1"]


def k3s_answers(lab: Lab, worker: Host) -> bool:
    """Whether the gateway host reaches a worker's k3s at the worker's address."""
    url = f"https://{reverse_address(worker)}:6443/version"
    argv = ["curl", "-sk", "-m", "3", "-o", "/dev/null", "-w", "%{http_code}", url]
    return lab.gateway.exec(argv).stdout not in ("", "000")


def is_ready(lab: Lab, worker: Host, since: int = 0) -> bool:
    """Whether the gateway lists a worker as ready, with a keepalive later than `since`, and
    reaches its k3s."""
    machine = machines(lab).get(machine_id(worker), {"status": "none"})
    alive = machine["status"] == "ready" and int(machine["lastKeepalive"]) > since
    return alive and k3s_answers(lab, worker)


def wait_ready(lab: Lab, worker: Host, since: int = 0, seconds: float = READY_SECONDS) -> None:
    """Wait for `is_ready`."""
    wait_until(lambda: is_ready(lab, worker, since), seconds, f"{worker.name} ready again")


def assert_one_of_each(lab: Lab, workers: Iterable[Host]) -> None:
    """Exactly one machine, one key and one address per worker, and none besides."""
    names = sorted(worker.name for worker in workers)
    wanted = {worker.name: worker for worker in lab.worker_hosts if worker.name in names}
    assert sorted(machines(lab)) == sorted(machine_id(worker) for worker in wanted.values())
    assert sorted(addresses(lab)) == sorted(reverse_address(each) for each in wanted.values())
    lines = key_lines(lab)
    assert len(lines) == len(names), lines
    for worker in wanted.values():
        public = worker.path("/etc/b9prov/tunnel/id_ed25519.pub").read_text().split()[1]
        assert [reverse_address(worker) in line for line in lines if public in line] == [True]


@contextmanager
def short_lives(lab: Lab, seconds: float) -> Iterator[float]:
    """Machines live for so long without a keepalive, not for 300 s; what a minute is then."""
    command = "$(systemctl show -P ExecStart reference-gateway | sed 's/.*argv\\[\\]=//; s/ ;.*//')"
    restart = "systemctl daemon-reload; systemctl restart reference-gateway"
    made = (
        f"mkdir -p {_TTL.rpartition('/')[0]}; "
        f'printf "[Service]\\nExecStart=\\nExecStart=%s --ttl {seconds}\\n" "{command}" >{_TTL}'
    )
    sh(lab.gateway, f"{made}; {restart}")
    try:
        lab.wait_gateway()
        yield seconds / 5
    finally:
        sh(lab.gateway, f"rm {_TTL}; {restart}")
        lab.wait_gateway()


# -- secrets


def secrets_of(lab: Lab, workers: Iterable[Host] | None = None) -> dict[str, str]:
    """All secrets of an `up`ed lab, by what they are; `workers` are those that are `up`."""
    found = {"admin token": lab.admin_token_path.read_text().strip()}
    found |= _key_lines_of(lab.identity_file, "login key")
    for worker in lab.worker_hosts if workers is None else workers:
        config = agent_config(worker)
        found[f"machine token of {worker.name}"] = config["machine"]["token"]
        found[f"k3s token of {worker.name}"] = config["k3s"]["token"]
        key = worker.path("/etc/b9prov/tunnel/id_ed25519")
        found |= _key_lines_of(key, f"tunnel key of {worker.name}")
    kept = json.loads(lab.gateway.path(MACHINES).read_text())["machines"]
    found |= {f"kept token of {name}": each["machine_token"] for name, each in kept.items()}
    assert all(len(secret) > 20 for secret in found.values())
    return found


def _key_lines_of(path: Path, what: str) -> dict[str, str]:
    """The lines of a private key that hold its private half; the first hold only the public."""
    lines = path.read_text().splitlines()[1:-1]
    private = [line for line in lines[2:] if len(line) > 20]
    assert private
    return {f"{what}, line {number}": line for number, line in enumerate(private)}


def leaks(text: str, secrets: dict[str, str]) -> set[str]:
    """Which of the secrets a text shows."""
    return {what for what, secret in secrets.items() if secret in text}


def world_readable(host: Host) -> Iterator[Path]:
    """Files that any user of a host can read, of those that are not as in a new host."""
    leader = host.leader()
    assert leader is not None
    tops = [host.directory / "upper"]
    tops += [Path(f"/proc/{leader.pid}/root/{name}") for name in ("run", "tmp", "dev/shm")]
    for top in tops:
        for directory, folders, names in os.walk(top):
            here = Path(directory)
            # what others can't enter, they can't read
            folders[:] = [
                each
                for each in folders
                if not (here / each).is_symlink() and (here / each).lstat().st_mode & 0o001
            ]
            for name in names:
                mode = (here / name).lstat().st_mode
                if stat.S_ISREG(mode) and mode & 0o004:
                    yield here / name


# -- what a host is made of

# Written by the system itself when somebody logs in, or as time goes by.
RESTLESS = re.compile(
    "|".join(
        (
            r"var/log(/|$)",  # journal, wtmp, lastlog, btmp
            r"var/lib/systemd(/|$)",  # random seed, clock, catalogs
            r"var/lib/private(/|$)",  # state of systemd's own dynamic users
            r"var/lib/dbus(/|$)",
            r"var/backups(/|$)",  # of dpkg, once a day
            r"var/cache(/|$)",
            r"var/tmp(/|$)",  # directories of services' private /tmp
            r"tmp(/|$)",
            r"run(/|$)",
            r"home/admin(/|$)",  # the login's own caches
            r"etc/\.pwd\.lock$",  # stays behind wherever a user was ever added
            r"etc/(passwd|group|shadow|gshadow|subuid|subgid)-$",  # the shadow tools' backups
            r"etc/\.updated$",
            r"var/lib/b9prov/[a-z.]+\.lock$",  # who held it last
            r"var/lib/reference-gateway(/|$)",  # what the gateway itself remembers
        )
    )
)


def footprint(*hosts: Host) -> dict[str, str]:
    """All that tells hosts from new ones: files and units."""
    found = {}
    for host in hosts:
        found |= {f"{host.name}:/{path}": about for path, about in tree(host).items()}
        found |= {f"{host.name} {unit}": "unit" for unit in units(host)}
    return found


def differences(before: dict[str, str], after: dict[str, str]) -> str:
    """What differs between two footprints, in lines."""
    return "\n".join(
        f"{what}: {before.get(what, 'none')} → {after.get(what, 'none')}"
        for what in sorted({*before, *after})
        if before.get(what) != after.get(what)
    )


def tree(host: Host) -> dict[str, str]:
    """All that a host has otherwise than the root it stands on: type, owner, mode and content."""
    top = host.directory / "upper"
    found = {}
    for directory, folders, names in os.walk(top):
        for name in [*folders, *names]:
            path = Path(directory) / name
            inside = str(path.relative_to(top))
            about = _described(path)
            if not RESTLESS.match(inside) and about != _described(host.rootfs / inside):
                found[inside] = about
    return found


def _described(path: Path) -> str:
    try:
        about = path.lstat()
    except FileNotFoundError:
        return "none"
    shown = f"{stat.filemode(about.st_mode)} {about.st_uid}:{about.st_gid}"
    if stat.S_ISLNK(about.st_mode):
        return f"{shown} -> {path.readlink()}"
    if stat.S_ISREG(about.st_mode):
        return f"{shown} {hashlib.sha256(path.read_bytes()).hexdigest()}"
    return shown


def units(host: Host) -> set[str]:
    """Unit files and services that run; those of logins under way are none of ours."""
    host.exec(["systemctl", "is-system-running", "--wait"])  # it may still be booting
    files = host.exec(["systemctl", "list-unit-files", "--plain", "--no-legend"]).stdout
    live = host.exec(["systemctl", "list-units", "--plain", "--no-legend", "--type=service"]).stdout
    lines = {" ".join(line.split()[:4]) for line in [*files.splitlines(), *live.splitlines()]}
    # the last waited once for the network, on behalf of what was started
    passing = r"user(-runtime-dir)?@|systemd-(tmpfiles|networkd-wait-online)"
    return {line for line in lines if not re.match(passing, line)}
