"""The task modules that need root and systemd, run as they are on a real Debian host."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from provisioner.lab import Host, Lab

Apply = Callable[..., dict[str, Any]]

PLACE = "/opt/modules-under-test"
RUN = """
import importlib, json, sys
sys.path.insert(0, sys.argv[1])
from provisioner.remote.arguments import normalise
from provisioner.remote.module import Context, ModuleFailed
asked = json.load(sys.stdin)
module = importlib.import_module("provisioner.remote.modules." + asked["module"])
try:
    context = Context(check=asked["check"], diff=True)
    result = module.run(normalise(asked["arguments"], module.ARGUMENTS), context)
except ModuleFailed as failure:
    result = {**failure.extra, "failed": True, "msg": failure.msg}
print(json.dumps(result))
"""
FACTS = """
import json, sys, time
sys.path.insert(0, sys.argv[1])
from provisioner.remote import facts
facts.gather()
begun = time.perf_counter()
found = facts.gather()
print(json.dumps({**found, "seconds": time.perf_counter() - begun}))
"""


@pytest.fixture(scope="module")
def host(lab: Lab) -> Host:
    """A worker as new, with the modules on it."""
    worker = lab.host("w3")
    lab.reset(worker)
    package = Path(__file__).parents[2] / "provisioner"
    there = worker.path(PLACE) / "provisioner"
    shutil.copytree(package / "remote", there / "remote")
    shutil.copy(package / "__init__.py", there)
    return worker


@pytest.fixture(scope="module")
def apply(host: Host) -> Apply:
    """`apply("user", name=…)` → the module's result on the host."""

    def call(module: str, /, check: bool = False, **arguments: Any) -> dict[str, Any]:
        asked = json.dumps({"module": module, "check": check, "arguments": arguments})
        done = host.exec(["python3", "-c", RUN, PLACE], asked)
        assert done.returncode == 0, done.stderr
        result: dict[str, Any] = json.loads(done.stdout)
        return result

    return call


def out(host: Host, *argv: str) -> str:
    return host.exec(argv).stdout.strip()


def test_facts_are_quick(host: Host) -> None:
    facts = json.loads(host.exec(["python3", "-c", FACTS, PLACE]).stdout)
    assert facts["ansible_service_mgr"] == "systemd"
    assert facts["ansible_os_family"] == "Debian" and facts["ansible_pkg_mgr"] == "apt"
    assert facts["ansible_virtualization_type"] == "systemd-nspawn"
    assert facts["ansible_hostname"] == host.name
    assert facts["ansible_default_ipv4"]["address"] == host.address
    assert facts["ansible_ssh_host_key_ed25519_public"] == host.host_key.split()[1]
    assert facts["seconds"] < 0.05


def test_group_and_user(apply: Apply, host: Host) -> None:
    group = {"name": "crew", "gid": 4321}
    user = {
        "name": "runner",
        "system": True,
        "home": "/var/lib/deep/runner",
        "shell": "/usr/sbin/nologin",
        "groups": ["crew"],
        "comment": "Runs things",
    }
    before = out(host, "cat", "/etc/passwd", "/etc/group")
    assert apply("group", **group, check=True)["changed"]
    assert apply("user", **user, check=True)["changed"]
    assert out(host, "cat", "/etc/passwd", "/etc/group") == before
    assert "Group crew does not exist" in apply("user", **user)["msg"]
    assert apply("group", **group)["gid"] == 4321
    assert not apply("group", **group)["changed"]
    made = apply("user", **user)
    assert made["changed"] and made["home"] == "/var/lib/deep/runner" and made["uid"] < 1000
    assert not apply("user", **user)["changed"]
    assert out(host, "id", "-nG", "runner") == "runner crew"
    assert out(host, "stat", "-c", "%U", "/var/lib/deep/runner") == "runner"
    assert apply("user", name="runner", shell="/bin/sh", groups="adm", append=True)["changed"]
    assert set(out(host, "id", "-nG", "runner").split()) == {"runner", "crew", "adm"}
    assert not apply("user", name="runner", groups="adm", append=True)["changed"]
    assert apply("user", name="runner", groups="crew")["changed"]
    assert set(out(host, "id", "-nG", "runner").split()) == {"runner", "crew"}
    assert apply("user", name="runner", state="absent", remove=True, check=True)["changed"]
    assert apply("user", name="runner", state="absent", remove=True)["changed"]
    assert not apply("user", name="runner", state="absent", remove=True)["changed"]
    assert not host.path("/var/lib/deep/runner").exists()
    assert apply("group", name="crew", state="absent")["changed"]
    assert not apply("group", name="crew", state="absent")["changed"]


