"""`shuttle top`: the fleet on a screen, as it is now."""

from __future__ import annotations

import logging
import math
import os

import click

from loominal.fabric.operations.stats import ProjectView
from loominal.shuttle.fleet import Fleet, finish
from loominal.shuttle.options import FleetCommand


def _number(_: click.Context, __: click.Parameter, seconds: float) -> float:
    if math.isnan(seconds):  # which is in every range
        raise click.BadParameter("it is no number")
    return seconds


@click.command(
    cls=FleetCommand,
    help="Agents, work with why it waits, spin-ups and dead letters on a live screen; ? there tells the keys.\n\n"
    "With --json one document of what it would show first. --all-projects keeps every project loaded as long as it "
    "looks.\n\nExample: shuttle top --interval 5",
)
@click.option(
    "--interval",
    type=click.FloatRange(0.2, 3600),
    callback=_number,
    default=1.0,
    show_default=True,
    metavar="SECONDS",
    help="Between two looks.",
)
@click.pass_obj
def top(fleet: Fleet, *, interval: float) -> int:
    """Show it."""
    if fleet.wants_json:
        _print(fleet)
        return 0
    return finish(_show(fleet, interval))


async def _show(fleet: Fleet, interval: float) -> int:
    from loominal.shuttle.top.loop import Top
    from loominal.shuttle.top.screen import Screen

    with Screen.open(colours=not (fleet.no_color or os.environ.get("NO_COLOR"))) as screen:
        async with fleet.connected() as agent:
            here = ProjectView(project_id=agent.project.id, project=agent.project.title)
            every = (await agent.list_projects()).projects if fleet.all_projects else (here,)
        logging.disable()  # what is logged would be written over the screen
        return await Top(fleet, screen, every, interval).run()


def _print(fleet: Fleet) -> None:
    from loominal.shuttle.top.snapshot import Snapshots, snapshot

    shots = tuple(page.answer for page in fleet.gather(snapshot))
    fleet.show_json(Snapshots(projects=shots, total=len(shots)))
