"""The peers: each installed once in an environment of its own, and run in its fastest form."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from benchmarks.measure import Contender, command
from benchmarks.places import Places
from provisioner.lab.rootfs import LOGIN
from provisioner.paths import cache_dir

HERE = Path(__file__).parent
ANSIBLE, MITOGEN, PYINFRA = "ansible-core", "ansible + mitogen", "pyinfra"
# mitogen does not support ansible-core 2.19
ENVIRONMENTS = {
    "ansible": ["ansible-core>=2.19,<2.20"],
    "mitogen": ["ansible-core>=2.18,<2.19", "mitogen>=0.3,<0.4"],
    "pyinfra": ["pyinfra>=3,<4"],
}
_SHOWN = {"ansible-core", "mitogen", "pyinfra"}


def install() -> None:
    """Install what is missing. SystemExit when that can't be had."""
    for name, wanted in ENVIRONMENTS.items():
        done = _programs(name) / ".installed"
        if done.exists() and done.read_text().split() == wanted:
            continue
        for argv in (
            [sys.executable, "-m", "venv", "--clear", str(_environment(name))],
            [str(_programs(name) / "pip"), "install", "-q", *wanted],
        ):
            if subprocess.run(argv).returncode:
                raise SystemExit(f"{' '.join(wanted)} can't be installed: --no-peers goes without")
        done.write_text("\n".join(wanted))


def versions() -> dict[str, str]:
    """What is installed, as `{environment: "package version, …"}`."""
    found = {}
    for name in ENVIRONMENTS:
        pip = _programs(name) / "pip"
        if pip.exists():
            argv = [str(pip), "--disable-pip-version-check", "list", "--format=json"]
            listed = json.loads(subprocess.run(argv, capture_output=True, text=True).stdout)
            shown = (f"{p['name']} {p['version']}" for p in listed if p["name"] in _SHOWN)
            found[name] = ", ".join(shown)
    return found


def ansible(places: Places, playbook: Path) -> Contender:
    """ansible-core: pipelining, connections that persist, more forks than hosts."""
    return _ansible(ANSIBLE, "ansible", places, playbook, {})


def mitogen(places: Places, playbook: Path) -> Contender:
    """The last ansible-core that mitogen takes, with mitogen's strategy."""
    (plugins,) = _environment("mitogen").glob("lib/*/site-packages/ansible_mitogen/plugins")
    more = {
        "ANSIBLE_STRATEGY_PLUGINS": str(plugins / "strategy"),
        "ANSIBLE_STRATEGY": "mitogen_linear",
    }
    return _ansible(MITOGEN, "mitogen", places, playbook, more)


def pyinfra(places: Places, deploy: Path) -> Contender:
    """pyinfra, with hosts in parallel as it does anyway."""
    data = {
        "ssh_user": LOGIN,
        "ssh_key": str(places.identity),
        "ssh_known_hosts_file": str(places.known_hosts),
        "ssh_strict_host_key_checking": "yes",
    }
    hosts = [
        (place.host.name, {**data, "ssh_hostname": place.address, "ssh_port": place.port})
        for place in places.places
    ]
    inventory = places.folder / "pyinfra_inventory.py"
    inventory.write_text(f"hosts = {hosts!r}\n")
    argv = [str(_programs("pyinfra") / "pyinfra"), "-y", str(inventory), str(deploy)]
    return Contender(PYINFRA, lambda: command(argv, places.folder / "pyinfra.log"))


def _ansible(
    name: str, environment: str, places: Places, playbook: Path, more: dict[str, str]
) -> Contender:
    folder = places.folder / environment
    folder.mkdir(exist_ok=True)
    inventory, settings, sockets = folder / "hosts.ini", folder / "ansible.cfg", folder / "sockets"
    settings.touch()  # nobody's own settings
    common = f"ansible_user={LOGIN} ansible_python_interpreter=/usr/bin/python3"
    common += f" ansible_ssh_private_key_file={places.identity}"
    inventory.write_text(
        "".join(
            f"{place.host.name} ansible_host={place.address} ansible_port={place.port} {common}\n"
            for place in places.places
        )
    )
    persist = ["-o", "ControlMaster=auto", "-o", "ControlPersist=60s"]
    settings_of = {
        "ANSIBLE_CONFIG": str(settings),
        "ANSIBLE_HOME": str(folder / "home"),
        "ANSIBLE_PIPELINING": "True",
        "ANSIBLE_FORKS": "50",
        "ANSIBLE_SSH_ARGS": " ".join([*places.ssh_options, *persist]),
        "ANSIBLE_SSH_CONTROL_PATH_DIR": str(sockets),
        **more,
    }
    argv = [str(_programs(environment) / "ansible-playbook"), "-i", str(inventory), str(playbook)]

    def close() -> None:
        for socket in sockets.glob("*"):
            end = ["ssh", "-o", f"ControlPath={socket}", "-O", "exit", "host"]
            subprocess.run(end, capture_output=True)

    return Contender(name, lambda: command(argv, folder / "output.log", settings_of), close)


def _environment(name: str) -> Path:
    return cache_dir() / "bench" / name


def _programs(name: str) -> Path:
    return _environment(name) / "bin"
