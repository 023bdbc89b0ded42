"""What the program says of itself, for its manual and the reference on the documentation's site."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import dataclass

import click


@dataclass(frozen=True)
class Described:
    """One command. `options` are pairs of how it is written and what it does."""

    name: str
    usage: str
    paragraphs: list[str]
    options: list[tuple[str, str]]


def described(program: click.Command, name: str) -> Iterator[Described]:
    """The program's commands and theirs, each before those in it."""
    yield from _described(program, _context(program, name))


def _described(command: click.Command, context: click.Context) -> Iterator[Described]:
    options = (each for each in command.get_params(context) if isinstance(each, click.Option))
    records = [option.get_help_record(context) for option in options]
    yield Described(
        context.command_path,
        " ".join([context.command_path, *command.collect_usage_pieces(context)]),
        _paragraphs(command.help or ""),
        [record for record in records if record],
    )
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            if inner := command.get_command(context, name):
                yield from _described(inner, _context(inner, name, context))


def _context(
    command: click.Command, name: str, parent: click.Context | None = None
) -> click.Context:
    return click.Context(command, parent, name, **command.context_settings)


def _paragraphs(text: str) -> list[str]:
    whole = inspect.cleandoc(text).split("\n\n")
    return [" ".join(paragraph.split()) for paragraph in whole if paragraph.strip()]
