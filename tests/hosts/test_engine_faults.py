"""Hosts that break the engine's rules: one fails with reason and advice, the others finish."""

from __future__ import annotations

import os
import shlex
import tarfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from driver import Driver, Ran, Running, tail, wait_until
from looks import sh

from provisioner.lab import Host

LIMIT_SECONDS = 60.0
INTERRUPT_SECONDS = 2.0
PYTHON = "/usr/bin/python3"
GREET = "- {name: greet, command: echo hello, register: said}"


@pytest.fixture(scope="module")
def bare(driver: Driver) -> Driver:
    """New hosts; every test puts right what it makes wrong with w1."""
    driver.lab.reset_all()
    return driver


@pytest.fixture
def start(bare: Driver, tmp_path: Path) -> Callable[..., Running]:
    """Starts a play of these tasks on all workers."""

    def begin(tasks: str, *words: str, become: bool = True) -> Running:
        playbook = tmp_path / "play.yaml"
        lines = "\n".join(f"    {line}" for line in tasks.strip("\n").splitlines())
        playbook.write_text(
            f"- hosts: workers\n  become: {str(become).lower()}\n  tasks:\n{lines}\n"
        )
        return bare.start("play", "-i", str(bare.inventory()), *words, inventory=playbook)

    return begin


@pytest.fixture
def play(start: Callable[..., Running]) -> Callable[..., Ran]:
    """Runs a play of these tasks on all workers, to its end."""
    return lambda *words, **options: start(*words, **options).end(LIMIT_SECONDS)


def assert_w1_alone_failed(ran: Ran, reason: str, advice: str, end: str = "unreachable") -> None:
    assert ran.code == 1, tail(ran)
    assert "Traceback" not in ran.text
    assert {name: ran.end(name)["end"] for name in ran.summary} == {
        "w1": end,
        "w2": "well",
        "w3": "well",
    }
    found = ran.end("w1")
    assert reason in found["reason"], found
    assert advice in found["advice"] and found["advice"], found
    (finished,) = ran.of("run_finished")
    assert "--limit" in finished["retry"]


def assert_all_well(ran: Ran) -> None:
    assert ran.code == 0, tail(ran)
    assert {ran.end(name)["end"] for name in ran.summary} == {"well"}


@contextmanager
def standin(host: Host, path: str, script: str) -> Iterator[None]:
    """While a stand-in is in the place of one of a host's programs."""
    sh(host, f"mv {path} {path}.real")
    try:
        sh(host, f"printf %s {shlex.quote(script)} >{path}; chmod 755 {path}")
        yield
    finally:
        sh(host, f"rm -f {path}; mv {path}.real {path}")


@contextmanager
def settled(host: Host, file: str, text: str, mode: str = "644") -> Iterator[None]:
    """While a host has a further file."""
    sh(host, f"printf %s {shlex.quote(text)} >{file}; chmod {mode} {file}")
    try:
        yield
    finally:
        sh(host, f"rm -f {file}")


@contextmanager
def mounted(host: Host, *commands: str, undo: str) -> Iterator[None]:
    """While a host's file systems are mounted otherwise."""
    for command in commands:
        sh(host, command)
    try:
        yield
    finally:
        sh(host, undo)


def standin_python(prelude: str) -> str:
    """A `python3` that is ours but for what it does first, as `python3 -I -c PROGRAM`."""
    program = f"import sys, time\n{prelude}\nexec(sys.argv[1])"
    return f'#!/bin/sh\nexec {PYTHON}.real -I -c {shlex.quote(program)} "$3"\n'


# -- what answers is no runner of ours


def test_a_python_that_is_too_old(bare: Driver, play: Callable[..., Ran]) -> None:
    old = standin_python("sys.version_info = (3, 8, 10, 'final', 0)")
    with standin(bare.lab.host("w1"), PYTHON, old):
        ran = play(GREET)
    assert_w1_alone_failed(ran, "older than 3.9", "install a newer python3")


def test_sudo_that_wants_a_terminal(bare: Driver, play: Callable[..., Ran]) -> None:
    rule = "Defaults requiretty\n"
    with settled(bare.lab.host("w1"), "/etc/sudoers.d/00-terminal", rule, "440"):
        ran = play(GREET)
    assert_w1_alone_failed(ran, "requiretty", "Defaults:USER !requiretty")


def test_a_login_shell_that_refuses(bare: Driver, play: Callable[..., Ran]) -> None:
    sh(bare.lab.host("w1"), "usermod -s /usr/sbin/nologin admin")
    try:
        ran = play(GREET)
    finally:
        sh(bare.lab.host("w1"), "usermod -s /bin/bash admin")
    assert_w1_alone_failed(ran, "account is currently not available", "ssh")


