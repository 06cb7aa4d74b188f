"""`shuttle dlq`: items that cannot go on by themselves."""

from __future__ import annotations

import click

from loominal.fabric.client.agent import Agent
from loominal.fabric.operations.dead_letters import DeadLetterMoved, DeadLetters
from loominal.shuttle.fleet import Fleet
from loominal.shuttle.options import FleetGroup
from loominal.shuttle.tables import Column, status

COLUMNS = (Column("ID"), Column("TASK", 2), Column("REASON"), Column("ATTEMPTS"), Column("LAST ERROR", 3))
MOVED = (Column("ID"), status())


@click.group(cls=FleetGroup, help="Dead letters: look, retry, discard.\n\nExample: shuttle dlq list")
def dlq() -> None:
    """Group the commands."""


@dlq.command("list", help="List dead letters, newest first.\n\nExample: shuttle dlq list --capability python")
@click.option("--capability", "-c")
@click.option("--limit", type=click.IntRange(1, 100), default=50, show_default=True)
@click.pass_obj
def list_letters(fleet: Fleet, *, capability: str | None, limit: int) -> None:
    """List them."""

    async def ask(agent: Agent) -> DeadLetters:
        return await agent.list_dead_letter_items(capability=capability, limit=limit)

    fleet.show_pages(fleet.gather(ask), "items", COLUMNS, _rows, "no dead letters")


def _rows(page: DeadLetters) -> list[tuple[object, ...]]:
    return [
        (item.id, item.task_id, item.reason, item.attempts, item.errors[-1].message if item.errors else "")
        for item in page.items
    ]


@dlq.command(help="Give an item at least one more attempt.\n\nExample: shuttle dlq retry w_1234")
@click.argument("item_id")
@click.option("--reset-attempts", is_flag=True, help="Count from zero again.")
@click.pass_obj
def retry(fleet: Fleet, *, item_id: str, reset_attempts: bool) -> None:
    """Retry it."""

    async def ask(agent: Agent) -> DeadLetterMoved:
        return await agent.retry_dead_letter_item(item_id, reset_attempts=reset_attempts)

    moved = fleet.run(ask, acts=True)
    fleet.show(moved, MOVED, [(moved.id, moved.status)], "")


@dlq.command(help="Give an item up for good.\n\nExample: shuttle dlq discard w_1234 --reason obsolete")
@click.argument("item_id")
@click.option("--reason", default="")
@click.pass_obj
def discard(fleet: Fleet, *, item_id: str, reason: str) -> None:
    """Discard it."""

    async def ask(agent: Agent) -> DeadLetterMoved:
        return await agent.discard_dead_letter_item(item_id, reason=reason)

    moved = fleet.run(ask, acts=True)
    fleet.show(moved, MOVED, [(moved.id, moved.status)], "")
