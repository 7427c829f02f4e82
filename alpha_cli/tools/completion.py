"""`alpha completion`: the script with which a shell completes commands, options and strategy names."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from alpha_cli.cli.app import cli


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Print the completion script of SHELL.

    \b
    Example:
        alpha completion bash > ~/.local/share/bash-completion/completions/alpha
    """
    completer = get_completion_class(shell)
    assert completer is not None
    click.echo(completer(cli, {}, "alpha", "_ALPHA_COMPLETE").source())
