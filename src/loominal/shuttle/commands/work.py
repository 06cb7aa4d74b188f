"""`shuttle work`: the items of a project."""

from __future__ import annotations

import click
import msgspec

from loominal.fabric.client.agent import Agent
from loominal.fabric.operations.work import WorkDetail, WorkMoved, WorkPage, WorkView
from loominal.model.times import rfc3339
from loominal.model.work import Status
from loominal.shuttle.fleet import Fleet
from loominal.shuttle.options import FleetGroup
from loominal.shuttle.tables import Column, status

COLUMNS = (
    Column("ID"), status(), Column("PRIORITY"), Column("CAPABILITIES", 2), Column("BY", 1),
    Column("WAITS FOR / PROGRESS", 3), Column("DESCRIPTION", 4),
)  # fmt: skip
HISTORY = (Column("AT"), Column("MOVE"), Column("BY", 1), Column("NOTE", 2))


@click.group(cls=FleetGroup, help="The work items of the project.\n\nExample: shuttle work list --status ready")
def work() -> None:
    """Group the commands."""


@work.command("list", help="List items, newest first.\n\nExample: shuttle work list --status claimed")
@click.option("--status", type=click.Choice([status.value for status in Status]))
@click.option("--capability", "-c")
@click.option("--limit", type=click.IntRange(1, 100), default=50, show_default=True)
@click.pass_obj
def list_items(fleet: Fleet, *, status: str | None, capability: str | None, limit: int) -> None:
    """List them."""

    async def ask(agent: Agent) -> WorkPage:
        return await agent.list_work(status=Status(status) if status else None, capability=capability, limit=limit)

    fleet.show_pages(fleet.gather(ask), "items", COLUMNS, _rows, "no work items")


def _rows(page: WorkPage) -> list[tuple[object, ...]]:
    return [_row(item) for item in page.items]


@work.command(help="Show one item with its history.\n\nExample: shuttle work show w_1234")
@click.argument("item_id")
@click.pass_obj
def show(fleet: Fleet, *, item_id: str) -> None:
    """Show it."""

    async def ask(agent: Agent) -> WorkDetail:
        return await agent.get_work(item_id)

    detail = fleet.run(ask)
    fleet.show_facts(_facts(detail))
    rows = [(rfc3339(entry.at), entry.move, entry.by, entry.note) for entry in detail.history]
    fleet.show(detail, HISTORY, rows, "no history")


@work.command(help="Call an item off.\n\nExample: shuttle work cancel w_1234 --reason obsolete")
@click.argument("item_id")
@click.option("--reason", default="")
@click.pass_obj
def cancel(fleet: Fleet, *, item_id: str, reason: str) -> None:
    """Cancel it."""

    async def ask(agent: Agent) -> WorkMoved:
        return await agent.cancel_work(item_id, reason=reason)

    moved = fleet.run(ask, acts=True)
    fleet.show(moved, (Column("ID"), status()), [(moved.work_id, moved.status)], "")


def _facts(item: WorkDetail) -> list[tuple[str, object]]:
    """Return what the item is and what came of it, as its history does not tell."""
    return [
        ("description", item.description),
        ("status", item.status),
        ("reason", item.dead_reason),
        ("waits", item.waits_for),
        ("capabilities", item.capabilities),
        ("boundary", item.boundary),
        ("attempt", f"{item.attempt} of {item.max_attempts}"),
        ("offered by", item.offered_by),
        ("claimed by", item.claimed_by),
        ("summary", item.summary),
        ("result", msgspec.json.encode(item.result).decode() if item.result else ""),
        *(("error", f"{rfc3339(error.at)} {error.by}: {error.message}") for error in item.errors),
    ]


def _row(item: WorkView) -> tuple[object, ...]:
    progress = f"{item.progress.percent or 0:g} % {item.progress.message}" if item.progress else item.waits_for
    return item.id, item.status, item.priority, item.capabilities, item.claimed_by, progress, item.description
