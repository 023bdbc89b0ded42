"""What a command that can't do its work says, and with which code it exits."""

from __future__ import annotations

import os
import sys
import traceback
from typing import Any

import click

from provisioner.errors import BadInput
from provisioner.secrets import mask

FAILED = 1
BAD_INPUT = 2
INTERRUPTED = 130
DEBUG_VARIABLE = "B9PROV_DEBUG"
INPUT_CODE = "B9-INPUT"
GITHUB_VARIABLE = "GITHUB_ACTIONS"


def report_failure(error: BaseException) -> int:
    """Say on stderr what is wrong, one line each thing; the exit code that goes with it."""
    if isinstance(error, (KeyboardInterrupt, click.Abort)):
        say("interrupted")
        return INTERRUPTED
    if isinstance(error, BrokenPipeError):
        _forget_stdout()
        return FAILED
    if os.environ.get(DEBUG_VARIABLE):
        say("".join(traceback.format_exception(error)).rstrip())
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        say(error.format_message())  # the help, which has its own layout
        return BAD_INPUT
    code, problems = _told(error)
    for problem in problems:
        say(f"error: {_one_line(problem)}")
    if os.environ.get(GITHUB_VARIABLE):
        from provisioner.cli.annotating import annotate

        annotate(error, problems)
    return code


def _told(error: BaseException) -> tuple[int, list[str]]:
    """The exit code of an error, and what it says to the user."""
    if isinstance(error, click.ClickException):
        return error.exit_code, [_usage_message(error)]
    if isinstance(error, BadInput):
        return BAD_INPUT, [f"{problem} [{INPUT_CODE}]" for problem in error.problems]
    from provisioner.codes import marked  # only a failing command pays for it

    return FAILED, [marked(_explanation(error))]


def say(text: str) -> None:
    """A line on stderr, secrets masked; what hosts may have had a part in moves no terminal."""
    if not text.replace("\n", "").isprintable():
        from provisioner.report.text import clean

        text = clean(text)
    if os.environ.get(GITHUB_VARIABLE):
        from provisioner.report.workflow import harmless

        text = "\n".join(map(harmless, text.splitlines()))
    click.echo(mask(text), err=True)


def _usage_message(error: click.ClickException) -> str:
    context = error.ctx if isinstance(error, click.UsageError) else None
    hint = f" (see {context.command_path} --help)" if context else ""
    return _one_line(error.format_message()) + hint


def _explanation(error: BaseException) -> str:
    """What an error that is not about the input says to the user."""
    if isinstance(error, _known()):
        text, advice = str(error), getattr(error, "advice", "")
        return f"{text} ({advice})" if advice and advice not in text else text
    if isinstance(error, OSError) and error.strerror:
        place = f"{error.filename}: " if error.filename else ""
        return f"{place}{error.strerror} (set {DEBUG_VARIABLE}=1 for the traceback)"
    what = f"{type(error).__name__}: {error}"
    return f"{what} (set {DEBUG_VARIABLE}=1 for the traceback; please report it)"


def _known() -> tuple[type[Any], ...]:
    """Errors with advice; imported here because only a failing command pays for it."""
    from provisioner.artifacts.folder import NotFetched
    from provisioner.artifacts.online import VendorFailed
    from provisioner.clouds.errors import CloudError
    from provisioner.gateway.errors import GatewayError
    from provisioner.lab.machine import LabError
    from provisioner.ssh.connect import Unreachable

    return (CloudError, GatewayError, LabError, NotFetched, Unreachable, VendorFailed)


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _forget_stdout() -> None:
    """Keep Python from complaining at exit that nobody reads its output any more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
