"""Looking through the items, and calling one off."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from loominal.fabric.hub.agents.visibility import resolve as visible
from loominal.fabric.hub.caller import Caller
from loominal.fabric.hub.parts import fitting
from loominal.fabric.hub.project import Project
from loominal.fabric.hub.work.finding import resolve, sees_boundary
from loominal.fabric.hub.work.judging import cancel
from loominal.fabric.hub.work.shelves import Place
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
    """The items that a list shows: what was asked for, of what the caller may read."""

    def __init__(self, project: Project, caller: Caller, args: ListWork) -> None:
        self._project = project
        self._caller = caller
        self._now = project.clock.now()
        self._status = args.status
        self._mine = args.mine
        self._capability = names.label(args.capability, "capability") if args.capability else None
        self._agent = _agent(project, caller, args.agent) if args.agent else None
        self._min_priority = args.min_priority or 1
        boundary = names.label(args.boundary, "boundary") if args.boundary else None
        self._boundaries = project.book.shelves.boundaries() if boundary is None else {boundary}
        self._open = {each for each in self._boundaries if sees_boundary(project, caller, each)}

    def total(self) -> int:
        """Return how many there are. Counted where everything of a boundary is wanted, else each is looked at."""
        shelves = self._project.book.shelves
        if self._mine or self._capability or self._agent or self._min_priority > 1:
            return sum(1 for _ in self.items(None))
        some = self._boundaries - self._open
        return sum(shelves.count(each, self._status, self._now) for each in self._open) + sum(
            1 for _ in self._in(some, None)
        )

    def items(self, before: Place | None) -> Iterator[WorkItem]:
        """Yield them, newest submission first, from the one just behind `before` on."""
        return self._in(self._boundaries, before)

    def _in(self, boundaries: set[str], before: Place | None) -> Iterator[WorkItem]:
        me = self._caller.agent
        statuses = {*Status} if self._status is None else {self._status}
        if self._status is Status.READY:
            statuses.add(Status.SCHEDULED)  # those that are due are ready
        for item in self._project.book.newest_first(statuses, boundaries, before):
            if self._status is not None and status_at(item, self._now) is not self._status:
                continue
            if self._capability is not None and self._capability not in item.capabilities:
                continue
            if item.priority < self._min_priority or not self._is_of(item):
                continue
            if item.boundary in self._open or me in (item.submitter, item.claimed_by, item.last_holder):
                yield item

    def _is_of(self, item: WorkItem) -> bool:
        """Return whether the item is offered or held by whom the list is about."""
        own = {item.submitter, item.claimed_by}
        return (not self._mine or self._caller.agent in own) and (self._agent is None or self._agent in own)


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