def test_a_password_that_has_expired(bare: Driver, play: Callable[..., Ran]) -> None:
    sh(bare.lab.host("w1"), "echo admin:once | chpasswd; chage -d 0 admin")
    try:
        ran = play(GREET)
    finally:
        sh(bare.lab.host("w1"), "chage -d 20000 admin")
    assert_w1_alone_failed(ran, "expired", "chage")


@pytest.mark.parametrize(
    "answer",
    [
        "head -c 3000000 /dev/urandom",
        "printf 'B9PROV-RUNNER 1\\n'; head -c 3000000 /dev/urandom",
        "printf 'B9PROV-RUNNER 1\\n'; printf '\\377\\377\\377\\377J'",
        "printf 'B9PROV-RUNNER 1\\n'; printf '\\0\\0\\0\\002J{}'",
        "printf 'B9PROV-RUNNER 1\\n'; printf '\\0\\0\\0\\046J{\"t\":\"hello\"'",
        "echo >&2 'no such luck'; exit 3",
    ],
    ids=["noise", "noise as frames", "too long", "no message", "cut off", "words"],
)
def test_a_runner_that_is_none(bare: Driver, play: Callable[..., Ran], answer: str) -> None:
    with standin(bare.lab.host("w1"), PYTHON, f"#!/bin/sh\n{answer}\n"):
        ran = play(GREET)
    assert_w1_alone_failed(ran, "the runner could not be started: ", "ssh")


def test_banners_and_noise_of_login_shells(bare: Driver, play: Callable[..., Ran]) -> None:
    worker = bare.lab.host("w1")
    noise = (
        "echo Welcome; printf 'B9PROV-\\377\\000\\033[31m'; head -c 100000 /dev/urandom; date >&2"
    )
    banner = settled(worker, "/etc/ssh/sshd_config.d/banner.conf", "Banner /etc/passwd\n")
    with settled(worker, "/home/admin/.bashrc", noise), banner:
        sh(worker, "systemctl reload ssh")
        ran = play(GREET)
    sh(worker, "systemctl reload ssh")
    assert_all_well(ran)


# -- it dies, or says what is no text, or too much


def test_a_runner_that_is_killed_in_mid_task(
    bare: Driver, start: Callable[..., Running], play: Callable[..., Ran]
) -> None:
    worker = bare.lab.host("w1")
    tasks = (
        f"{GREET}\n- {{name: long, command: sleep 5}}\n- {{name: after, command: touch /opt/on}}"
    )
    run = start(tasks)
    run.wait_for("task_started", host="w1", task="long")
    sh(worker, "pkill -KILL -x python3")
    ran = run.end(LIMIT_SECONDS)
    assert_w1_alone_failed(ran, "the connection was lost", "run the same command again")
    assert ran.of("task_finished", host="w1", task="greet", status="changed")
    assert not worker.path("/opt/on").exists()
    # the lock went with it, although what it began still sleeps
    assert_all_well(play("- {name: after, command: touch /opt/on}", "--lock-wait", "0"))
    sh(worker, "rm /opt/on")


TOO_MUCH = """
- {name: lines, shell: "yes ab | head -c 100000000; echo the end", register: r}
- {name: zeros, shell: "head -c 100000000 /dev/zero; echo the end", register: r}
- {name: junk, shell: "head -c 100000000 /dev/urandom; echo; echo the end", register: r}
- {name: nothing, shell: "yes '' | head -c 100000000 | tee /dev/stderr; echo the end", register: r}
- {name: fails, shell: "yes out | head -c 100000000; yes err | head -c 100000000 >&2; exit 7",
   ignore_errors: true}
- {name: memory, shell: grep VmHWM /proc/$PPID/status}
- {name: wait, pause: {seconds: 3}}
"""
HOST_MIB, CONTROLLER_MIB = 256, 512  # 100 MB of any of these would be more, once in memory


def test_commands_that_say_100_megabytes(start: Callable[..., Running]) -> None:
    run = start(TOO_MUCH, "--limit", "w1")
    run.wait_for("task_finished", task="memory", seconds=120)
    status = Path(f"/proc/{run.process.pid}/status").read_text()
    ran = run.end()
    assert ran.code == 0, tail(ran)
    for name in ("lines", "zeros", "junk", "nothing"):
        (task,) = ran.of("task_finished", task=name)
        assert task["status"] == "changed", name
        assert task["result"]["stdout"].endswith("the end"), name
        assert "left out" in task["result"]["stdout"], name
        assert task["result"]["stdout_lines"][-1].endswith("the end"), name
    (failed,) = ran.of("task_finished", task="fails")
    assert (failed["status"], failed["result"]["rc"]) == ("ignored", 7)
    assert failed["result"]["stderr"].endswith("err")
    (memory,) = ran.of("task_finished", task="memory")
    assert int(memory["result"]["stdout"].split()[1]) < HOST_MIB * 1024
    peak = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    assert int(peak.split()[1]) < CONTROLLER_MIB * 1024


