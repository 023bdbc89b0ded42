"""`b9prov man`."""

from __future__ import annotations

import re
from collections.abc import Iterator

import click

from provisioner import __version__
from provisioner.cli.described import Described, described

_CODE = re.compile(r"`([^`]+)`")

STATUS = (
    ("0", "All went well."),
    ("1", "A host failed, or what was asked for could not be had."),
    (
        "2",
        "The command line, inventory or playbook is wrong; nothing was touched. Also, with "
        "`plan --detailed-exitcode`: there are changes.",
    ),
    ("130", "It was interrupted; the next run finishes what is half-done."),
)
ENVIRONMENT = (
    ("B9_ADMIN_TOKEN", "The cluster admin's token, for `--host`; inventories name their own."),
    ("B9PROV_DEBUG", "If it is set, errors come with a traceback."),
    ("CI, NO_COLOR", "If one of them is set, output is plain."),
    ("GITHUB_ACTIONS", "If it is `true`, failures are told as annotations."),
    ("XDG_STATE_HOME, XDG_CACHE_HOME", "Where records of runs and files to be had again are kept."),
)
FILES = (
    ("inventory.yaml", "The inventory of commands that are given none."),
    ("~/.local/state/b9prov", "Records of runs, the audit log."),
    ("~/.cache/b9prov", "Artifacts, the lab's file system."),
)


@click.command()
def man() -> None:
    """Print the manual: `b9prov man | man -l -`."""
    from provisioner.cli.main import program

    click.echo("\n".join(manual(program)))


def manual(program: click.Command) -> Iterator[str]:
    """The lines of the page b9prov(1), in roff."""
    whole, *commands = described(program, "b9prov")
    yield f'.TH B9PROV 1 "" "b9prov {__version__}" "User Commands"'
    yield from (".SH NAME", rf"b9prov \- {_text(whole.paragraphs[0]).rstrip('.')}")
    yield from (".SH SYNOPSIS", rf"\fBb9prov\fR {_text(whole.usage.partition(' ')[2])}")
    yield from (".SH DESCRIPTION", *_paragraphs(whole), *_terms(whole.options))
    yield ".SH COMMANDS"
    for command in commands:
        yield from (f".SS {_text(command.usage)}", *_paragraphs(command))
        yield from _terms(command.options)
    for title, terms in (
        ("EXIT STATUS", STATUS),
        ("ENVIRONMENT", ENVIRONMENT),
        ("FILES", FILES),
    ):
        yield from (f".SH {title}", *_terms(terms))


def _paragraphs(command: Described) -> Iterator[str]:
    for number, paragraph in enumerate(command.paragraphs):
        yield from ([".PP"] if number else [])
        yield _text(paragraph)


def _terms(terms: list[tuple[str, str]] | tuple[tuple[str, str], ...]) -> Iterator[str]:
    for term, meaning in terms:
        yield from (".TP", rf"\fB{_text(term)}\fR", _text(meaning))


def _text(text: str) -> str:
    """A line that roff shows as it is, code in bold."""
    line = " ".join(text.split()).replace("\\", r"\e").replace("-", r"\-")
    line = _CODE.sub(r"\\fB\1\\fR", line)
    return rf"\&{line}" if line.startswith((".", "'")) else line
