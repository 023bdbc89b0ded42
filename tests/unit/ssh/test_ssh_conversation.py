"""The conversation between controller and runner, over the pipes of a real runner."""

from __future__ import annotations

import hashlib
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from provisioner.remote import frames
from provisioner.ssh import conversation as under_test
from provisioner.ssh.bootstrap import command
from provisioner.ssh.conversation import (
    Conversation,
    Dropped,
    Lost,
    Operation,
    Reply,
    Unsendable,
)
from provisioner.ssh.pipes import ProcessPipe

Converse = Callable[..., Conversation]
PATIENCE = 20.0  # seconds; only a failing test waits that long


def shell(script: str, **options: Any) -> Operation:
    return Operation("shell", {"cmd": script}, **options)


def result(future: Future[Reply]) -> dict[str, Any]:
    return future.result(PATIENCE).result


def test_a_failure_drops_what_was_sent_behind_it_in_its_sequence(
    converse: Converse, tmp_path: Path
) -> None:
    talk = converse()
    failed = talk.submit(shell("exit 1", sequence=1, group=1))
    same_loop = talk.submit(shell("echo loop", sequence=1, group=1))
    behind = talk.submit(shell(f"touch {tmp_path}/trace", sequence=1, group=2))
    other = talk.submit(shell("echo other", sequence=2, group=1))
    later = talk.submit(shell("echo later", sequence=1, group=3))
    assert result(failed)["failed"]
    assert result(same_loop)["stdout"] == "loop"
    for dropped in (behind, later):
        with pytest.raises(Dropped):
            dropped.result(PATIENCE)
    assert result(other)["stdout"] == "other"
    assert not (tmp_path / "trace").exists()


def test_keep_going_stops_nothing(converse: Converse) -> None:
    talk = converse()
    talk.submit(shell("exit 1", keep_going=True, group=1))
    assert result(talk.submit(shell("echo on", group=2)))["stdout"] == "on"


def test_operations_without_a_group_stop_each_other(converse: Converse) -> None:
    talk = converse()
    talk.submit(shell("exit 1"))
    with pytest.raises(Dropped):
        talk.submit(shell("echo on")).result(PATIENCE)


def test_more_operations_than_the_window(converse: Converse) -> None:
    talk = converse()
    futures = [
        talk.submit(Operation("ping", {}, sequence=1, group=number))
        for number in range(under_test.WINDOW * 2 + 5)
    ]
    assert all(result(future)["ping"] == "pong" for future in futures)


@pytest.mark.parametrize("size", [0, 1, 64 * 1024 + 1, 3 * frames.BLOB_PIECE + 7])
def test_content_that_the_host_asks_for(converse: Converse, tmp_path: Path, size: int) -> None:
    content = os.urandom(size)
    source = tmp_path / "source"
    source.write_bytes(content)
    sha256 = hashlib.sha256(content).hexdigest()
    talk = converse()
    for blob, name in ((content, "of bytes"), (source, "of file")):
        dest = tmp_path / name
        copied = talk.submit(
            Operation("copy", {"dest": str(dest), "sha256": sha256}, blobs={sha256: blob})
        )
        assert result(copied)["changed"]
        assert dest.read_bytes() == content


def test_a_file_that_changed_meanwhile_is_not_installed(converse: Converse, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"other content")
    sha256 = hashlib.sha256(b"content").hexdigest()
    talk = converse()
    for blob in (source, tmp_path / "gone"):
        failed = talk.submit(
            Operation(
                "copy",
                {"dest": str(tmp_path / "dest"), "sha256": sha256},
                blobs={sha256: blob},
                keep_going=True,
            )
        )
        assert "arrived damaged" in result(failed)["msg"]
    assert not (tmp_path / "dest").exists()
    source.write_bytes(b"content")
    again = Operation(
        "copy", {"dest": str(tmp_path / "dest"), "sha256": sha256}, blobs={sha256: source}
    )
    assert result(talk.submit(again))["changed"]


