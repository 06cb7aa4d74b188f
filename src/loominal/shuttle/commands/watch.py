"""`shuttle watch`: follow items until they have ended."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from loominal.fabric.operations.work import WorkDetail
from loominal.model.work import Status
from loominal.shuttle import completing
from loominal.shuttle.durations import seconds
from loominal.shuttle.fleet import Fleet
from loominal.shuttle.options import FleetCommand
from loominal.shuttle.tables import Column, status
from loominal.shuttle.watching.displays import Bars, Events, counted, display_on
from loominal.shuttle.watching.watch import watch as follow
from loominal.shuttle.watching.watched import outcome

if TYPE_CHECKING:
    from loominal.fabric.client.agent import Agent

MOST_SHOWN = 50  # in the end; of more only those that are not done


@click.command(
    cls=FleetCommand,
    help="Follow items until they have ended; exit 1 unless all are done. Where it is piped, it prints a line for each"
    " change; with --json an event a line, as GET /api/events words it, the end of an item with all that is known of"
    " it.\n\nExample: shuttle watch w_1234 --timeout 2h",
)
@click.argument("item_ids", nargs=-1, required=True, metavar="ID...", shell_complete=completing.work_ids)
@click.option(
    "--timeout",
    callback=seconds,
    metavar="DURATION",
    help="Give up after so long (90s, 2h): exit 1, or 5 if the fabric does not answer.",
)
@click.pass_obj
def watch(fleet: Fleet, *, item_ids: tuple[str, ...], timeout: float | None) -> int:
    """Follow them."""

    async def ask(agent: Agent) -> list[WorkDetail]:
        display = Events(agent.project.id) if fleet.wants_json else display_on(sys.stdout, fleet)
        found = await follow(fleet, agent, item_ids, display, timeout_seconds=timeout)
        if isinstance(display, Bars):
            _conclude(fleet, found)
        return found

    return 0 if all(item.status is Status.DONE for item in fleet.run(ask)) else 1


def _conclude(fleet: Fleet, found: list[WorkDetail]) -> None:
    """Print what came of the items; of many only how many are done, and those that are not."""
    told = found if len(found) <= MOST_SHOWN else [item for item in found if item.status is not Status.DONE]
    if told is not found:
        click.echo(counted(found))
    if told:
        rows = [(item.id, item.status, outcome(item)) for item in told[:MOST_SHOWN]]
        fleet.show(told[0], (Column("ID"), status(), Column("OUTCOME", 1)), rows, "")
    if len(told) > MOST_SHOWN:
        fleet.say(f"and {len(told) - MOST_SHOWN} more that are not done")
