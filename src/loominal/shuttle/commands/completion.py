"""`shuttle completion`: what a shell sources so that Tab completes commands, flags and names of the live fabric."""

from __future__ import annotations

import click

from loominal.shuttle.options import FleetCommand

SHELLS = ("bash", "zsh", "fish")
VARIABLE = "_SHUTTLE_COMPLETE"  # click's: by it the script asks


@click.command(
    cls=FleetCommand,
    help="Print the script with which a shell completes commands, flags, handles, ids and names. In ~/.bashrc or"
    ' ~/.zshrc: eval "$(shuttle completion bash)", or zsh; for fish: shuttle completion fish >'
    " ~/.config/fish/completions/shuttle.fish\n\nExample: shuttle completion bash",
)
@click.argument("shell", type=click.Choice(SHELLS))
def completion(*, shell: str) -> None:
    """Print it."""
    from click.shell_completion import get_completion_class

    from loominal.shuttle.main import cli

    kind = get_completion_class(shell)
    assert kind is not None, "click knows these shells"
    click.echo(kind(cli, {}, "shuttle", VARIABLE).source())
