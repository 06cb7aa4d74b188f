"""`shuttle`: the command line of the fleet. Each command is a function of the module that `COMMANDS` names."""

from __future__ import annotations

import logging
import os
import re
import sys
from importlib import import_module

import click

import loominal
from loominal.model.errors import (
    BrokerUnavailable,
    Forbidden,
    HubUnavailable,
    InvalidArgument,
    LoominalError,
    NotFound,
    QuotaExceeded,
)
from loominal.model.names import meant
from loominal.shuttle.options import FleetGroup

COMMANDS = {
    "submit": ("submit", "Offer work to whoever can do it."),
    "agents": ("agents", "The agents of the project."),
    "work": ("work", "The work items of the project."),
    "watch": ("watch", "Follow items until they end."),
    "dlq": ("dlq", "Dead letters: look, retry, discard."),
    "stats": ("stats", "How much of everything there is."),
    "projects": ("projects", "The projects of the fabric."),
}  # command -> (module, its line in --help)
EXIT_CODES: tuple[tuple[type[LoominalError], int], ...] = (
    (InvalidArgument, 2),
    (NotFound, 3),
    (Forbidden, 4),
    (QuotaExceeded, 4),
    (BrokerUnavailable, 5),
    (HubUnavailable, 5),
    (LoominalError, 1),
)
IN_A_SHELL = {
    "list_work": "`shuttle work list`",
    "cancel_work": "`shuttle work cancel`",
    "discover_agents": "`shuttle agents list`",
}  # operation that a hint names -> the command for it
INTERRUPTED = 130


class Commands(FleetGroup):
    """The commands by name; listing them loads none."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's
        """Return the names in the order of `--help`."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command:
        """Return the command of that name. Raises: UsageError, naming what may be meant."""
        if cmd_name not in COMMANDS:
            raise click.UsageError(f"there is no command {cmd_name!r}; {meant(cmd_name, COMMANDS, 'commands')}", ctx)
        module = import_module(f"loominal.shuttle.commands.{COMMANDS[cmd_name][0]}")
        command: click.Command = getattr(module, cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's
        """Write the list of commands."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


@click.command(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    help='Submit work and look after the fleet.\n\nExample: shuttle submit "Fix the tests" --capability python --wait',
)
@click.version_option(loominal.__version__, prog_name="shuttle")
def cli() -> None:
    """Group the commands."""


def main() -> None:
    """Run `shuttle` and exit with the code that the outcome has."""
    logging.basicConfig(stream=sys.stderr, level=os.environ.get("LOG_LEVEL", "ERROR").upper())
    try:
        outcome = cli.main(standalone_mode=False, prog_name="shuttle")
        sys.exit(outcome if isinstance(outcome, int) else 0)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(INTERRUPTED)
    except LoominalError as error:
        click.echo(f"shuttle: {error.message}" + (f"\n  {_hint(error)}" if error.hint else ""), err=True)
        sys.exit(next(code for kind, code in EXIT_CODES if isinstance(error, kind)))
    except BrokenPipeError:
        os._exit(1)  # whoever read us is gone; there is nobody left to tell


def _hint(error: LoominalError) -> str:
    """Return what to do next, in commands: hints come from the hub, which speaks of operations."""
    return re.sub(r"\w+", lambda word: IN_A_SHELL.get(word[0], word[0]), error.hint)


if __name__ == "__main__":
    main()
