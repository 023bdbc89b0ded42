"""The command `b9prov`: its groups, loaded when used, and the one place where errors end."""

from __future__ import annotations

import gc
import os
import signal
import sys
from importlib import import_module
from typing import Any, NoReturn

import click

from provisioner import __version__
from provisioner.cli.failures import GITHUB_VARIABLE, INTERRUPTED, report_failure, say

UNWRITTEN = 120  # exit code when not all could be printed, as Python's own
GRACE = 1.8  # seconds from Ctrl-C to the end, whatever is still being waited for

# Every command's name, the help that the list shows, and the module that has it under that name.
COMMANDS = {
    "init": "Write an inventory, by a few questions whose answers are tried.",
    "up": "Make hosts ready workers, from bare Debian on.",
    "down": "Undo `up`: leave nothing behind.",
    "upgrade": "Bring workers to the inventory's versions, host by host.",
    "status": "Show which hosts are ready, and why others are not.",
    "verify": "Prove that workers are ready; with --job, by a Job that runs.",
    "doctor": "Find out what is wrong with workers or gateway, and what mends it.",
    "explain": "What a code such as B9-SSH-KEY means, and what mends it.",
    "check": "Look at the hosts' GPUs, down to the last row of a truth table.",
    "dashboard": "Watch the workers, live, on a terminal.",
    "web": "Watch the workers, live, in a browser on this machine.",
    "gateway": "The gateway host: who has a place on it; cut off, renew keys.",
    "machine": "List, make and delete machine records at the gateway.",
    "pool": "List and show the gateway's pools; write the configuration of a new one.",
    "tunnel": "Open a local port to a worker's k3s, agent or Ollama.",
    "kubeconfig": "Write a kubeconfig for a worker's k3s.",
    "logs": "Show the journal of a worker's tunnel, agent, k3s or Ollama.",
    "infer": "Try a worker's inference, from start to stop, with its latencies.",
    "ssh": "Log in to a worker, as the inventory says.",
    "exec": "Run a command on many hosts, as root.",
    "cordon": "Let no new pods on a worker's node.",
    "drain": "End the pods on a worker's node, and let no new ones in.",
    "uncordon": "Let new pods on a worker's node again.",
    "nettest": "Measure the network between workers, gateway host and others.",
    "trust": "Show hosts' keys, and store them in your known_hosts.",
    "inventory": "Check or show an inventory.",
    "schema": "Print the JSON Schema of the inventory, or of JSON output.",
    "render": "Show the files that `up` would write to a host, without connecting.",
    "play": "Run a playbook of your own.",
    "box": "Rent machines as ready workers, see what they cost, end them.",
    "plan": "Save what `up` would change, to carry it out later.",
    "apply": "Carry out a plan, if all is still as it was planned.",
    "runs": "Show past runs and their logs.",
    "audit": "Show who did what to which worker.",
    "artifacts": "Pin, fetch, verify and serve the big files that `up` installs.",
    "completion": "Print what makes your shell complete commands, options and hosts.",
    "man": "Print the manual, for `man -l -`.",
    "lab": "Real Debian hosts on this machine, to try and to test against.",
    "demo": "See it all work, on a lab.",
}


class Program(click.Group):
    """Loads a command's module when the command is used: a quick `--version` needs none."""

    def list_commands(self, context: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        command: click.Command = getattr(import_module(f"provisioner.cli.{name}"), name)
        return command

    def resolve_command(
        self, context: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            advice = "there are " + ", ".join(COMMANDS)
            raise click.UsageError(f"no command is called {args[0]!r} ({advice})", context)
        return super().resolve_command(context, args)

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def main(self, *args: Any, **keywords: Any) -> NoReturn:
        """Run a command, which returns its exit code or None for 0, and exit."""
        try:
            code = super().main(*args, **{**keywords, "standalone_mode": False})
        except (Exception, KeyboardInterrupt) as error:
            code = report_failure(error)
        sys.exit(code or 0)


@click.group(cls=Program, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="b9prov")
def program() -> None:
    """Takes any Linux box you can SSH into and makes it a ready GPU worker of a Beta9 cluster."""


def main() -> NoReturn:
    """The console script."""
    # what is imported lives to the end: looking through it for garbage would cost a tenth of a run
    gc.set_threshold(100_000, 20, 20)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    _open_closed_streams()
    if os.environ.get(GITHUB_VARIABLE):
        from provisioner.cli.ci import mask_in_log

        mask_in_log()
    try:
        program.main(prog_name="b9prov")
    except SystemExit as end:
        _end_at_once(int(end.code or 0))


def _open_closed_streams() -> None:
    """Whoever started us with stdout or stderr closed wants to see nothing, not an error."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115


def _interrupt(number: int, frame: Any) -> None:
    """Ctrl-C or SIGTERM: time for the run to say what is half-done; the next one ends at once."""
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM):
        signal.signal(each, _give_up)
    signal.setitimer(signal.ITIMER_REAL, GRACE)
    raise KeyboardInterrupt


def _give_up(number: int, frame: Any) -> NoReturn:
    say("interrupted; what is half-done, the next run finishes")
    _end_at_once(INTERRUPTED)


def _end_at_once(code: int) -> NoReturn:
    """Leave without taking everything apart, which would cost a tenth of a run, and without
    waiting for threads that are still stuck in a connection."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, RuntimeError):
            code = code or UNWRITTEN
    os._exit(code)
