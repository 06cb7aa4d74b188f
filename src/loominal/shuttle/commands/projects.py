"""`shuttle projects`: which projects the fabric knows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from loominal.fabric.operations.stats import Projects
from loominal.shuttle.fleet import Fleet
from loominal.shuttle.options import FleetCommand
from loominal.shuttle.tables import Column

if TYPE_CHECKING:
    from loominal.fabric.client.agent import Agent

COLUMNS = (Column(""), Column("PROJECT", 1), Column("ID"))


@click.command(
    cls=FleetCommand,
    help="List the projects of the fabric; * is the one that commands here mean.\n\nExample: shuttle projects",
)
@click.pass_obj
def projects(fleet: Fleet) -> None:
    """List them."""
    fleet.all_projects = False  # every one is listed anyway

    async def ask(agent: Agent) -> tuple[str, Projects]:
        return agent.project.id, await agent.list_projects()

    here, found = fleet.run(ask)
    rows = [("*" if each.project_id == here else "", each.project, each.project_id) for each in found.projects]
    fleet.show(found, COLUMNS, rows, "no projects")
