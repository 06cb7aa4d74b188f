"""`shuttle`: the command line of the fleet. Each command is a function of the module that `COMMANDS` names."""

from __future__ import annotations

import gc
import io
import os
import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

import loominal
from loominal.shuttle.options import FleetGroup

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from loominal.shuttle.fleet import Fleet

COMMANDS = {
    "submit": ("submit", "Offer work to whoever can do it."),
    "agents": ("agents", "The agents of the project."),
    "work": ("work", "The work items of the project."),
    "watch": ("watch", "Follow items until they end."),
    "dlq": ("dlq", "Dead letters: look, retry, discard."),
    "tell": ("people", "Tell an agent something, and wait for the answer."),
    "inbox": ("people", "What agents have written to you."),
    "reply": ("people", "Answer a message of your inbox."),
    "channels": ("channels", "What is said to everyone."),
    "config": ("config", "What is set for Shuttle."),
    "completion": ("completion", "What makes Tab complete, for bash, zsh and fish."),
    "stats": ("stats", "How much of everything there is."),
    "top": ("top", "The fleet on a live screen."),
    "projects": ("projects", "The projects of the fabric."),
    "targets": ("targets", "Where agents can be started, and how."),
    "spin-up": ("spin_ups", "Start an agent now."),
    "spin-ups": ("spin_ups", "The agents that were started, and what came of it."),
    "policy": ("policy", "Who may take which work."),
}  # command -> (module, its line in --help)
INTERRUPTED = 130
STREAMS = (("stdin", "r", "surrogateescape"), ("stdout", "w", "replace"), ("stderr", "w", "backslashreplace"))
OBJECTS = 200_000  # made before garbage is looked for: what is loaded stays, and a command is over soon


class Commands(FleetGroup):
    """The commands by name; listing them loads none."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's
        """Return the names in the order of `--help`."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command of that name. Raises: UsageError, naming what may be meant."""
        if cmd_name not in COMMANDS:
            if ctx.resilient_parsing:  # the shell asks what may follow
                return None
            from loominal.model.names import meant

            raise click.UsageError(f"there is no command {cmd_name!r}; {meant(cmd_name, COMMANDS, 'commands')}", ctx)
        module = import_module(f"loominal.shuttle.commands.{COMMANDS[cmd_name][0]}")
        command: click.Command = getattr(module, cmd_name.replace("-", "_"))
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Return the commands, or options, that may be meant."""
        from click.shell_completion import CompletionItem

        lines = {name: line for name, (_, line) in COMMANDS.items() if name.startswith(incomplete)}
        options = click.Command.shell_complete(self, ctx, incomplete)
        return [CompletionItem(name, help=line) for name, line in lines.items()] + options

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


@cli.result_callback()
@click.pass_obj
def _outcome(fleet: Fleet, code: int | None) -> int:
    """Return the exit code: the command's own, else that of a project which could not be read."""
    return code or fleet.failed


def main() -> None:
    """Run `shuttle` and exit with the code that the outcome has."""
    gc.set_threshold(OBJECTS)
    _open_streams()
    try:
        outcome = cli.main(standalone_mode=False, prog_name="shuttle")
        sys.exit(outcome if isinstance(outcome, int) else 0)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        os._exit(1)  # whoever read us is gone; there is nobody left to tell
    except Exception as error:  # the last line; whoever succeeds does not load what tells ours from a fault of ours
        _end(error)
    finally:
        gc.freeze()  # what is left goes with the process, and is not searched for garbage first


def _open_streams() -> None:
    """Have all three standard streams: what is no text reaches whoever checks it, what cannot be written is a ?."""
    for name, mode, errors in STREAMS:
        stream = getattr(sys, name)
        if stream is None:  # it was closed
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115 - until the end
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=errors)


def _end(error: Exception) -> NoReturn:
    """Say what an error is and what to do next, and exit with its code. Raises: `error`, if it is a fault of ours."""
    from loominal.model.errors import LoominalError
    from loominal.shuttle.refusals import exit_code, say

    if isinstance(error, LoominalError):
        say(error)
        sys.exit(exit_code(error))
    if isinstance(error, OSError) and error.strerror:  # such as a disk that is full
        click.echo(f"shuttle: {error.strerror}" + (f": {error.filename}" if error.filename else ""), err=True)
        os._exit(1)  # what could not be written is not tried again
    raise error


if __name__ == "__main__":
    main()