def test_a_big_file_is_sent_from_where_the_host_has_it(converse: Converse, tmp_path: Path) -> None:
    content = os.urandom(5 * frames.BLOB_PIECE + 7)
    (tmp_path / "source").write_bytes(content)
    (tmp_path / "dest.part").write_bytes(content[:1000])
    sha256, sources = hashlib.sha256(content).hexdigest(), ["controller"]
    arguments = {"sources": sources, "dest": str(tmp_path / "dest"), "push": "/p", "sha256": sha256}
    talk = converse()
    for blob in (tmp_path / "gone", tmp_path / "source"):
        operation = Operation("get_artifact", arguments, blobs={sha256: blob}, keep_going=True)
        answer = result(talk.submit(operation))
        if blob.name == "gone":
            assert "controller: has no file /p" in answer["msg"]
            (tmp_path / "dest.part").write_bytes(content[:1000])
    assert answer["loaded"] == len(content) - 1000
    assert (tmp_path / "dest").read_bytes() == content


def test_output_that_is_huge_or_no_text(converse: Converse) -> None:
    talk = converse()
    huge = talk.submit(shell("head -c 50000000 /dev/zero | tr '\\0' x; echo end"))
    odd = talk.submit(shell("printf 'a\\377\\000b\\r\\n\\033[1m'"))
    stdout = result(huge)["stdout"]
    assert len(stdout) < 5_000_000 and stdout.endswith("xend")
    assert "bytes left out" in stdout
    assert result(odd)["stdout"].startswith("a\N{REPLACEMENT CHARACTER}\0b")
    result(odd)["stdout"].encode()


@pytest.mark.parametrize(
    "noise",
    ["echo welcome", "head -c 200000 /dev/urandom", "printf B9PROV-RUNNER", "echo oops >&2"],
)
def test_a_login_shell_may_print_first(converse: Converse, noise: str) -> None:
    assert converse(before=noise).facts["ansible_python_version"]


def test_noise_on_standard_error_blocks_nothing(converse: Converse) -> None:
    talk = converse(before="(yes oops | head -c 3000000) >&2")
    assert result(talk.submit(shell("echo fine")))["stdout"] == "fine"


@pytest.mark.parametrize(
    ("before", "reason"),
    [
        ("echo 'sudo: a password is required' >&2; exit 1", "sudo wants a password"),
        ("echo 'bad: not in the sudoers file' >&2; exit 1", "the user may not use sudo"),
        ("command() { return 1; }", "python3 is not installed on the host"),
        ("echo one >&2; echo 'the last word' >&2; exit 3", "could not be started: the last word"),
        ("exit 0", "could not be started: no reason given"),
    ],
)
def test_why_a_runner_does_not_start(converse: Converse, before: str, reason: str) -> None:
    with pytest.raises(Lost) as caught:
        converse(before=before)
    assert reason in caught.value.reason
    assert caught.value.advice