def test_password_is_set_but_never_shown(apply: Apply, host: Host) -> None:
    secret = "$6$salt$" + "x" * 86
    made = apply("user", name="secretive", password=secret)
    assert made["changed"] and secret not in json.dumps(made)
    assert not apply("user", name="secretive", password=secret)["changed"]
    assert secret in out(host, "getent", "shadow", "secretive")
    assert apply("user", name="secretive", password_lock=True)["changed"]
    assert not apply("user", name="secretive", password_lock=True)["changed"]
    assert f":!{secret}:" in out(host, "getent", "shadow", "secretive")
    assert apply("user", name="secretive", password_lock=False)["changed"]
    assert not apply("user", name="secretive", password="new", update_password="on_create")[
        "changed"
    ]
    apply("user", name="locked", create_home=False)
    unlocked = apply("user", name="locked", create_home=False, password_lock=False)
    assert not unlocked["changed"], "an account without a password gets no empty one"
    for name in ("secretive", "locked"):
        apply("user", name=name, state="absent", remove=True)


def test_authorized_key(apply: Apply, host: Host) -> None:
    apply("user", name="guest")
    one = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA one@somewhere"
    two = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB two"
    options = 'restrict,permitlisten="10.0.0.1:6443",command="echo no \\"way\\""'
    path = host.path("/home/guest/.ssh/authorized_keys")
    assert apply("authorized_key", user="guest", key=one, check=True)["changed"]
    assert not path.exists()
    assert apply("authorized_key", user="guest", key=one, key_options=options)["changed"]
    assert not apply("authorized_key", user="guest", key=one, key_options=options)["changed"]
    assert path.read_text() == f"{options} {one}\n"
    assert out(host, "stat", "-c", "%U %a", "/home/guest/.ssh/authorized_keys") == "guest 600"
    assert out(host, "stat", "-c", "%U %a", "/home/guest/.ssh") == "guest 700"
    assert apply("authorized_key", user="guest", key=two)["changed"]
    assert not apply("authorized_key", user="guest", key=f"{two}\n{options} {one}")["changed"]
    assert apply("authorized_key", user="guest", key=two, exclusive=True)["changed"]
    assert path.read_text() == f"{two}\n"
    assert apply("authorized_key", user="guest", key=two, state="absent")["changed"]
    assert not apply("authorized_key", user="guest", key=two, state="absent")["changed"]
    assert "invalid key" in apply("authorized_key", user="guest", key="nonsense")["msg"]
    assert "lookup user" in apply("authorized_key", user="nobody-here", key=one)["msg"]


UNIT = """[Service]
ExecStart=/bin/sh -c '{script}'
ExecReload=/bin/true
{more}
[Install]
WantedBy=multi-user.target
"""


def write_unit(host: Host, name: str, script: str, more: str = "") -> None:
    host.path(f"/etc/systemd/system/{name}").write_text(UNIT.format(script=script, more=more))


def test_systemd(apply: Apply, host: Host) -> None:
    write_unit(host, "one.service", "exec sleep infinity")
    arguments = {"name": "one", "state": "started", "enabled": True}
    foreseen = apply("systemd", **arguments, daemon_reload=True, check=True)
    assert foreseen["changed"] and out(host, "systemctl", "is-active", "one") == "inactive"
    started = apply("systemd", **arguments, daemon_reload=True)
    assert started["changed"] and started["status"]["ActiveState"] == "active"
    assert out(host, "systemctl", "is-enabled", "one") == "enabled"
    assert not apply("systemd", **arguments, daemon_reload=True)["changed"]
    pid = started["status"]["MainPID"]
    assert apply("systemd", name="one.service", state="reloaded")["status"]["MainPID"] == pid
    assert apply("systemd", name="one.service", state="restarted")["status"]["MainPID"] != pid
    assert apply("systemd", name="one", state="stopped", enabled=False)["changed"]
    assert not apply("systemd", name="one", state="stopped", enabled=False)["changed"]
    host.path("/etc/systemd/system/one.service").unlink()


