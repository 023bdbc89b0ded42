"""The modules of packages, units, mounts, jobs and accounts, in plays on a real Debian host.

Each play is foreseen with --check, which must leave the host as it is, then run twice.
"""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from driver import Driver, Ran, tail

from provisioner.lab import Host, Lab

Tasks = list[dict[str, Any]]
Statuses = dict[str, tuple[str, str, str]]

ALWAYS = ("changed", "changed", "changed")
NEVER = ("ok", "ok", "ok")
ONCE = ("changed", "changed", "ok")
UNIT = "[Service]\nExecStart=/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target\n"


@pytest.fixture(scope="module")
def host(lab: Lab) -> Host:
    """A worker as new."""
    worker = lab.host("w2")
    lab.reset(worker)
    return worker


@pytest.fixture
def play(driver: Driver, host: Host, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """`play(tasks, {name: statuses}, "look")` → results of the first real run, by task.

    Every task is expected to change once, unless `statuses` says otherwise: foreseen, first and
    second run. What the shell command `look` says is not to change by foreseeing.
    """
    book = tmp_path / "book.yaml"

    def run(*words: str) -> Ran:
        inventory = ("-i", str(driver.inventory()), "--limit", host.name)
        ran = driver.run("play", *inventory, *words, inventory=book)
        assert ran.code == 0, tail(ran)
        return ran

    def call(tasks: Tasks, statuses: Statuses | None = None, look: str = "") -> dict[str, Any]:
        data = [{"hosts": "workers", "become": True, "tasks": tasks}]
        book.write_text(yaml.safe_dump(data, sort_keys=False))
        before = out(host, look)
        passes = [run("--check", "--diff")]
        assert out(host, look) == before
        passes += [run("--diff"), run("--diff")]
        found = {
            task["name"]: tuple(
                ran.of("task_finished", task=task["name"])[0]["status"] for ran in passes
            )
            for task in tasks
        }
        assert found == {name: (statuses or {}).get(name, ONCE) for name in found}
        events = passes[1].of("task_finished")
        return {event["task"]: event["result"] for event in events}

    return call


def out(host: Host, script: str) -> str:
    return host.exec(["sh", "-c", script]).stdout.strip()


def task(name: str, module: str, /, **arguments: Any) -> dict[str, Any]:
    return {"name": name, module: arguments}


# -- units


def test_service(play: Any, host: Host) -> None:
    for name in ("one.service", "many@.service"):
        host.path(f"/etc/systemd/system/{name}").write_text(UNIT)
    assert host.exec(["systemctl", "daemon-reload"]).returncode == 0
    on = {"state": "started", "enabled": True}
    look = "systemctl show --property=ActiveState,UnitFileState one many@a cron"
    results = play(
        [
            task("on", "service", name="one", **on, sleep=1),
            task("instance on", "systemd_service", name="many@a", **on),
            task("again", "service", name="one", **on),
            task("bounced", "service", name="one", state="restarted"),
            task("facts", "service_facts"),
            task("status alone", "service", name="one"),
        ],
        # in check mode nothing has been started by the task before
        {
            "again": ("changed", "ok", "ok"),
            "bounced": ALWAYS,
            "facts": NEVER,
            "status alone": NEVER,
        },
        look,
    )
    assert results["on"]["state"] == "started" and results["on"]["enabled"] is True
    services = results["facts"]["ansible_facts"]["services"]
    expected = {"name": "one.service", "state": "running", "status": "enabled", "source": "systemd"}
    assert services["one.service"] == expected
    assert services["many@a.service"]["state"] == "running"
    assert services["many@.service"]["status"] == "indirect"
    off = {"state": "stopped", "enabled": False}
    play(
        [task("off", "service", name="one", **off), task("a off", "service", name="many@a", **off)]
    )
    assert out(host, "systemctl is-active one many@a") == "inactive\ninactive"


# -- mounts


def test_mount(play: Any, host: Host) -> None:
    host.path("/srv/shared").mkdir(parents=True)
    small = {"src": "tmpfs", "fstype": "tmpfs", "opts": "size=1m"}
    bind = {"src": "/srv/shared", "fstype": "none", "opts": "bind"}
    look = "cat /etc/fstab /proc/mounts; ls /srv"
    play(
        [
            task("listed", "mount", path="/srv/later", state="present", **small),
            task("mounted", "mount", path="/srv/in/side", state="mounted", **small),
            task("bound", "mount", path="/srv/with space", state="mounted", **bind),
            task("unlisted", "mount", path="/srv/now", state="ephemeral", **small),
        ],
        {"unlisted": ALWAYS},
        look,
    )
    assert "tmpfs /srv/in/side tmpfs size=1m 0 0" in out(host, "cat /etc/fstab")
    assert "/srv/now" not in out(host, "cat /etc/fstab")
    points = out(host, "findmnt --noheadings --list --output TARGET,FSTYPE").splitlines()
    assert {tuple(p.rsplit(None, 1)) for p in points} >= {
        ("/srv/in/side", "tmpfs"),
        ("/srv/now", "tmpfs"),
        ("/srv/with space", "overlay"),
    }
    results = play(
        [
            task(
                "larger",
                "mount",
                path="/srv/in/side",
                state="mounted",
                **{**small, "opts": "size=2m"},
            ),
            task("anew", "mount", path="/srv/in/side", state="remounted", opts="noexec"),
        ],
        {"anew": ALWAYS},
        look,
    )
    assert results["larger"]["opts"] == "size=2m"
    assert "noexec" in out(host, "findmnt -no OPTIONS /srv/in/side")
    assert "size=2048k" in out(host, "findmnt -no OPTIONS /srv/in/side")
    play(
        [
            task("out", "mount", path="/srv/in/side", state="unmounted"),
            task("gone", "mount", path="/srv/with space", state="absent"),
            task("let go", "mount", path="/srv/now", state="unmounted"),
            task("no longer listed", "mount", path="/srv/later", state="absent_from_fstab"),
        ],
        look=look,
    )
    assert out(host, "ls /srv").split() == ["in", "now", "shared"]
    assert "/srv" in out(host, "cat /etc/fstab") and "/srv" not in out(host, "cat /proc/mounts")


def test_a_mount_that_fails_leaves_nothing(driver: Driver, host: Host, tmp_path: Path) -> None:
    before = out(host, "cat /etc/fstab")
    bad = {"src": "/dev/no-such-disk", "fstype": "ext4"}
    tasks = [task("bad", "mount", path="/srv/deep/er", state="mounted", **bad)]
    book = tmp_path / "book.yaml"
    book.write_text(yaml.safe_dump([{"hosts": "workers", "become": True, "tasks": tasks}]))
    inventory = ("-i", str(driver.inventory()), "--limit", host.name)
    ran = driver.run("play", *inventory, inventory=book)
    assert ran.code != 0 and "Error mounting /srv/deep/er" in ran.out
    assert out(host, "cat /etc/fstab") == before and not host.path("/srv/deep").exists()


# -- the host's name and its kernel


def test_hostname_and_sysctl(play: Any, host: Host) -> None:
    name, value = host.name, out(host, "cat /proc/sys/net/ipv4/ip_forward")
    other = str(1 - int(value))
    conf = "/etc/sysctl.d/90-test.conf"
    forward = {"name": "net.ipv4.ip_forward", "sysctl_file": conf}
    results = play(
        [
            task("name", "hostname", name="box.example.org"),
            task("parameter", "sysctl", value=other, **forward),
        ],
        look=f"hostnamectl; cat /proc/sys/net/ipv4/ip_forward {conf}",
    )
    assert results["name"]["ansible_facts"]["ansible_hostname"] == "box"
    assert results["name"]["diff"]["before"] == f"hostname = {name}\n"
    assert out(host, "cat /etc/hostname; hostname") == "box.example.org\nbox.example.org"
    assert out(host, "cat /proc/sys/net/ipv4/ip_forward") == other
    play(
        [
            task("parameter back", "sysctl", value=value, **forward),
            task("back", "hostname", name=name),
        ]
    )
    assert out(host, "cat /proc/sys/net/ipv4/ip_forward") == value
    play([task("no parameter", "sysctl", **forward, state="absent", reload=False)])
    assert out(host, f"cat {conf}") == ""


# -- accounts


def test_user(play: Any, host: Host) -> None:
    play([task("team", "group", name="team", gid_min=700, gid_max=799)])
    assert 700 <= int(out(host, "getent group team | cut -d: -f3")) < 800
    person = {
        "name": "person",
        "groups": ["team"],
        "expires": 1893456000,
        "password_expire_max": 90,
        "uid_min": 5000,
        "umask": "077",
        "generate_ssh_key": True,
        "ssh_key_type": "ed25519",
        "ssh_key_comment": "of person",
    }
    look = "cat /etc/passwd /etc/shadow /etc/group; ls -lR /home"
    results = play([task("person", "user", **person)], look=look)
    made = results["person"]
    assert made["uid"] == 5000 and made["home"] == "/home/person"
    assert made["ssh_key_file"] == "/home/person/.ssh/id_ed25519"
    assert made["ssh_public_key"].endswith(" of person") and "ED25519" in made["ssh_fingerprint"]
    assert out(host, "stat -c '%U %a' /home/person /home/person/.ssh/id_ed25519") == (
        "person 700\nperson 600"
    )
    assert out(host, "getent shadow person | cut -d: -f5,8") == "90:21915"
    play(
        [
            task("never expires", "user", name="person", expires=-1),
            task("in two groups", "user", name="person", groups="adm", append=True),
            task(
                "another key", "user", name="person", generate_ssh_key=True,
                ssh_key_file=".ssh/second", ssh_key_bits=2048, ssh_key_passphrase="not shown",
            ),
            task("alone", "user", name="person", groups=""),
        ],
        # the two tell the groups differently, so that each has something to do
        {"in two groups": ALWAYS, "alone": ALWAYS},
        look,
    )  # fmt: skip
    assert out(host, "getent shadow person | cut -d: -f8") == ""
    key = "/home/person/.ssh/second"
    opened = host.exec(["ssh-keygen", "-y", "-P", "not shown", "-f", key])
    assert opened.returncode == 0, opened.stderr
    assert host.exec(["ssh-keygen", "-y", "-P", "", "-f", key]).returncode != 0
    play([task("no person", "user", name="person", state="absent", remove=True, force=True)])
    assert "person" not in out(host, look)


# -- packages

CONTROL = "Package: {0}\nVersion: {1}\nArchitecture: all\nMaintainer: x <x@x>\n{2}Description: x\n"
REPOSITORY = "/srv/packages"


def build(host: Host, name: str, version: str, more: str = "") -> None:
    folder = host.path(f"{REPOSITORY}/build/{name}-{version}/DEBIAN")
    folder.mkdir(parents=True)
    (folder / "control").write_text(CONTROL.format(name, version, more))
    deb = f"{REPOSITORY}/{name}_{version}_all.deb"
    built = host.exec(
        ["dpkg-deb", "--build", str(Path("/") / folder.parent.relative_to(host.root)), deb]
    )
    assert built.returncode == 0, built.stderr
    data = host.path(deb).read_bytes()
    with host.path(f"{REPOSITORY}/Packages").open("a") as index:
        index.write(CONTROL.format(name, version, more))
        index.write(f"Filename: ./{Path(deb).name}\nSize: {len(data)}\n")
        index.write(f"SHA256: {hashlib.sha256(data).hexdigest()}\n\n")


@pytest.fixture(scope="module")
def repository(host: Host) -> Host:
    """The host with a package archive of its own, and no other in its sources."""
    for version in ("1.0", "1.1", "2.0"):
        build(host, "tool", version)
    build(host, "app", "1.0", "Depends: tool\nRecommends: extra\n")
    build(host, "extra", "1.0")
    host.path("/etc/apt/sources.list").unlink()
    return host


SHOWN = "dpkg-query -W -f '${Package} ${Version} ${db:Status-Status}\\n' tool app extra 2>&1"


def test_sources_and_packages(play: Any, repository: Host) -> None:
    line = f"deb [trusted=yes] file:{REPOSITORY} ./"
    look = f"{SHOWN}; ls -R /etc/apt /var/lib/apt/lists"
    results = play([task("source", "apt_repository", repo=line, filename="own")], look=look)
    assert results["source"]["sources_added"] == ["/etc/apt/sources.list.d/own.list"]
    play([task("version", "apt", name="tool=1.*")], look=look)
    assert "tool 1.1 installed" in out(repository, SHOWN)
    there = task("there", "apt", name="tool", update_cache=True)
    newest = task("newest", "package", name="tool", state="latest")
    play([there, newest], {"there": NEVER}, look)
    assert "tool 2.0 installed" in out(repository, SHOWN)
    older = {"name": "tool=1.0", "allow_downgrade": True}
    play([task("older", "apt", **older), task("all", "apt", upgrade="dist")], {
        # each undoes what the other did; nothing is to be upgraded before
        "older": ALWAYS, "all": ("ok", "changed", "changed"),
    }, look)  # fmt: skip
    app = {"name": "app", "install_recommends": False}
    results = play(
        [task("app", "apt", **app), task("facts", "package_facts")], {"facts": NEVER}, look
    )
    assert results["facts"]["ansible_facts"]["packages"]["app"] == [
        {"name": "app", "version": "1.0", "arch": "all", "category": "", "source": "apt"}
    ]
    assert "extra" not in results["facts"]["ansible_facts"]["packages"]
    play([task("no app", "apt", name="app", state="absent", purge=True)], look=look)
    assert "tool 2.0 installed" in out(repository, SHOWN), "it was installed by its name"
    assert repository.exec(["apt-mark", "auto", "tool"]).returncode == 0
    orphans = task("orphans", "apt", autoremove=True, purge=True)
    play([orphans, task("no source", "apt_repository", repo=line, state="absent")], look=look)
    assert "installed" not in out(repository, SHOWN)
    assert not repository.path("/etc/apt/sources.list.d/own.list").exists()


def test_deb822_source(play: Any, repository: Host) -> None:
    own = {"name": "own", "uris": f"file:{REPOSITORY}", "suites": "./", "trusted": True}
    play([task("source", "deb822_repository", **own)])
    # in check mode no lists are read, so that nothing would be known of the package
    assert repository.exec(["apt-get", "update"]).returncode == 0
    play([task("app", "apt", name="app")])
    assert "extra 1.0 installed" in out(repository, SHOWN)
    play([task("gone", "apt", name=["app", "extra", "t?ol"], state="absent")])
    play([task("no source", "deb822_repository", name="own", state="absent")])


# -- cron


@pytest.fixture(scope="module")
def with_cron(host: Host, tmp_path_factory: pytest.TempPathFactory) -> Host:
    """The host with Debian's own cron, installed by hand: it reaches no archive."""
    folder = tmp_path_factory.mktemp("cron")
    argv = ["apt-get", "download", "cron", "cron-daemon-common"]
    if subprocess.run(argv, cwd=folder, capture_output=True, timeout=120).returncode != 0:
        pytest.skip("needs Debian's archive")
    host.path("/srv/cron").mkdir()
    for deb in folder.glob("*.deb"):
        host.path(f"/srv/cron/{deb.name.replace('%3a', '_')}").write_bytes(deb.read_bytes())
    return host


def test_cron(play: Any, with_cron: Host) -> None:
    host = with_cron
    debs = ",".join(f"/srv/cron/{each.name}" for each in sorted(host.path("/srv/cron").iterdir()))
    play([task("cron", "apt", deb=debs), task("runs", "service", name="cron", enabled=True)], {
        # the package enables it, and in check mode it isn't there yet
        "runs": ("changed", "ok", "ok"),
    })  # fmt: skip
    look = "crontab -l; crontab -u daemon -l; ls /etc/cron.d"
    results = play(
        [
            task("job", "cron", name="tidy", job="/bin/true", minute="5", hour="*/2"),
            task("variable", "cron", name="MAILTO", value="ops@example.org", env=True),
            task("theirs", "cron", name="daily", job="id", user="daemon", special_time="daily"),
            task("file", "cron", name="f", job="id", user="root", cron_file="jobs", weekday="1-5"),
        ],
        look=look,
    )
    assert results["variable"]["jobs"] == ["tidy"] and results["variable"]["envs"] == ["MAILTO"]
    assert out(host, "crontab -l").splitlines() == [
        'MAILTO="ops@example.org"',
        "#Ansible: tidy",
        "5 */2 * * * /bin/true",
    ]
    assert out(host, "crontab -u daemon -l").splitlines()[-1] == "@daily id"
    assert out(host, "cat /etc/cron.d/jobs") == "#Ansible: f\n* * * * 1-5 root id"
    play(
        [
            task("off", "cron", name="tidy", job="/bin/true", disabled=True),
            task("none of theirs", "cron", name="daily", user="daemon", state="absent"),
            task("no file", "cron", name="f", cron_file="jobs", state="absent"),
        ],
        look=look,
    )
    assert out(host, "crontab -l").splitlines()[-1] == "#* * * * * /bin/true"
    assert not host.path("/etc/cron.d/jobs").exists()
