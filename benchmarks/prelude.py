"""What a prepared script is made of: this file, then one call after the other.

Each function does one thing only where it is not done yet, so that the same script run again
changes nothing. Runs on the hosts: Python 3.9, standard library, and the host's own commands.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import platform
import pwd
import shutil
import socket
import subprocess
import time
from pathlib import Path

KNOWN = {}  # what only a run can tell, by name; stands for @NAME@ in files and requests
CHANGED = set()  # files written and units started by this run
PATIENCE = 90.0  # seconds for a thing to come about
POLL = 0.1


def fill(text):
    """The text with the values of KNOWN in their places."""
    for name, value in KNOWN.items():
        text = text.replace("@" + name + "@", value)
    return text


def run(argv, feed=None, check=True):
    """The output of a command."""
    done = subprocess.run(argv, input=feed, stdout=subprocess.PIPE, text=True)
    if check and done.returncode:
        raise SystemExit(f"{argv[0]} exited {done.returncode}: {done.stdout}")
    return done.stdout if done.returncode == 0 else ""


def until(ask, wanted):
    """The first answer of `ask` that `wanted` accepts."""
    give_up = time.monotonic() + PATIENCE
    while time.monotonic() < give_up:
        answer = ask()
        try:
            if wanted(answer):
                return answer
        except (ValueError, KeyError):
            pass
        time.sleep(POLL)
    raise SystemExit(f"given up after {PATIENCE:.0f} s")


def attributes(path, mode, owner, group):
    if mode:
        os.chmod(path, int(mode, 8))
    if owner or group:
        shutil.chown(path, owner, group)


def directory(path, mode=None, owner=None, group=None):
    os.makedirs(path, exist_ok=True)
    attributes(path, mode, owner, group)


def write(path, content, mode=None, owner=None, group=None, force=True, validate=None):
    """Put the file there, unless it has this content."""
    data = base64.b64decode(content) if isinstance(content, bytes) else fill(content).encode()
    file = Path(path)
    if not file.exists() or (force and file.read_bytes() != data):
        fresh = file.with_name("." + file.name + ".new")
        fresh.touch(0o600)
        fresh.write_bytes(data)
        if validate:
            run([word.replace("%s", str(fresh)) for word in validate.split()])
        if file.exists():
            shutil.copymode(file, fresh)
            os.chown(fresh, file.stat().st_uid, file.stat().st_gid)
        attributes(fresh, mode or (None if file.exists() else "0644"), owner, group)
        fresh.replace(file)
        CHANGED.add(path)
    else:
        attributes(path, mode, owner, group)


def line(path, text, first=False):
    """Have the line in the file."""
    lines = Path(path).read_text().splitlines()
    if text not in lines:
        write(path, "".join(each + "\n" for each in ([text, *lines] if first else [*lines, text])))


def user(name, *options):
    try:
        pwd.getpwnam(name)
    except KeyError:
        run(["useradd", *options, name])


def command(argv, creates=None):
    if not (creates and os.path.exists(creates)):
        run(argv)


def artifact(url, sha256, dest, mode=None, unpack=False):
    """Download with curl what is not there in this version."""
    stamp = Path(dest, ".prepared.sha256") if unpack else Path(dest)
    if stamp.exists():
        data = stamp.read_bytes()
        if (data.decode() if unpack else hashlib.sha256(data).hexdigest()) == sha256:
            return
    part = str(stamp) + ".part"
    run(["curl", "-fsS", "--retry", "3", "-o", part, url])
    if hashlib.sha256(Path(part).read_bytes()).hexdigest() != sha256:
        raise SystemExit(f"{url} has another hash")
    if unpack:
        run(["tar", "-xzf", part, "--no-same-owner", "-C", dest])
        os.unlink(part)
        stamp.write_text(sha256)
    else:
        attributes(part, mode, None, None)
        os.replace(part, dest)
    CHANGED.add(dest)


def unit(name, files=()):
    """Have the unit enabled, and running with its current files."""
    file = "/etc/systemd/system/" + name + ".service"
    stale = bool(CHANGED & {file, *files})
    asked = "--property=ActiveState,UnitFileState,NeedDaemonReload"
    shown = run(["systemctl", "show", name, asked])
    active = "ActiveState=active" in shown
    if "NeedDaemonReload=yes" in shown:
        run(["systemctl", "daemon-reload"])
    if "UnitFileState=enabled" not in shown:
        run(["systemctl", "enable", "--quiet", *([] if active else ["--now"]), name])
    elif not active:
        run(["systemctl", "start", name])
    if active and stale:
        run(["systemctl", "restart", name])


def reload(name):
    """Have the service read its files again, if this run wrote any."""
    if CHANGED:
        run(["systemctl", "reload", name])


def curl(url, *options, headers=(), body=None):
    """What comes back. Headers and body, which may be secret, stay out of the arguments."""
    lines = ["header = " + json.dumps(fill(each)) for each in headers]
    if body is not None:
        lines.append("data = " + json.dumps(fill(body)))
    return run(["curl", "-sSk", "-m", "15", "-K", "-", *options, url], "\n".join(lines), False)


def status(url, headers=(), method="GET", body=None):
    """The status of the answer, as text."""
    options = ["-X", method, "-o", "/dev/null", "-w", "%{http_code}"]
    return curl(url, *options, headers=headers, body=body)


def answers(url, wanted="200", headers=(), method="GET", body=None):
    """Wait until the URL answers with the status `wanted`."""
    until(lambda: status(url, headers, method, body), lambda code: code == wanted)


def k3s_token(name, argv):
    """Wait for the token of the gateway's account in k3s, to be known by that name."""
    secret = until(lambda: run(argv, check=False), lambda text: json.loads(text)["data"]["token"])
    KNOWN[name] = base64.b64decode(json.loads(secret)["data"]["token"]).decode()


