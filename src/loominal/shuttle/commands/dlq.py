"""`shuttle dlq`: items that cannot go on by themselves."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import click

from loominal.fabric.operations.dead_letters import DeadLetterMoved, DeadLetters
from loominal.fabric.operations.types import View
from loominal.shuttle import completing
from loominal.shuttle.fleet import Fleet
from loominal.shuttle.options import FleetGroup
from loominal.shuttle.several import Outcome, collect, each, say_rest, told
from loominal.shuttle.tables import Column, last_line, status

if TYPE_CHECKING:
    from loominal.fabric.client.agent import Agent

COLUMNS = (
    Column("ID"), Column("DIED"), Column("REASON"), Column("ATTEMPTS"), Column("CAPABILITIES", 1), Column("TASK", 3),
    Column("LAST ERROR", 2),
)  # fmt: skip
MOVED = (Column("ID"), status())
ITEMS = click.argument("item_ids", nargs=-1, metavar="[ID]...", shell_complete=completing.dead_letters)
ALL = click.option("--all", "-a", "every", is_flag=True, help="Every dead letter of the project.")
NEEDING = click.option("--capability", "-c", help="With --all: those that need this.")
DRY_RUN = click.option("--dry-run", is_flag=True, help="With --all: only show which they are.")


class Moved(View, frozen=True, kw_only=True):
    """Where the items went."""

    items: tuple[DeadLetterMoved, ...]


@click.group(cls=FleetGroup, help="Dead letters: look, retry, discard.\n\nExample: shuttle dlq list")
def dlq() -> None:
    """Group the commands."""


@dlq.command("list", help="List dead letters, newest first.\n\nExample: shuttle dlq list --capability python")
@click.option("--capability", "-c", help="Only those that need this.")
@click.option("--limit", "-n", type=click.IntRange(min=1), default=50, show_default=True, help="At most so many.")
@click.pass_obj
def list_letters(fleet: Fleet, *, capability: str | None, limit: int) -> None:
    """List them."""

    async def ask(agent: Agent) -> DeadLetters:
        return await _letters(agent, capability, limit)

    pages = fleet.gather(ask)
    fleet.show_pages(pages, "items", COLUMNS, _rows, "no dead letters")
    say_rest(fleet, pages, "items")


@dlq.command(
    help="Give items at least one more attempt each.\n\nExample: shuttle dlq retry w_1234\n\n"
    "Example: shuttle dlq retry --all --capability python --dry-run"
)
@ITEMS
@ALL
@NEEDING
@DRY_RUN
@click.option("--reset-attempts", is_flag=True, help="Count from zero again.")
@click.pass_obj
def retry(
    fleet: Fleet,
    *,
    item_ids: tuple[str, ...],
    every: bool,
    capability: str | None,
    dry_run: bool,
    reset_attempts: bool,
) -> int:
    """Retry them."""
    wanted = _named(fleet, item_ids, every=every, capability=capability, dry_run=dry_run)

    async def one_more(agent: Agent, item_id: str) -> DeadLetterMoved:
        return await agent.retry_dead_letter_item(item_id, reset_attempts=reset_attempts)

    return _move(fleet, wanted, one_more)


@dlq.command(
    help="Give items up for good.\n\nExample: shuttle dlq discard w_1234 --reason obsolete\n\n"
    "Example: shuttle dlq discard --all --capability cobol --yes"
)
@ITEMS
@ALL
@NEEDING
@DRY_RUN
@click.option("--reason", default="", help="Why; it is kept with them.")
@click.option("--yes", "-y", is_flag=True, help="With --all: do not ask.")
@click.pass_obj
def discard(
    fleet: Fleet,
    *,
    item_ids: tuple[str, ...],
    every: bool,
    capability: str | None,
    dry_run: bool,
    reason: str,
    yes: bool,
) -> int:
    """Discard them."""
    wanted = _named(fleet, item_ids, every=every, capability=capability, dry_run=dry_run)
    if every:
        what = f"Discard {len(wanted)} dead letter{'s' * (len(wanted) > 1)}"
        fleet.confirm(f"{what} that need {capability!r}?" if capability else f"{what}?", yes=yes)

    async def give_up(agent: Agent, item_id: str) -> DeadLetterMoved:
        return await agent.discard_dead_letter_item(item_id, reason=reason)

    return _move(fleet, wanted, give_up)


async def _letters(agent: Agent, capability: str | None, limit: int | None) -> DeadLetters:
    async def page(limit: int, cursor: str | None) -> DeadLetters:
        return await agent.list_dead_letter_items(capability=capability, limit=limit, cursor=cursor)

    return await collect(page, "items", limit)


def _named(
    fleet: Fleet, item_ids: tuple[str, ...], *, every: bool, capability: str | None, dry_run: bool
) -> tuple[str, ...]:
    """Return the ids that are meant; after a dry run, which shows them, the command is over. Raises: UsageError."""
    if bool(item_ids) is every:
        raise click.UsageError("Name the items by ID, or all of them with --all.")
    if not every:
        if capability or dry_run:
            raise click.UsageError(f"{'--capability' if capability else '--dry-run'} goes with --all.")
        return item_ids

    async def ask(agent: Agent) -> DeadLetters:
        return await _letters(agent, capability, None)

    letters = fleet.run(ask)
    if dry_run or not letters.items:
        fleet.show(letters, COLUMNS, _rows(letters), "no dead letters")
        raise click.exceptions.Exit(0)
    return tuple(letter.id for letter in letters.items)


def _move(fleet: Fleet, item_ids: tuple[str, ...], deed: Callable[[Agent, str], Awaitable[DeadLetterMoved]]) -> int:
    """Do it to each item, show where they went, and return the exit code."""

    async def ask(agent: Agent) -> Outcome[DeadLetterMoved]:
        return await each(item_ids, lambda item_id: deed(agent, item_id))

    outcome = fleet.run(ask, acts=True)
    rows = [(moved.id, moved.status) for moved in outcome.done]
    fleet.show(Moved(items=tuple(outcome.done)), MOVED, rows, "")
    return told(outcome.failed)


def _rows(page: DeadLetters) -> list[tuple[object, ...]]:
    return [
        (
            item.id, item.failed_at, item.reason, item.attempts, item.capabilities, item.task_id,
            last_line(item.errors[-1].message) if item.errors else "",
        )
        for item in page.items
    ]  # fmt: skip
