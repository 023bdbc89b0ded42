"""preflight finds everything at once; apt locks are seen and named."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from provisioner.remote import aptlock, process, sockets
from provisioner.remote.module import ModuleFailed

HOLD = (
    "import fcntl, sys; f = open(sys.argv[1], 'w'); fcntl.lockf(f, fcntl.LOCK_EX); "
    "print('held', flush=True); sys.stdin.read()"
)


@pytest.fixture
def lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[subprocess.Popen[str]]:
    """A process that holds what stands for dpkg's lock."""
    path = tmp_path / "lock-frontend"
    monkeypatch.setattr(aptlock, "LOCKS", (str(tmp_path / "absent"), str(path)))
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout and holder.stdout.readline() == "held\n"
    yield holder
    holder.kill()
    holder.wait()
    holder.stdout.close()


def test_all_failures_come_at_once(apply: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(ModuleFailed) as caught:
            apply(
                "preflight",
                architectures=["riscv64"],
                os_families=["Plan9"],
                commands=["sh", "no-such-program"],
                min_disk_mib={"/var/lib/no/such": 10**9, "/": 1},
                min_memory_mib=10**9,
                ports=[{"port": port}],
                resolve=["no-such-host.invalid"],
                controller_time=time.time() - 1000,
            )
    failed = {check["name"]: check for check in caught.value.extra["checks"] if not check["ok"]}
    assert set(failed) == {
        "architecture",
        "system",
        "command no-such-program",
        "disk /var/lib/no/such",
        "memory",
        f"port {port}",
        "resolve no-such-host.invalid",
        "clock",
    }
    assert f"pid {os.getpid()}" in failed[f"port {port}"]["found"]
    assert all(check["fix"] in caught.value.extra["advice"] for check in failed.values())
    assert caught.value.msg.startswith("8 of 10 preflight checks failed")


def test_a_host_that_fits(apply: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        name = Path("/proc/self/comm").read_text().strip()
        result = apply(
            "preflight",
            architectures=["amd64", "arm64"],
            commands=["sh"],
            min_disk_mib={"/": 1},
            min_memory_mib=1,
            ports=[{"port": port, "processes": [name]}],
            reach=[f"127.0.0.1:{port}"],
            resolve=["localhost"],
            controller_time=time.time(),
        )
    assert not result["changed"] and all(check["ok"] for check in result["checks"])


def test_a_port_on_another_address_is_no_clash(apply: Any) -> None:
    with socket.create_server(("127.0.0.2", 0)) as listener:
        port = listener.getsockname()[1]
        assert apply("preflight", ports=[{"port": port, "address": "127.0.0.1"}])
        with pytest.raises(ModuleFailed):
            apply("preflight", ports=[{"port": port, "address": "0.0.0.0"}])


def test_warnings_do_not_fail(apply: Any) -> None:
    result = apply("preflight", min_memory_mib=10**9, warn_only=["memory"])
    assert len(result["warnings"]) == 1


def test_unreachable_hosts_are_asked_together(apply: Any) -> None:
    with socket.socket() as deaf, contextlib.ExitStack() as clients:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        for _ in range(4):  # with its queue full the kernel drops further attempts
            client = clients.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(deaf.getsockname())
        target = f"127.0.0.1:{deaf.getsockname()[1]}"
        started = time.monotonic()
        with pytest.raises(ModuleFailed, match="3 of 3 preflight checks failed") as caught:
            apply("preflight", reach=[target, target, "127.0.0.1:1"], timeout=0.5)
        assert time.monotonic() - started < 1.4
    assert "timed out" in caught.value.msg and "refused" in caught.value.msg


def test_the_lock_is_seen_and_its_holder_named(
    apply: Any, lock: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.which", lambda name, **_: f"/usr/bin/{name}")
    with pytest.raises(ModuleFailed, match=f"pid {lock.pid}"):
        apply("preflight", apt_lock_timeout=0.3)
    assert lock.stdin
    lock.stdin.close()
    assert aptlock.wait_until_free(5) is None


def test_apt_fails_for_a_lock_naming_the_holder(
    apply: Any, lock: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = []

    def run(argv: list[str], **_: Any) -> process.Outcome:
        ran.append(argv[0])
        return process.Outcome(1, "", "", 0.0)

    monkeypatch.setattr(process, "run", run)
    with pytest.raises(ModuleFailed, match=rf"apt is busy .*pid {lock.pid}") as caught:
        apply("apt", update_cache=True, lock_timeout=0)
    assert str(lock.pid) in caught.value.extra["holder"]
    assert "apt-get" not in ran


def test_sockets_and_their_owners() -> None:
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as listener:
        port = listener.getsockname()[1]
        found = [s for s in sockets.listeners() if s.port == port]
        assert [s.address for s in found] == ["::1"]
        assert sockets.owners([found[0].inode])[found[0].inode].pid == os.getpid()


def test_the_unit_of_a_process(tmp_path: Path) -> None:
    (tmp_path / "7").mkdir()
    (tmp_path / "7/comm").write_text("ssh\n")
    (tmp_path / "7/cgroup").write_text("0::/system.slice/b9-tunnel.service\n")
    assert str(sockets.owner(7, str(tmp_path))) == "ssh (pid 7, b9-tunnel.service)"
