"""`loominal agent run`: reads the command line, connects, and lets the worker work until a signal or its end."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import uuid
from collections.abc import Callable
from pathlib import Path

import click

from loominal.model.errors import BrokerUnavailable, Forbidden, HubUnavailable, InvalidArgument, LoominalError, NotFound
from loominal.runner.clients import CLIENTS
from loominal.runner.settings import MOST_SLOTS, RunnerSettings, settings_from

EXIT_CODES: tuple[tuple[type[LoominalError], int], ...] = (
    (InvalidArgument, 2),
    (NotFound, 3),
    (Forbidden, 4),
    (BrokerUnavailable, 5),
    (HubUnavailable, 5),
    (LoominalError, 1),
)
INTERRUPTED = 130

log = logging.getLogger("loominal.runner")


@click.group(
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Run agents without a person.\n\nExample: loominal agent run --client claude-code --capability python",
)
def agent() -> None:
    """Group the commands."""


@agent.command(
    help="Claim work and have a headless client do it, one process for each item, in this directory.\n\n"
    "COMMAND is the client's program with options of yours; for exec it is any command: it reads the item as JSON and "
    'writes lines of JSON, {"progress": 40, "message": "…"} and at the end {"result": {…}, "summary": "…"}.\n\n'
    "Ctrl-C or SIGTERM lets it finish what it has begun, a second one ends that at once and hands it back.\n\n"
    "Example: loominal agent run --client exec --capability count -- python3 count.py",
)
@click.option("--client", type=click.Choice(sorted(CLIENTS)), required=True, help="Which client does the work.")
@click.option("--capability", "capabilities", multiple=True, help="What it can do; may be given several times.")
@click.option("--boundary", "boundaries", multiple=True, help="Where it works; may be given several times.")
@click.option("--max-items", type=click.IntRange(1), help="End after so many items.")
@click.option("--slots", type=click.IntRange(1, MOST_SLOTS), default=1, help="So many items at the same time.")
@click.option("--idle-exit", metavar="S", help="End after so long without work: seconds, or 10m.")
@click.option("--worktree", is_flag=True, help="A git worktree and branch for each item.")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def run(
    client: str,
    capabilities: tuple[str, ...],
    boundaries: tuple[str, ...],
    max_items: int | None,
    slots: int,
    idle_exit: str | None,
    command: tuple[str, ...],
    *,
    worktree: bool,
) -> int:
    """Work, and return the exit code."""
    settings = settings_from(
        client, command, os.environ, Path.cwd(), capabilities=capabilities, boundaries=boundaries,
        max_items=max_items, slots=slots, idle_exit=idle_exit, worktree=worktree,
    )  # fmt: skip
    logging.basicConfig(stream=sys.stderr, level=settings.log_level, format="%(asctime)s %(levelname)s %(message)s")
    return asyncio.run(_work(settings))


async def _work(settings: RunnerSettings) -> int:
    from loominal.runner.joining import joined, runs_folder  # loads the NATS client
    from loominal.runner.keeper import keeping
    from loominal.runner.worker import Worker
    from loominal.runner.worktree import require_repository

    if settings.worktree:
        await require_repository(settings.folder)
    name = uuid.uuid4().hex
    signals = Signals()
    async with joined(settings) as agent:
        log.info("%s works in %s of project %s", agent.handle, settings.folder, agent.project.title)
        with keeping(name) as keeper:
            worker = Worker(agent, settings, keeper, name, runs_folder(agent))
            signals.lead_to(worker.drain, worker.stop)
            try:
                await worker.work()
            except* LoominalError as errors:
                raise _first(errors) from errors
    return INTERRUPTED if signals.count > 1 else 0


class Signals:
    """How often this process was told to end; the first time it drains, the second time it stops."""

    def __init__(self) -> None:
        self.count = 0

    def lead_to(self, drain: Callable[[], None], stop: Callable[[], None]) -> None:
        """Call these at signals from now on; before, a signal ends the process, which has begun nothing."""

        def told() -> None:
            self.count += 1
            if self.count == 1:
                log.info("told to end: what was begun is finished; once more hands it back")
            (drain if self.count == 1 else stop)()

        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, told)


def _first(errors: BaseExceptionGroup[LoominalError]) -> LoominalError:
    inner = errors.exceptions[0]
    return _first(inner) if isinstance(inner, BaseExceptionGroup) else inner


def main() -> None:
    """Run `loominal agent` and exit with the code that the outcome has."""
    try:
        outcome = agent.main(standalone_mode=False, prog_name="loominal agent")
        sys.exit(outcome if isinstance(outcome, int) else 0)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(INTERRUPTED)
    except LoominalError as error:
        click.echo(f"loominal: {error.message}" + (f"\n  {error.hint}" if error.hint else ""), err=True)
        sys.exit(next(code for kind, code in EXIT_CODES if isinstance(error, kind)))
    except Exception as error:  # the last line of defence
        log.critical("a bug", exc_info=True)
        click.echo(f"loominal: a bug: {type(error).__name__}: {error}\n  please report it", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