NO_TEXT = """
- {name: bytes, shell: "printf 'a\\\\377\\\\200\\\\000z'; printf '\\\\377' >&2", register: said}
- {name: made, shell: "touch /opt/odd-$(printf '\\\\377')"}
- {name: found, find: {paths: /opt, patterns: "odd-*"}, register: files}
- {name: gone, file: {path: "{{ item.path }}", state: absent}, loop: "{{ files.files }}"}
- {name: shown, debug: {msg: "{{ said.stdout }} {{ files.files[0].path }}"}}
- {name: kept, copy: {content: "{{ said.stdout }}", dest: /opt/kept}}
- {name: fails, shell: "printf 'bad \\\\377'; exit 1", failed_when: inventory_hostname == 'w1'}
"""


@pytest.mark.parametrize("output", ["json", "plain", "rich"])
def test_output_and_names_that_are_no_utf8(
    bare: Driver, play: Callable[..., Ran], tmp_path: Path, output: str
) -> None:
    ran = play(NO_TEXT, "-vv", "--output", output, "--junit", str(tmp_path / "junit.xml"))
    assert ran.code == 1, tail(ran)
    assert "Traceback" not in ran.text
    for worker in bare.lab.worker_hosts:
        assert worker.path("/opt/kept").read_text().startswith("a\N{REPLACEMENT CHARACTER}")
        assert not list(worker.path("/opt").glob("odd-*"))
    (tmp_path / "junit.xml").read_text(encoding="utf-8")


# -- clocks and file systems


def test_a_clock_in_the_past(bare: Driver, play: Callable[..., Ran]) -> None:
    early = standin_python("_now = time.time\ntime.time = lambda: _now() - 20 * 365 * 86400")
    with standin(bare.lab.host("w1"), PYTHON, early):
        assert_all_well(play(GREET))
        ran = bare.run("up", "--check", seconds=LIMIT_SECONDS)
    assert ran.code == 1, tail(ran)
    assert "clock" in ran.end("w1")["reason"]
    assert "timedatectl" in ran.end("w1")["reason"] + ran.end("w1")["advice"]
    assert ran.end("w2")["end"] == ran.end("w3")["end"] == "well"


SCRIPTED = """
- {name: script, script: hello.sh}
- {name: large, copy: {src: large, dest: /opt/large}}
- {name: small, template: {src: small.j2, dest: /opt/small}}
"""


def test_tmp_that_runs_no_programs(bare: Driver, play: Callable[..., Ran], tmp_path: Path) -> None:
    (tmp_path / "hello.sh").write_text("#!/bin/sh\necho hello\n")
    (tmp_path / "large").write_bytes(os.urandom(200_000))
    (tmp_path / "small.j2").write_text("{{ inventory_hostname }}\n")
    noexec = "mount -t tmpfs -o noexec,nosuid,nodev tmpfs"
    undo = "umount /tmp /var/tmp"
    worker = bare.lab.host("w1")
    with mounted(worker, f"{noexec} /tmp", f"{noexec} /var/tmp", undo=undo):
        assert_all_well(play(SCRIPTED))
        bare.up("--limit", "w1")
    bare.lab.reset(worker)


def test_a_root_that_is_read_only(bare: Driver, play: Callable[..., Ran]) -> None:
    worker = bare.lab.host("w1")
    tasks = "- {name: write, copy: {content: x, dest: /etc/x}}\n- {name: after, command: 'true'}"
    folders = ("/etc", "/home", "/opt", "/srv", "/var")
    read_only = [f"mount --bind {each} {each}; mount -o remount,bind,ro {each}" for each in folders]
    with mounted(worker, *read_only, undo=f"umount {' '.join(folders)}"):
        ran = play(tasks)
        up = bare.run("up", "--limit", "w1", seconds=LIMIT_SECONDS)
    assert_w1_alone_failed(ran, "Read-only file system", "remount", end="failed")
    assert not ran.of("task_started", host="w1", task="after")
    assert up.code == 1, tail(up)
    assert "/var/lib is mounted read-only" in up.end("w1")["advice"], up.end("w1")


