"""The command itself: start, errors that nobody expected, signals, pipes."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from provisioner import __version__
from provisioner.cli import main as cli
from provisioner.errors import BadInput, Problem, Source
from provisioner.gateway.errors import GatewayError
from provisioner.lab import LabError
from provisioner.secrets import Secret
from provisioner.ssh.connect import Unreachable

HEAVY = ("fabric", "paramiko", "rich", "jinja2", "yaml", "requests")


def test_the_version_loads_nothing_heavy(b9prov) -> None:
    assert b9prov("--version").stdout == f"b9prov, version {__version__}\n"
    program = (
        "import os, sys\nfrom provisioner.cli.main import main\n"
        "os._exit = sys.exit\n"  # that what follows is reached
        "try: main()\nexcept SystemExit: pass\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    for option in ("--version", "--help"):
        argv = [sys.executable, "-c", program, option]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=30)
        assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("words", [[], ["lab"], ["machine"], ["inventory"]])
def test_a_group_alone_shows_its_help(b9prov, words) -> None:
    done = b9prov(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("Usage: b9prov") and "\nCommands:\n" in done.stderr


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_closed_streams_are_no_error(local: Path, closed: str) -> None:
    program = "from provisioner.cli.main import main; main()"
    script = f'exec "$0" -c "$1" inventory show {closed}'
    argv = ["sh", "-c", script, sys.executable, program]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stderr) == (0, "")


def test_every_command_is_there_and_has_help() -> None:
    for name, summary in cli.COMMANDS.items():
        result = CliRunner().invoke(cli.program, [name, "--help"])
        assert result.exit_code == 0
        assert result.output.startswith(f"Usage: program {name}")
        assert summary.endswith(".")


def failing(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> list[str]:
    """What is said, and `exit N`, when a command raises `error`."""

    @click.command()
    def broken() -> None:
        raise error

    monkeypatch.setattr(cli.Program, "get_command", lambda self, context, name: broken)
    result = CliRunner().invoke(cli.program, ["up"])
    assert result.stdout == ""
    return [*result.stderr.strip().splitlines(), f"exit {result.exit_code}"]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            BadInput([Problem("bad", Source("f.yaml", 3), "do so"), Problem("worse")]),
            ["error: f.yaml:3: bad (do so) [B9-INPUT]", "error: worse [B9-INPUT]", "exit 2"],
        ),
        (LabError("no root", "use sudo"), ["error: no root (use sudo)", "exit 1"]),
        (GatewayError("refused", "no", "ask"), ["error: no (ask)", "exit 1"]),
        (
            Unreachable("nothing answers at h:22", "boot it"),
            ["error: nothing answers at h:22 (boot it) [B9-SSH-DOWN]", "exit 1"],
        ),
        (
            PermissionError(13, "Permission denied", "/x"),
            ["error: /x: Permission denied (set B9PROV_DEBUG=1 for the traceback)", "exit 1"],
        ),
        (
            ZeroDivisionError("by\nzero"),
            [
                "error: ZeroDivisionError: by zero "
                "(set B9PROV_DEBUG=1 for the traceback; please report it)",
                "exit 1",
            ],
        ),
        (KeyboardInterrupt(), ["interrupted", "exit 130"]),
        (click.UsageError("so not"), ["error: so not (see program up --help)", "exit 2"]),
    ],
)
def test_what_an_error_says(monkeypatch, error, said) -> None:
    monkeypatch.delenv("B9PROV_DEBUG", raising=False)
    assert failing(monkeypatch, error) == said


def test_a_traceback_when_asked_for_has_no_secrets(monkeypatch) -> None:
    monkeypatch.setenv("B9PROV_DEBUG", "1")
    said = "\n".join(failing(monkeypatch, ValueError(Secret("hunter2hunter2").reveal())))
    assert "Traceback" in said
    assert "hunter2" not in said


def test_a_reader_that_leaves_is_no_error(local: Path, playbook) -> None:
    tasks = "".join(f"    - command: echo {number}\n" for number in range(300))
    argv = [sys.executable, "-c", "from provisioner.cli.main import main; main()"]
    pipe = subprocess.PIPE
    words = ["play", str(playbook(tasks)), "-v"]
    with subprocess.Popen([*argv, *words], stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stdout and process.stderr
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(30) == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_says_what_is_half_done(number, local: Path, playbook, folder) -> None:
    begun = folder / "begun"
    tasks = f"    - shell: touch {begun}; sleep 30\n    - command: echo later\n"
    argv = [sys.executable, "-c", "from provisioner.cli.main import main; main()"]
    pipe = subprocess.PIPE
    words = ["play", str(playbook(tasks))]
    with subprocess.Popen([*argv, *words], stdout=pipe, stderr=pipe, text=True) as process:
        deadline = time.monotonic() + 20
        while not begun.exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(number)
        started = time.monotonic()
        out, err = process.communicate(timeout=20)
        assert time.monotonic() - started < 2.5
        assert process.returncode == 130, err
        assert "half-done" in out + err
        assert "Traceback" not in err


def test_an_interrupt_does_not_wait_for_a_silent_host(folder: Path, playbook, listener) -> None:
    port = listener.getsockname()[1]
    argv = [sys.executable, "-c", "from provisioner.cli.main import main; main()"]
    pipe = subprocess.PIPE
    words = ["play", str(playbook("    - command: echo\n")), "--host", f"a@127.0.0.1:{port}"]
    listener.setblocking(True)
    listener.settimeout(20)
    with subprocess.Popen([*argv, *words], stdout=pipe, stderr=pipe, text=True) as process:
        connection, _ = listener.accept()
        with connection:
            process.send_signal(signal.SIGINT)
            started = time.monotonic()
            _, err = process.communicate(timeout=20)
            assert time.monotonic() - started < 2.5
        assert process.returncode == 130
        assert "Traceback" not in err
