"""Dead letters: items that cannot go on by themselves; retried or discarded by their offerer or an operator."""

from __future__ import annotations

from datetime import UTC, datetime

from loominal.fabric.hub.caller import Caller
from loominal.fabric.hub.parts import fitting
from loominal.fabric.hub.project import Project
from loominal.fabric.hub.work.finding import resolve, sees
from loominal.fabric.hub.work.moving import move
from loominal.fabric.hub.work.querying import may_end
from loominal.fabric.operations.dead_letters import (
    DeadLetter,
    DeadLetterMoved,
    DeadLetters,
    DiscardDeadLetterItem,
    ListDeadLetterItems,
    RetryDeadLetterItem,
)
from loominal.fabric.operations.work import FailureView
from loominal.model import cursor as cursors
from loominal.model import names
from loominal.model.errors import BadCursor
from loominal.model.moves import Discard, Retry
from loominal.model.work import DeadReason, Status, WorkItem, done_op


async def list_dead_letter_items(project: Project, caller: Caller, args: ListDeadLetterItems) -> DeadLetters:
    """Return a page of dead items, newest death first, and how many there are in all."""
    capability = names.label(args.capability, "capability") if args.capability else None
    query = f"dead {capability}"
    dead = [
        item
        for item in project.book.oldest_first(Status.DEAD)
        if (capability is None or capability in item.capabilities) and sees(project, caller, item)
    ]
    dead.sort(key=_rank, reverse=True)
    behind = _place(args.cursor, query, project.generation)
    rest = [item for item in dead if behind is None or _rank(item) < behind]
    letters = list(fitting((_letter(project, item) for item in rest[: args.limit]), caller.limit_bytes))
    more = 0 < len(letters) < len(rest)
    next_cursor = cursors.cursor(query, project.generation, *_rank(rest[len(letters) - 1])) if more else None
    return DeadLetters(items=tuple(letters), total=len(dead), next_cursor=next_cursor)


async def retry_dead_letter_item(project: Project, caller: Caller, args: RetryDeadLetterItem) -> DeadLetterMoved:
    """Make a dead item ready again, with at least one attempt."""
    item = resolve(project, caller, args.item_id).item
    may_end(project, caller, item)
    event = Retry(by=caller.agent, op=caller.op, reset_attempts=args.reset_attempts)
    return _answer((await move(project, item.id, event)).item, caller)


async def discard_dead_letter_item(project: Project, caller: Caller, args: DiscardDeadLetterItem) -> DeadLetterMoved:
    """Give a dead item up for good."""
    item = resolve(project, caller, args.item_id).item
    may_end(project, caller, item)
    event = Discard(by=caller.agent, op=caller.op, reason=args.reason)
    return _answer((await move(project, item.id, event)).item, caller)


def _answer(item: WorkItem, caller: Caller) -> DeadLetterMoved:
    done = done_op(item, caller.op)
    return DeadLetterMoved(id=item.id, status=done.status if done else item.status)


def _letter(project: Project, item: WorkItem) -> DeadLetter:
    errors = tuple(
        FailureView(at=error.at, by=project.agents.shown(error.by), message=error.message) for error in item.errors
    )
    return DeadLetter(
        id=item.id,
        task_id=item.task_id,
        capabilities=item.capabilities,
        reason=item.dead_reason or DeadReason.MAX_ATTEMPTS,
        attempts=item.attempt,
        errors=errors,
        failed_at=item.ended_at or item.submitted_at,
    )


def _rank(item: WorkItem) -> tuple[int, str]:
    ended = item.ended_at or datetime.fromtimestamp(0, UTC)
    return int(ended.timestamp()) * 1_000_000 + ended.microsecond, item.id


def _place(cursor: str | None, query: str, generation: str) -> tuple[int, str] | None:
    if cursor is None:
        return None
    match cursors.position(cursor, query, generation):
        case (int() as micros, str() as item_id):
            return micros, item_id
    raise BadCursor("this cursor was not made by Loominal")
