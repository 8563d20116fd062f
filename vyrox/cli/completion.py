"""`vyrox completion`: what lets a shell complete commands and options (contract 88)."""

from typing import Final

import click
from click.shell_completion import get_completion_class

from vyrox.cli.choices import Choice

SHELLS: Final = ("bash", "zsh", "fish")


@click.command()
@click.argument("shell", type=Choice(SHELLS))
def completion(shell: str) -> None:
    r"""Print a script for SHELL: bash (4.4 or later), zsh or fish.

    \b
    bash: eval "$(vyrox completion bash)" in ~/.bashrc
    zsh:  eval "$(vyrox completion zsh)" in ~/.zshrc, after compinit
    fish: vyrox completion fish > ~/.config/fish/completions/vyrox.fish
    """
    kind = get_completion_class(shell)
    assert kind is not None  # noqa: S101  (click has all of SHELLS)
    root = click.get_current_context().find_root()
    click.echo(kind(root.command, {}, "vyrox", "_VYROX_COMPLETE").source())