FULL = """
- {name: inline, copy: {content: "{{ 'x' * 60000 }}", dest: /srv/kept}, ignore_errors: true}
- {name: blob, copy: {src: large, dest: /srv/kept}, ignore_errors: true}
- {name: new, copy: {src: large, dest: /srv/new}, ignore_errors: true}
- {name: template, template: {src: large.j2, dest: /srv/kept}, ignore_errors: true}
- {name: line, lineinfile: {path: /srv/kept, line: "{{ 'y' * 60000 }}"}, ignore_errors: true}
- {name: block, blockinfile: {path: /srv/kept, block: "{{ 'y' * 60000 }}"}, ignore_errors: true}
- {name: replace, replace: {path: /srv/kept, regexp: k, replace: "{{ 'y' * 60000 }}"},
   ignore_errors: true}
- {name: download, get_url: {url: "file:///opt/large", dest: /srv/new}, ignore_errors: true}
- {name: archive, unarchive: {src: large.tar, dest: /srv}, ignore_errors: true}
- {name: half an archive, file: {path: /srv/large, state: absent}}
- {name: last, copy: {src: large, dest: /srv/new}}
- {name: after, command: touch /srv/after}
"""


def test_a_disk_that_is_full(bare: Driver, play: Callable[..., Ran], tmp_path: Path) -> None:
    worker = bare.lab.host("w1")
    (tmp_path / "large").write_bytes(os.urandom(200_000))
    (tmp_path / "large.j2").write_text("x" * 200_000)
    with tarfile.open(tmp_path / "large.tar", "w") as archive:
        archive.add(tmp_path / "large", "large")
    for host in bare.lab.worker_hosts:
        host.path("/opt/large").write_bytes(os.urandom(200_000))
        host.path("/srv/kept").write_text("kept as it was\n")
    small = "mount -t tmpfs -o size=32k tmpfs /srv; echo kept as it was >/srv/kept"
    with mounted(worker, small, undo="umount /srv"):
        ran = play(FULL)
        left = sh(worker, "cd /srv; find . -type f -exec md5sum {} +; cat kept")
    assert_w1_alone_failed(ran, "No space left", "free space", end="failed")
    failed = [*ran.of("task_finished", host="w1", status="ignored")]
    failed += ran.of("task_finished", host="w1", status="failed")
    assert len(failed) == 10
    for task in failed:
        # tar speaks of bytes that it could not write
        assert "No space left" in task["result"]["msg"] or task["task"] == "archive", task
        assert "free space" in task["result"]["advice"], task
    assert left.endswith("kept as it was")
    assert len(left.splitlines()) == 2, left


# -- Ctrl-C

MANY = """
- {name: folder, file: {path: /srv/many, state: directory}}
- {name: slow, shell: "echo begun >/srv/many/slow; sleep 3; echo ended >>/srv/many/slow"}
- {name: large, copy: {src: large, dest: "/srv/many/large-{{ item }}"}, loop: "{{ range(50) | list }}"}
- {name: text, copy: {content: "{{ 'x' * 50000 }}", dest: "/srv/many/text-{{ item }}"},
   loop: "{{ range(200) | list }}"}
- {name: last, command: touch /srv/many/last}
"""  # noqa: E501


def is_idle(host: Host) -> bool:
    """Whether no runner is at work."""
    return "B9BOOT" not in host.exec(["ps", "-eo", "args"]).stdout


@pytest.mark.parametrize(("task", "count"), [("slow", 3), ("large", 7), ("text", 50)])
def test_ctrl_c_leaves_every_host_between_two_tasks(
    bare: Driver, start: Callable[..., Running], tmp_path: Path, task: str, count: int
) -> None:
    large = os.urandom(3_000_000)
    (tmp_path / "large").write_bytes(large)
    for worker in bare.lab.worker_hosts:
        sh(worker, "rm -rf /srv/many")
    run = start(MANY)
    run.wait_for("task_started", task=task, count=count)
    begun = time.monotonic()
    run.interrupt()
    ran = run.end(30)
    assert time.monotonic() - begun < INTERRUPT_SECONDS
    assert ran.code == 130, tail(ran)
    assert "Traceback" not in ran.text
    (finished,) = ran.of("run_finished")
    assert finished["unfinished"] == ["w1", "w2", "w3"]
    for worker in bare.lab.worker_hosts:
        wait_until(lambda worker=worker: is_idle(worker), 15, "what was at hand is finished")
        for file in worker.path("/srv/many").iterdir():
            whole = {"slow": b"begun\nended\n", "larg": large, "text": b"x" * 50_000}
            assert file.read_bytes() == whole[file.name[:4]], file
        assert "b9prov-" not in sh(worker, "ls -A /tmp")
    assert_all_well(start(MANY).end())
    for worker in bare.lab.worker_hosts:
        assert len(list(worker.path("/srv/many").iterdir())) == 252
