"""Looking through the items, and calling one off."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from loominal.fabric.hub.caller import Caller
from loominal.fabric.hub.parts import fitting
from loominal.fabric.hub.project import Project
from loominal.fabric.hub.work.finding import resolve, sees
from loominal.fabric.hub.work.judging import cancel
from loominal.fabric.hub.work.views import Why, entry_view
from loominal.fabric.operations.work import CancelWork, ListWork, WorkMoved, WorkPage, WorkView
from loominal.model import cursor as cursors
from loominal.model import names
from loominal.model.errors import BadCursor, IllegalMove, NotOwner
from loominal.model.grant import Role
from loominal.model.work import ENDED, Status, WorkItem, done_op, status_at


async def list_work(project: Project, caller: Caller, args: ListWork) -> WorkPage:
    """Return a page of items, newest submission first, and how many there are in all."""
    query = f"work {args.status} {args.capability} {args.boundary} {args.mine}"
    before = _place(args.cursor, query, project.generation)
    total = sum(1 for _ in _matching(project, caller, args, None))
    why = Why(project)
    found: list[WorkView] = []
    entries = (entry_view(project, caller, item, why) for item in _matching(project, caller, args, before))
    for view in fitting(entries, caller.limit_bytes):
        if len(found) == args.limit:
            break
        found.append(view)
    more = bool(found) and next(_matching(project, caller, args, _key(project, found[-1].id)), None) is not None
    next_cursor = cursors.cursor(query, project.generation, *_written(project, found[-1].id)) if more else None
    return WorkPage(items=tuple(found), total=total, next_cursor=next_cursor)


async def cancel_work(project: Project, caller: Caller, args: CancelWork) -> WorkMoved:
    """Call an item off; its offerer and operators may."""
    entry = resolve(project, caller, args.work_id)
    may_end(project, caller, entry.item)
    if entry.item.status in ENDED and not done_op(entry.item, caller.op):
        raise IllegalMove(f"{entry.item.id} is {entry.item.status} already", "nothing is left to cancel")
    item = await cancel(project, entry.item, caller.agent, caller.op, args.reason)
    done = done_op(item, caller.op)
    return WorkMoved(work_id=item.id, status=done.status if done else item.status)


def may_end(project: Project, caller: Caller, item: WorkItem) -> None:
    """Refuse whoever neither offered the item nor is an operator. Raises: NotOwner."""
    if caller.agent != item.submitter and caller.standing.role is not Role.OPERATOR:
        offerer = project.agents.shown(item.submitter)
        raise NotOwner(f"{item.id} was offered by {offerer}", "ask them, or an operator")


def _matching(
    project: Project, caller: Caller, args: ListWork, before: tuple[datetime, str] | None
) -> Iterator[WorkItem]:
    now = project.clock.now()
    capability = names.label(args.capability, "capability") if args.capability else None
    boundary = names.label(args.boundary, "boundary") if args.boundary else None
    statuses = frozenset(Status) if args.status is None else frozenset({args.status})
    if args.status is Status.READY:
        statuses |= {Status.SCHEDULED}  # those that are due are ready
    for item in project.book.newest_first(statuses, before):
        if args.status is not None and status_at(item, now) is not args.status:
            continue
        if capability is not None and capability not in item.capabilities:
            continue
        if (boundary is not None and item.boundary != boundary) or not sees(project, caller, item):
            continue
        if args.mine and caller.agent not in (item.submitter, item.claimed_by):
            continue
        yield item


def _key(project: Project, item_id: str) -> tuple[datetime, str]:
    return project.book.find(item_id).item.submitted_at, item_id


def _written(project: Project, item_id: str) -> tuple[int, str]:
    at, _ = _key(project, item_id)
    return int(at.timestamp()) * 1_000_000 + at.microsecond, item_id


def _place(cursor: str | None, query: str, generation: str) -> tuple[datetime, str] | None:
    if cursor is None:
        return None
    match cursors.position(cursor, query, generation):
        case (int() as micros, str() as item_id) if 0 <= micros < 2**53:
            seconds, rest = divmod(micros, 1_000_000)
            return datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest), item_id
    raise BadCursor("this cursor was not made by Loominal")