def agent_ready(argv):
    until(lambda: run(argv, check=False), lambda text: json.loads(text)["state"] == "ready")


def machine_ready(machine_id, url, headers):
    """Wait until the gateway lists the machine as ready."""
    wanted = fill(machine_id)

    def ready(text):
        machines = json.loads(text)["machines"]
        return any(each["id"] == wanted and each["status"] == "ready" for each in machines)

    until(lambda: curl(url, headers=headers), ready)


def machine(worker, api, pool, admin_token):
    """A machine of the worker at the gateway, made once; the worker is told its id and token."""
    path = Path("/var/lib/b9prov/machines.json")
    machines = json.loads(path.read_text()) if path.exists() else {}
    known = machines.get(worker)
    bearer = "Authorization: Bearer "
    listing = f"{api}/api/v1/machine/list"
    if not known or status(listing, [bearer + known["machine_token"]]) != "200":
        made = curl(
            f"{api}/api/v1/gateway/machines",
            headers=[bearer + admin_token, "Content-Type: application/json"],
            body=json.dumps({"poolName": pool}),
        )
        made = json.loads(made)["machine"]
        known = {"machine_id": made["id"], "machine_token": made["registrationToken"]}
        machines[worker] = known
        write(str(path), json.dumps(machines), "0600")
    for name, value in known.items():
        KNOWN[f"{worker}_{name}"] = value


def slot(address):
    """The worker's address on the loopback interface."""
    if address + "/32" not in run(["ip", "-4", "address", "show", "dev", "lo"]):
        run(["ip", "address", "add", address + "/32", "dev", "lo"])


def preflight(commands, disk, memory, ports, reach):
    """What a worker needs, `disk` and `memory` in MiB; `ports` are free, or these units' own."""
    release = Path("/etc/os-release").read_text()
    fits = {
        "distribution": "ID=debian" in release or "ID=ubuntu" in release,
        "architecture": platform.machine() in ("x86_64", "aarch64"),
        "systemd": os.path.isdir("/run/systemd/system"),
        "disk": shutil.disk_usage("/").free >= disk << 20,
        "memory": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >= memory << 20,
        **{name: bool(shutil.which(name)) for name in commands},
    }
    listening = run(["ss", "-Hltn", "--cgroup"]).splitlines()
    for port, units in ports:
        held = [each for each in listening if f":{port} " in each]
        fits[f"port {port}"] = all(any(unit in each for unit in units) for each in held)
    for place in reach:
        host, _, port = place.rpartition(":")
        socket.create_connection((host, int(port)), timeout=5).close()
    if wrong := [name for name, fit in fits.items() if not fit]:
        raise SystemExit("not fit: " + ", ".join(wrong))
