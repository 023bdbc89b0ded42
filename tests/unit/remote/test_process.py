"""Programs are run with a deadline and their output is kept within bounds."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from provisioner.remote import process


def test_output_and_status() -> None:
    outcome = process.run(["sh", "-c", "echo out; echo err >&2; exit 3"])
    assert (outcome.rc, outcome.stdout, outcome.stderr) == (3, "out\n", "err\n")
    assert not outcome.timed_out


def test_a_string_is_for_the_shell() -> None:
    assert process.run("echo $((1 + 2))").stdout == "3\n"


def test_no_such_program() -> None:
    outcome = process.run(["/no/such/program"])
    assert outcome.rc == 127
    assert "No such file" in outcome.stderr


def test_deadline_kills_the_whole_group() -> None:
    started = time.monotonic()
    outcome = process.run("sleep 60 & echo $!; wait", timeout=0.3)
    assert outcome.timed_out
    assert time.monotonic() - started < 5
    assert _has_ended(int(outcome.stdout), by=time.monotonic() + 5)


def _has_ended(pid: int, by: float) -> bool:
    """Whether a process that was killed is gone, or a zombie that init has yet to reap."""
    while time.monotonic() < by:
        try:
            state = Path(f"/proc/{pid}/stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state.rpartition(")")[2].split()[0] == "Z":
            return True
        time.sleep(0.01)
    return False


def test_a_background_program_does_not_keep_us() -> None:
    started = time.monotonic()
    outcome = process.run("sleep 5 & echo done")
    assert outcome.stdout == "done\n"
    assert time.monotonic() - started < 2


def test_large_input_and_output_do_not_block_each_other() -> None:
    data = os.urandom(1000).hex().encode() * 1000
    assert process.run(["cat"], stdin=data).stdout == data.decode()


def test_much_output_keeps_both_ends() -> None:
    program = (
        "import sys; [sys.stdout.write('x' * 1023 + chr(10)) for _ in range(10240)]; print('end')"
    )
    outcome = process.run([sys.executable, "-c", program])
    assert len(outcome.stdout) < process.CAPTURE_LIMIT + 100
    assert "left out" in outcome.stdout
    assert outcome.stdout.endswith("end\n")


def test_unread_input_is_no_failure() -> None:
    assert process.run(["true"], stdin=b"x" * 1_000_000).rc == 0


def test_bytes_that_are_not_utf8() -> None:
    assert process.run(["printf", r"a\377b"]).stdout == "a\N{REPLACEMENT CHARACTER}b"


def test_locale() -> None:
    assert process.run("echo $LC_ALL", env={}).stdout == "C.UTF-8\n"


def test_killed_by_signal() -> None:
    assert process.run("kill -9 $$").rc == -9
