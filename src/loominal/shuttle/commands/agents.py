"""`shuttle agents`: who is there."""

from __future__ import annotations

import click

from loominal.fabric.client.agent import Agent
from loominal.fabric.operations.registry import Discovered
from loominal.shuttle.fleet import Fleet
from loominal.shuttle.options import FleetGroup
from loominal.shuttle.tables import Column, status

COLUMNS = (
    Column("HANDLE", 1), Column("TYPE", 1), status(), Column("CAPABILITIES", 3), Column("BOUNDARIES", 2),
    Column("WORK", 1),
)  # fmt: skip


@click.group(cls=FleetGroup, help="The agents of the project.\n\nExample: shuttle agents list --capability python")
def agents() -> None:
    """Group the commands."""


@agents.command("list", help="List agents.\n\nExample: shuttle agents list --all")
@click.option("--capability", "-c", help="Only those that can do this.")
@click.option("--all", "-a", "everybody", is_flag=True, help="Those that are offline, too.")
@click.option("--limit", type=click.IntRange(1, 100), default=100, show_default=True)
@click.pass_obj
def list_agents(fleet: Fleet, *, capability: str | None, everybody: bool, limit: int) -> None:
    """List them."""

    async def ask(agent: Agent) -> Discovered:
        return await agent.discover_agents(capability=capability, include_offline=everybody, limit=limit)

    fleet.show_pages(fleet.gather(ask), "agents", COLUMNS, _rows, "no agents")


def _rows(found: Discovered) -> list[tuple[object, ...]]:
    return [
        (each.handle, each.agent_type, each.status, each.capabilities, each.boundaries, each.current_work)
        for each in found.agents
    ]
