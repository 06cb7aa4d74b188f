"""Looking through the items, and calling one off."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from datetime import UTC, datetime

from loominal.fabric.hub.agents.visibility import resolve as visible
from loominal.fabric.hub.caller import Caller
from loominal.fabric.hub.parts import fitting
from loominal.fabric.hub.project import Project
from loominal.fabric.hub.work.finding import resolve, sees_boundary
from loominal.fabric.hub.work.judging import cancel
from loominal.fabric.hub.work.shelves import Place, Shelves
from loominal.fabric.hub.work.views import Why, entry_view
from loominal.fabric.operations.work import CancelWork, ListWork, WorkMoved, WorkPage, WorkView
from loominal.model import cursor as cursors
from loominal.model import names
from loominal.model.errors import BadCursor, IllegalMove, NotOwner
from loominal.model.grant import Role
from loominal.model.work import ENDED, Status, WorkItem, done_op, status_at


async def list_work(project: Project, caller: Caller, args: ListWork) -> WorkPage:
    """Return a page of items, newest submission first, and how many there are in all."""
    wanted = _Wanted(project, caller, args)
    query = f"work {args.status} {args.capability} {args.boundary} {args.mine} {args.agent} {args.min_priority}"
    before = _place(args.cursor, query, project.generation)
    why = Why(project)
    found: list[WorkView] = []
    entries = (entry_view(project, caller, item, why) for item in wanted.items(before))
    for view in fitting(entries, caller.limit_bytes):
        if len(found) == args.limit:
            break
        found.append(view)
    more = bool(found) and next(wanted.items(_key(project, found[-1].id)), None) is not None
    next_cursor = cursors.cursor(query, project.generation, *_written(project, found[-1].id)) if more else None
    return WorkPage(items=tuple(found), total=wanted.total(), next_cursor=next_cursor)


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


class _Wanted:
    """The items that a list shows: what was asked for, of what the caller may read.

    They stand on the shelves of the narrowest filter; an agent's own are those it offered and those it holds.
    """

    def __init__(self, project: Project, caller: Caller, args: ListWork) -> None:
        self._project = project
        self._caller = caller
        self._now = project.clock.now()
        self._status = args.status
        self._least = args.min_priority or 1
        capability = names.label(args.capability, "capability") if args.capability else None
        owners = [caller.agent] if args.mine else []
        owners += [_agent(project, caller, args.agent)] if args.agent else []
        book = project.book
        if owners:
            self._shelves = book.offered_by.get(owners[0], Shelves())
        else:
            self._shelves = book.shelves if capability is None else book.needing.get(capability, Shelves())
        self._held = book.held_by.get(owners[0], set()) if owners else set()
        self._capability = capability if owners else None  # what the shelves do not tell
        self._owners = owners
        boundary = names.label(args.boundary, "boundary") if args.boundary else None
        self._boundaries = book.shelves.boundaries() if boundary is None else {boundary}
        self._open = {each for each in self._boundaries if sees_boundary(project, caller, each)}

    def total(self) -> int:
        """Return how many there are. Counted where everything on the shelves is wanted, else each is looked at."""
        if self._capability is not None or len(self._owners) > 1:
            return sum(1 for _ in self.items(None))
        whole = self._boundaries if self._owners == [self._caller.agent] else self._open
        counted = self._shelves.count(whole, self._status, self._least, self._now)
        others = self._shelves.newest_first(self._statuses(), self._boundaries - whole, self._least, None)
        held = (place for place in self._held_places() if self._is_wanted(place))
        return counted + sum(map(self._is_wanted, others)) + sum(1 for _ in held)

    def items(self, before: Place | None) -> Iterator[WorkItem]:
        """Yield them, newest submission first, from the one just behind `before` on."""
        offered = self._shelves.newest_first(self._statuses(), self._boundaries, self._least, before)
        held = [place for place in self._held_places() if before is None or place < before]
        for place in heapq.merge(offered, sorted(held, reverse=True), reverse=True):
            if self._is_wanted(place):
                yield self._project.book.find(place[1]).item

    def _statuses(self) -> set[Status]:
        if self._status is None:
            return {*Status}
        return {Status.READY, Status.SCHEDULED} if self._status is Status.READY else {self._status}

    def _held_places(self) -> Iterator[Place]:
        """Yield what the owner holds and did not offer."""
        for item_id in self._held:
            item = self._project.book.find(item_id).item
            if item.submitter != self._owners[0]:
                yield item.submitted_at, item_id

    def _is_wanted(self, place: Place) -> bool:
        item, me = self._project.book.find(place[1]).item, self._caller.agent
        return (
            self._status in (None, status_at(item, self._now))
            and item.boundary in self._boundaries
            and item.priority >= self._least
            and (self._capability is None or self._capability in item.capabilities)
            and all(owner in (item.submitter, item.claimed_by) for owner in self._owners)
            and (item.boundary in self._open or me in (item.submitter, item.claimed_by, item.last_holder))
        )


def _agent(project: Project, caller: Caller, text: str) -> str:
    return text if names.api_role(text) else visible(project, caller, text).id


def _key(project: Project, item_id: str) -> Place:
    return project.book.find(item_id).item.submitted_at, item_id


def _written(project: Project, item_id: str) -> tuple[int, str]:
    at, _ = _key(project, item_id)
    return int(at.timestamp()) * 1_000_000 + at.microsecond, item_id


def _place(cursor: str | None, query: str, generation: str) -> Place | None:
    if cursor is None:
        return None
    match cursors.position(cursor, query, generation):
        case (int() as micros, str() as item_id) if 0 <= micros < 2**53:
            seconds, rest = divmod(micros, 1_000_000)
            return datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest), item_id
    raise BadCursor("this cursor was not made by Loominal")
