"""What the 24 tasks have left on a host: all contenders have to leave the same."""

from __future__ import annotations

import json
from typing import Any

from provisioner.lab import Host

# Runs on the host as root. Times and inodes differ from run to run, what is here does not.
_LOOK = """
import glob, grp, hashlib, json, os, pwd, subprocess

def look(path):
    status = os.lstat(path)
    seen = [oct(status.st_mode), pwd.getpwuid(status.st_uid)[0], grp.getgrgid(status.st_gid)[0]]
    if os.path.isfile(path):
        seen.append(hashlib.sha256(open(path, "rb").read()).hexdigest())
    return seen

def unit(name):
    shown = "--property=ActiveState,SubState,UnitFileState,NeedDaemonReload,User"
    lines = subprocess.check_output(["systemctl", "show", shown, name], text=True).split()
    return sorted(lines)

places = ["/etc/hosts", "/etc/bench", "/usr/local/lib/bench", "/var/lib/bench"]
for pattern in ("/etc/bench/*", "/usr/local/lib/bench/*", "/var/lib/bench/*",
                "/etc/systemd/system/bench-*", "/etc/systemd/system/*.wants/bench-*"):
    places += sorted(glob.glob(pattern))
left = {path: look(path) for path in places}
for name in ("bench-a", "bench-b", "bench-c"):
    left[name] = unit(name)
user = pwd.getpwnam("bench")
left["user"] = [user.pw_uid < 1000, user.pw_dir, user.pw_shell, grp.getgrgid(user.pw_gid)[0]]
print(json.dumps(left))
"""


def left_on(host: Host) -> dict[str, Any]:
    """Mode, owner and SHA-256 of every touched file, the units, and the user."""
    done = host.exec(["python3", "-I", "-"], _LOOK)
    if done.returncode:
        raise SystemExit(f"{host.name} was not brought to the wanted state: {done.stderr[-500:]}")
    return dict(json.loads(done.stdout))


class Same:
    """Holds every contender's hosts against those of the first contender."""

    def __init__(self) -> None:
        self.wanted: dict[str, dict[str, Any]] = {}
        self.whose = ""

    def check(self, name: str, hosts: list[Host]) -> None:
        """Raise SystemExit when `name` has left something else."""
        for host in hosts:
            found = left_on(host)
            wanted = self.wanted.setdefault(host.name, found)
            self.whose = self.whose or name
            if differences := what_differs(wanted, found):
                raise SystemExit(
                    f"{name} has left {host.name} in another state than {self.whose}:\n"
                    + "\n".join(differences)
                )


def what_differs(wanted: dict[str, Any], found: dict[str, Any]) -> list[str]:
    """One line for each key whose values differ."""
    return [
        f"  {key}: {found.get(key)}, not {wanted.get(key)}"
        for key in sorted({*wanted, *found})
        if wanted.get(key) != found.get(key)
    ]
