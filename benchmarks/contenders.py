"""The commands that are compared, and how one run of each is measured."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from floor import Floor, ssh_options

from provisioner.lab import Lab
from provisioner.lab.rootfs import LOGIN
from provisioner.paths import cache_dir

HERE = Path(__file__).parent
PEERS = ("ansible-core", "pyinfra")


@dataclass(frozen=True)
class Sample:
    """One run: wall seconds, and the resident MiB of the largest process on this machine."""

    seconds: float
    mib: float | None


@dataclass(frozen=True)
class Contender:
    """`run` does the whole work once; `close` lets go of connections that outlive it."""

    name: str
    run: Callable[[], Sample]
    close: Callable[[], None] = lambda: None


# Run by a small Python: a process started by a large one counts that one's memory as its own.
_MEASURE = """
import json, os, subprocess, sys, time
started = time.monotonic()
child = subprocess.Popen(sys.argv[2:], stdin=subprocess.DEVNULL, stderr=subprocess.STDOUT)
_, status, usage = os.wait4(child.pid, 0)
seconds = time.monotonic() - started
with open(sys.argv[1], "w") as file:
    json.dump([os.waitstatus_to_exitcode(status), seconds, usage.ru_maxrss / 1024], file)
"""


def command(argv: list[str], log: Path, environment: dict[str, str] | None = None) -> Sample:
    """Run a command; SystemExit with its last words when it fails."""
    figures = log.with_suffix(".json")
    with log.open("w") as output:
        subprocess.run(
            [sys.executable, "-I", "-S", "-c", _MEASURE, str(figures), *argv],
            stdout=output,
            env={**os.environ, **(environment or {})},
            check=True,
        )
    code, seconds, mib = json.loads(figures.read_text())
    if code:
        raise SystemExit(f"{argv[0]} exited {code}:\n{log.read_text()[-2000:]}")
    return Sample(seconds, mib)


def floor(built: Floor) -> Contender:
    """The prepared scripts."""

    def run() -> Sample:
        started = time.monotonic()
        built.run()
        return Sample(time.monotonic() - started, None)

    return Contender("prepared scripts", run, built.close)


def b9prov(folder: Path, *words: str) -> Contender:
    """One of our commands, as a user types it."""
    program = Path(sys.executable).with_name("b9prov")
    argv = [str(program), *words]
    return Contender(f"b9prov {words[0]}", lambda: command(argv, folder / "b9prov.log"))


def peers(lab: Lab, folder: Path) -> list[Contender]:
    """ansible-core and pyinfra, where they can be installed."""
    programs = _install_peers()
    return [_ansible(programs, lab, folder), _pyinfra(programs, lab, folder)] if programs else []


def peer_versions() -> dict[str, str]:
    """The installed versions of the peers."""
    pip = _venv() / "bin" / "pip"
    if not pip.exists():
        return {}
    listed = subprocess.run([pip, "list", "--format=json"], capture_output=True, text=True)
    return {p["name"]: p["version"] for p in json.loads(listed.stdout) if p["name"] in PEERS}


def _venv() -> Path:
    return cache_dir() / "bench" / "venv"


def _install_peers() -> Path | None:
    """The folder of the peers' programs, installed once; None where that fails."""
    programs = _venv() / "bin"
    if not all((programs / name).exists() for name in ("ansible-playbook", "pyinfra")):
        for argv in (
            [sys.executable, "-m", "venv", str(_venv())],
            [str(programs / "pip"), "install", "-q", *PEERS],
        ):
            if subprocess.run(argv).returncode:
                print("the peers can't be installed here; going on without", file=sys.stderr)
                return None
    return programs


def _ansible(programs: Path, lab: Lab, folder: Path) -> Contender:
    """In its fastest form: pipelining, connections that persist, one fork per host."""
    sockets = folder / "ansible"
    inventory, settings = folder / "ansible.ini", folder / "ansible.cfg"
    settings.touch()  # nobody's own settings
    common = f"ansible_user={LOGIN} ansible_python_interpreter=/usr/bin/python3"
    hosts = (f"{host.name} ansible_host={host.address} {common}\n" for host in lab.worker_hosts)
    inventory.write_text("".join(hosts))
    persist = ["-o", "ControlMaster=auto", "-o", "ControlPersist=60s"]
    environment = {
        "ANSIBLE_CONFIG": str(settings),
        "ANSIBLE_HOME": str(folder / "ansible_home"),
        "ANSIBLE_PIPELINING": "True",
        "ANSIBLE_FORKS": "50",
        "ANSIBLE_SSH_ARGS": " ".join([*ssh_options(lab, folder), *persist]),
        "ANSIBLE_SSH_CONTROL_PATH_DIR": str(sockets),
    }
    argv = [str(programs / "ansible-playbook"), "-i", str(inventory), str(HERE / "tasks24.yaml")]

    def close() -> None:
        for socket in sockets.glob("*"):
            end = ["ssh", "-o", f"ControlPath={socket}", "-O", "exit", "host"]
            subprocess.run(end, capture_output=True)

    return Contender(
        "ansible-core", lambda: command(argv, folder / "ansible.log", environment), close
    )


def _pyinfra(programs: Path, lab: Lab, folder: Path) -> Contender:
    inventory = folder / "pyinfra_inventory.py"
    ssh_options(lab, folder)
    data = {
        "ssh_user": LOGIN,
        "ssh_key": str(lab.identity_file),
        "ssh_known_hosts_file": str(folder / "known_hosts"),
        "ssh_strict_host_key_checking": "yes",
    }
    hosts = [(host.address, data) for host in lab.worker_hosts]
    inventory.write_text(f"hosts = {hosts!r}\n")
    argv = [str(programs / "pyinfra"), "-y", str(inventory), str(HERE / "tasks24_pyinfra.py")]
    return Contender("pyinfra", lambda: command(argv, folder / "pyinfra.log"))
