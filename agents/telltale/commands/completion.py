"""``telltale completion``: the script that lets a shell complete our commands."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from telltale.errors import UsageError


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script of SHELL.

    \b
    bash:  eval "$(telltale completion bash)"      in ~/.bashrc
    zsh:   eval "$(telltale completion zsh)"       in ~/.zshrc
    fish:  telltale completion fish > ~/.config/fish/completions/telltale.fish
    """
    from telltale.cli import cli

    kind = get_completion_class(shell)
    if kind is None:
        raise UsageError(f"no completion for {shell}")
    click.echo(kind(cli, {}, "telltale", "_TELLTALE_COMPLETE").source())