def test_a_runner_that_does_not_start_in_time(
    converse: Converse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(under_test, "GREETING_LIMIT", 0.5)
    with pytest.raises(Lost, match="did not start in time"):
        converse(before="sleep 30")


def test_the_death_of_a_runner_ends_what_is_under_way(converse: Converse) -> None:
    talk = converse()
    done = talk.submit(shell("echo done"))
    deadly = talk.submit(shell("kill -9 $PPID; sleep 1"))
    behind = talk.submit(shell("echo behind"))
    assert result(done)["stdout"] == "done"
    for future in (deadly, behind, talk.submit(shell("echo too late"))):
        with pytest.raises(Lost, match="the connection was lost"):
            future.result(PATIENCE)


def test_words_of_a_task_on_standard_error_are_not_taken_for_sudo_s(converse: Converse) -> None:
    talk = converse(before="echo 'Sorry, try again' >&2")
    with pytest.raises(Lost, match="the connection was lost"):
        talk.submit(shell("kill -9 $PPID")).result(PATIENCE)


def test_a_silent_runner_counts_as_gone_even_while_a_write_blocks(
    converse: Converse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(under_test, "ALIVE_EVERY", 0.1)
    monkeypatch.setattr(under_test, "SILENCE_LIMIT", 0.5)
    talk = converse()
    pid = int(result(talk.submit(shell("echo $PPID")))["stdout"])
    os.kill(pid, signal.SIGSTOP)
    try:
        with pytest.raises(Lost, match="no sign of life"):
            talk.submit(shell("echo " + "x" * 4_000_000)).result(PATIENCE)
    finally:
        os.kill(pid, signal.SIGKILL)


class Garbling(ProcessPipe):
    """A pipe that brings garbage in place of what comes after `garble` was set."""

    garble = False

    def read(self, count: int) -> bytes:
        data = super().read(count)
        return b"?" * len(data) if self.garble else data


def test_garbage_on_the_wire_ends_the_conversation() -> None:
    pipe = Garbling(["/bin/sh", "-c", command(None, False)])
    talk = Conversation(pipe, 0.0)
    talk.begin(None)
    talk.greet(exclusive=False)
    pipe.garble = True
    with pytest.raises(Lost, match="the connection was lost"):
        talk.submit(shell("echo")).result(PATIENCE)


def test_what_can_t_be_sent_is_refused(converse: Converse) -> None:
    talk = converse()
    for arguments in ({"data": object()}, {"data": "x" * (frames.MAX_FRAME + 1)}):
        with pytest.raises(Unsendable, match="ping: the arguments can't be sent"):
            talk.submit(Operation("ping", arguments))
    assert result(talk.submit(Operation("ping", {})))["ping"] == "pong"


def test_an_answer_that_can_t_be_handled_ends_the_conversation(converse: Converse) -> None:
    talk = converse()

    def explode() -> None:
        raise RuntimeError("boom")

    with pytest.raises(Lost, match="boom"):
        talk.submit(Operation("ping", {}, on_start=explode)).result(PATIENCE)


def test_closing_wakes_everybody(converse: Converse) -> None:
    talk = converse()
    started = threading.Event()
    future = talk.submit(shell("sleep 3", on_start=started.set))
    assert started.wait(PATIENCE)
    talk.close()
    with pytest.raises(Lost, match="the run was ended"):
        future.result(PATIENCE)


def test_the_lock_of_a_host(
    converse: Converse, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(under_test, "LOCK_PATH", str(tmp_path / "b9prov" / "lock"))
    first = converse(exclusive=True)
    with pytest.raises(Lost) as caught:
        converse(exclusive=True, wait=0.0)
    assert f"process {os.getpid()}, since 2" in caught.value.reason
    assert "--lock-wait" in caught.value.advice
    waiting: list[str] = []
    second = Conversation(ProcessPipe(["/bin/sh", "-c", command(None, False)]), PATIENCE)

    def release(holder: str) -> None:
        waiting.append(holder)
        first.close()

    second.begin(None)
    second.greet(exclusive=True, on_wait=release)
    assert len(waiting) == 1 and str(os.getpid()) in waiting[0]
    second.close()


def test_the_lock_of_one_operation(
    converse: Converse, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(under_test, "LOCK_PATH", str(tmp_path / "lock"))
    one, other = converse(), converse(wait=0.0)
    started = threading.Event()
    holding = one.submit(shell("sleep 1; echo held", exclusive=True, on_start=started.set))
    assert started.wait(PATIENCE)
    script = f"grep -q process {tmp_path}/lock"
    free = other.submit(shell(f"until {script}; do sleep 0.05; done", keep_going=True))
    assert result(free)["rc"] == 0
    refused = result(other.submit(shell("echo mine", exclusive=True, keep_going=True)))
    assert refused["failed"] and "another run is at work here" in refused["msg"]
    assert result(holding)["stdout"] == "held"
    assert result(other.submit(shell("echo mine", exclusive=True)))["stdout"] == "mine"


def test_a_lock_that_can_t_be_taken_says_so(
    converse: Converse, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(under_test, "LOCK_PATH", str(tmp_path / "file" / "lock"))
    with pytest.raises(Lost, match="the lock of the host can't be taken: File exists"):
        converse(exclusive=True)
    talk = converse()
    refused = result(talk.submit(shell("echo", exclusive=True)))
    assert "the lock of the host can't be taken" in refused["msg"]
