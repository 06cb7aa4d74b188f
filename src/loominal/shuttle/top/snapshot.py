"""What `top` would show first, as one document."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loominal.fabric.operations.stats import Stats
from loominal.fabric.operations.types import View
from loominal.shuttle.top.listing import Listing, Member
from loominal.shuttle.top.look import Look
from loominal.shuttle.top.panes import PAGE, PANES

if TYPE_CHECKING:
    from loominal.fabric.client.agent import Agent


class Snapshot(View, frozen=True, kw_only=True):
    """One project: its counts, and the first rows of each list, in the order of the screen."""

    project_id: str
    project: str
    stats: Stats
    agents: tuple[View, ...]
    items: tuple[View, ...]
    spin_ups: tuple[View, ...]
    dead_letters: tuple[View, ...]


class Snapshots(View, frozen=True, kw_only=True):
    """Every project that was asked for."""

    projects: tuple[Snapshot, ...]
    total: int


async def snapshot(agent: Agent) -> Snapshot:
    """Return the counts of the project, and at most PAGE rows of each list."""
    stats = await agent.get_stats()
    member = Member(agent.project.id, agent.project.title, agent, stats)
    lists = []
    for place in range(len(PANES)):
        look = Look(PANES)
        look.place = place
        found = await Listing(look).read([member], 0, PAGE)
        lists.append(tuple(row.entry for _, row in found.rows[:PAGE]))
    agents, items, spin_ups, dead_letters = lists
    return Snapshot(
        project_id=agent.project.id, project=agent.project.title, stats=stats,
        agents=agents, items=items, spin_ups=spin_ups, dead_letters=dead_letters,
    )  # fmt: skip
