"""`shuttle stats`: how much of everything there is in a project, or in every one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeVar

import click

from loominal.fabric.operations.stats import FabricStats, Stats, project_stats
from loominal.model.agent import AgentStatus
from loominal.model.launch import LIVE
from loominal.model.work import Status
from loominal.shuttle.fleet import Fleet, Page
from loominal.shuttle.options import FleetCommand
from loominal.shuttle.tables import Column, duration

if TYPE_CHECKING:
    from loominal.fabric.client.agent import Agent

S = TypeVar("S", bound=str)
COLUMNS = (
    Column("AGENTS"), Column("READY"), Column("CLAIMED"), Column("WAITING"), Column("DONE"),
    Column("DEAD"), Column("OLDEST READY"), Column("SPIN-UPS"), Column("TARGETS"),
)  # fmt: skip


@click.command(
    cls=FleetCommand,
    help="How many agents, items, targets and spin-ups there are. --all-projects has each project loaded, also those "
    "that nobody uses; GET /api/stats loads none.\n\nExample: shuttle stats --all-projects",
)
@click.pass_obj
def stats(fleet: Fleet) -> None:
    """Show the counts."""

    async def ask(agent: Agent) -> Stats:
        return await agent.get_stats()

    pages = fleet.gather(ask)
    if fleet.wants_json:
        counted = tuple(project_stats(page.project_id, page.project, page.answer) for page in pages)
        fleet.show_json(FabricStats(projects=counted, total=len(counted)))
    elif fleet.all_projects:
        fleet.show_pages(pages, "projects", COLUMNS, _rows, "no projects")
    else:
        fleet.show_facts(_facts(pages[0]))


def counts(numbers: Mapping[S, int]) -> str:
    """Return the counts that are not zero, in their order: "2 busy, 5 online"."""
    return ", ".join(f"{number} {name.replace('_', ' ')}" for name, number in numbers.items() if number) or "none"


def waits(stats: Stats) -> str:
    """Return how long the oldest ready item waits, empty if none does."""
    return "" if stats.oldest_ready_seconds is None else duration(stats.oldest_ready_seconds)


def _facts(page: Page[Stats]) -> list[tuple[str, object]]:
    stats = page.answer
    targets, unmet = stats.targets, stats.unmet_routes
    return [
        ("project", page.project),
        ("agents", counts(stats.agents)),
        ("work", counts(stats.work)),
        ("oldest ready", waits(stats)),
        ("dead letters", stats.dead),
        ("targets", f"{targets.total}, of these {targets.enabled} enabled and {targets.healthy} of them healthy"),
        ("spin-ups", counts(stats.spin_ups)),
        ("unmet", f"{unmet} {'kinds' if unmet > 1 else 'kind'} of work in want of agents" if unmet else ""),
    ]


def _rows(stats: Stats) -> list[tuple[object, ...]]:
    work, targets = stats.work, stats.targets
    waiting = work[Status.BLOCKED] + work[Status.SCHEDULED]
    started = sum(stats.spin_ups[status] for status in LIVE)
    there = stats.agents[AgentStatus.ONLINE] + stats.agents[AgentStatus.BUSY]
    row = (there, work[Status.READY], work[Status.CLAIMED], waiting, work[Status.DONE], stats.dead, waits(stats))
    return [(*row, started, f"{targets.healthy} of {targets.total}")]
