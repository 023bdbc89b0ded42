"""`b9prov completion`."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print what makes SHELL complete b9prov's commands, options, files, hosts and groups.

    For bash: `source <(b9prov completion bash)` in ~/.bashrc; for zsh the same in ~/.zshrc, behind
    compinit; for fish: `b9prov completion fish > ~/.config/fish/completions/b9prov.fish`.
    """
    from provisioner.cli.main import program

    completer = get_completion_class(shell)
    assert completer, "click knows these"
    click.echo(completer(program, {}, "b9prov", "_B9PROV_COMPLETE").source())