def test_masking(apply: Apply, host: Host) -> None:
    assert apply("systemd", name="never.service", masked=True)["changed"]
    assert not apply("systemd", name="never.service", masked=True)["changed"]
    assert apply("systemd", name="never.service", masked=False)["changed"]


def test_a_unit_that_fails_says_why(apply: Apply, host: Host) -> None:
    write_unit(host, "bad.service", "echo the port is taken; exit 3", "Type=oneshot")
    failed = apply("systemd", name="bad", state="started", daemon_reload=True)
    assert failed["failed"] and "Unable to start service bad" in failed["msg"]
    assert "the port is taken" in failed["msg"] and "the port is taken" in failed["journal"]
    assert "failed" in failed["systemctl_status"]


def test_a_unit_that_is_not_there(apply: Apply) -> None:
    failed = apply("systemd", name="nowhere", state="started")
    assert "Could not find the requested service nowhere" in failed["msg"]
    assert apply("systemd", name="nowhere", state="started", check=True)["changed"]


def test_owners(apply: Apply, host: Host) -> None:
    made = {"path": "/srv/d/e", "state": "directory", "owner": "daemon", "group": "mail"}
    assert apply("file", **made)["changed"]
    assert out(host, "stat", "-c", "%U:%G", "/srv/d") == "daemon:mail"
    assert not apply("file", **made)["changed"]
    copied = {"dest": "/srv/d/f", "content": "x", "owner": "daemon", "mode": "0600"}
    assert apply("copy", **copied)["owner"] == "daemon"
    # a change of content keeps owner and mode
    assert apply("copy", dest="/srv/d/f", content="y")["owner"] == "daemon"
    assert out(host, "stat", "-c", "%U %a", "/srv/d/f") == "daemon 600"
    assert not apply("copy", dest="/srv/d/f", content="y", owner="daemon", mode="0600")["changed"]


CONTROL = (
    "Package: nothing-much\nVersion: {}\nArchitecture: all\nMaintainer: x <x@x>\nDescription: x\n"
)


def deb(host: Host, version: str) -> str:
    folder = host.path(f"/srv/deb-{version}/DEBIAN")
    folder.mkdir(parents=True)
    (folder / "control").write_text(CONTROL.format(version))
    built = host.exec(["dpkg-deb", "--build", f"/srv/deb-{version}"])
    assert built.returncode == 0, built.stderr
    return f"/srv/deb-{version}.deb"


def test_apt(apply: Apply, host: Host) -> None:
    first, second = deb(host, "1.0"), deb(host, "2.0")
    assert apply("apt", deb=first, check=True)["changed"]
    installed = apply("apt", deb=first)
    assert installed["changed"], installed
    assert not apply("apt", deb=first)["changed"]
    assert not apply("apt", name="nothing-much=1.*")["changed"]
    assert apply("apt", deb=second)["changed"]
    assert apply("apt", name="nothing-much", state="absent")["changed"]
    assert not apply("apt", name="nothing-much", state="absent")["changed"]
    assert "no-such-package" in apply("apt", name="no-such-package")["msg"]


def test_apt_names_who_holds_the_lock(apply: Apply, host: Host) -> None:
    hold = (
        "import fcntl, time; f = open('/var/lib/dpkg/lock-frontend', 'w'); "
        "fcntl.lockf(f, fcntl.LOCK_EX); time.sleep(60)"
    )
    argv = ["systemd-run", "--unit=holder", "--property=Type=exec", "python3", "-c", hold]
    assert host.exec(argv).returncode == 0
    apply("wait_for", path="/proc/locks", timeout=5)
    try:
        failed = apply("apt", update_cache=True, lock_timeout=1)
        assert "apt is busy for more than 1 s" in failed["msg"]
        assert "holder.service" in failed["msg"] and "python3" in failed["msg"]
    finally:
        host.exec(["systemctl", "stop", "holder"])


def test_preflight_knows_whose_a_port_is(apply: Apply, host: Host) -> None:
    ours = apply("preflight", ports=[{"port": 22, "units": ["ssh.service"]}], systemd=True)
    assert not ours.get("failed"), ours
    foreign = apply("preflight", ports=[{"port": 22, "units": ["b9-tunnel.service"]}])
    assert "ssh" in foreign["checks"][0]["found"] and foreign["failed"]
