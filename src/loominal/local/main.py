"""`loominal`: the local life cycle of a fabric. Each command is a module of its own, loaded when it is asked for."""

from __future__ import annotations

import logging
import os
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
)
from loominal.model.names import meant

COMMANDS = {
    "up": "Start this user's fabric and keep it running.",
    "down": "Stop this user's fabric.",
    "status": "Show what runs, where, and what accepted means.",
    "doctor": "Check everything a fabric needs, with the fix for what fails.",
    "logs": "Show the fabric's logs.",
    "project": "Show which project this is and why, or name it.",
    "demo": "Watch three agents share real work, and check what came of it.",
    "connect": "Write Loominal into an agent client's configuration.",
    "grant": "List grants, or grant boundaries, projects and agent types.",
    "invite": "Print the line with which one more machine joins this fabric, or take it back.",
    "join": "Join another machine's fabric.",
    "machines": "List the machines of this fabric, or cut one off.",
}  # command -> its line in --help; each is the function of that name in the module of that name
PROGRAMS = {
    "warp": "Start the MCP server of an agent.",
    "weft": "Start the coordinator.",
    "shuttle": "Start the command line of the fleet.",
    "agent": "Run an agent without a person: `agent run` works items off.",
}
PACKAGES = {"agent": "runner"}  # of those that are called otherwise
EXIT_CODES: tuple[tuple[type[LoominalError], int], ...] = (
    (InvalidArgument, 2),
    (NotFound, 3),
    (Forbidden, 4),
    (BrokerUnavailable, 5),
    (HubUnavailable, 5),
    (LoominalError, 1),
)
INTERRUPTED = 130


class Commands(click.Group):
    """The commands by name; listing them loads none."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's
        """Return the names in the order of `--help`."""
        return [*COMMANDS, *PROGRAMS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command:
        """Return the command of that name. Raises: UsageError, naming what may be meant."""
        if cmd_name in PROGRAMS:
            return _program(cmd_name)
        if cmd_name not in COMMANDS:
            likely = meant(cmd_name, COMMANDS | PROGRAMS, "commands")
            raise click.UsageError(f"there is no command {cmd_name!r}; {likely}", ctx)
        command: click.Command = getattr(import_module(f"loominal.local.{cmd_name}"), cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's
        """Write the list of commands."""
        with formatter.section("Commands"):
            formatter.write_dl(list((COMMANDS | PROGRAMS).items()))


class Unread(click.Command):
    """A command whose arguments another program reads, "--" among them."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Keep all of them as they are."""
        ctx.args = args
        return args


@click.command(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Run a fabric on this machine.\n\nExample: loominal up --detach",
)
@click.version_option(loominal.__version__, prog_name="loominal")
def cli() -> None:
    """Group the commands."""


def main() -> None:
    """Run `loominal` and exit with the code that the outcome has."""
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("asyncio").setLevel(logging.ERROR)  # it warns of how a broker over TLS hangs up
    try:
        outcome = cli.main(standalone_mode=False, prog_name="loominal")
        sys.exit(outcome if isinstance(outcome, int) else 0)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(INTERRUPTED)
    except LoominalError as error:
        click.echo(f"loominal: {error.message}" + (f"\n  {error.hint}" if error.hint else ""), err=True)
        sys.exit(next(code for kind, code in EXIT_CODES if isinstance(error, kind)))
    except BrokenPipeError:
        os._exit(1)  # whoever read us is gone; there is nobody left to tell
    except Exception as error:  # the last line of defence
        logging.getLogger(__name__).debug("unexpected", exc_info=True)
        click.echo(f"loominal: a bug: {type(error).__name__}: {error}\n  please report it", err=True)
        sys.exit(1)


def _program(name: str) -> click.Command:
    """Return the command that becomes another of our programs."""

    @click.command(name, cls=Unread, help=PROGRAMS[name], add_help_option=False)
    @click.pass_context
    def run(ctx: click.Context) -> None:
        sys.stdout.flush()
        os.execv(sys.executable, [sys.executable, "-m", f"loominal.{PACKAGES.get(name, name)}.main", *ctx.args])

    return run


if __name__ == "__main__":
    main()
