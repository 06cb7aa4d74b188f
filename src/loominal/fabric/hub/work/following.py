"""follow_work: what many items have come to since one last asked, held open until one of them moves."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterable, Mapping

import msgspec

from loominal.fabric.hub.caller import Caller
from loominal.fabric.hub.parts import fitting
from loominal.fabric.hub.project import Project
from loominal.fabric.hub.work.finding import resolve
from loominal.fabric.hub.work.views import Why, entry_view
from loominal.fabric.operations.work import Followed, FollowedWork, FollowWork
from loominal.fabric.protocol import POLL_SECONDS
from loominal.model import cursor as cursors
from loominal.model import work_events
from loominal.model.errors import BadCursor, NotFound
from loominal.model.work import Status, WorkItem, status_at

GATHER_SECONDS = 0.5  # from a question to an answer that was waited for: what moves often is told twice a second


class _Heard(msgspec.Struct, frozen=True):
    """What a follower was told: all that moved up to `count`; before its first look is over, of that what is named
    before `place`.
    """

    count: int
    place: int | None = None


async def follow_work(project: Project, caller: Caller, args: FollowWork) -> Followed:
    """Return of the named items those that have moved since `after`; without it, or for another hub's, all of them.

    What does not fit follows under the cursor. Raises: BadCursor, InvalidArgument for a task id of several agents.
    """
    query = _query(args.work_ids)
    heard, (places, missing) = _heard(project, args.after, query), _named(project, caller, args.work_ids)
    if heard.place is None and args.wait_seconds:
        await _until_moved(project, caller, tuple(places), heard.count, min(args.wait_seconds, POLL_SECONDS))
        heard, (places, missing) = _heard(project, args.after, query), _named(project, caller, args.work_ids)
    wanted, now_at = _wanted(project, places, heard), project.movements.count
    why = Why(project)
    items = tuple(fitting((_view(project, caller, each, why) for each in wanted), caller.limit_bytes, cut=_bare))
    more = len(items) < len(wanted)
    if heard.place is not None:
        heard = _Heard(heard.count, places[wanted[len(items)]] if more else None)
    else:
        heard = _Heard(project.movements.last(items[-1].id) if more else now_at)
    return Followed(items=items, missing=missing, cursor=_cursor(project, query, heard), more=more)


async def _until_moved(project: Project, caller: Caller, ids: tuple[str, ...], count: int, seconds: float) -> None:
    """Return when one of the items has moved, and a moment later lest each move be told alone, or after `seconds`."""
    began, last = project.clock.monotonic(), project.movements.last

    def moved() -> bool:
        return any(last(each) > count for each in ids)

    if await project.wakes.until(moved, (*ids, caller.agent), seconds):
        await asyncio.sleep(max(min(GATHER_SECONDS, seconds) - (project.clock.monotonic() - began), 0))


def _named(project: Project, caller: Caller, texts: Iterable[str]) -> tuple[dict[str, int], tuple[str, ...]]:
    """Return the ids of the items that are named, with their places, and what names none that the caller may see."""
    found: dict[str, int] = {}
    missing: list[str] = []
    for place, text in enumerate(texts):
        try:
            found.setdefault(resolve(project, caller, text).item.id, place)
        except NotFound:
            missing.append(text)
    return found, tuple(missing)


def _wanted(project: Project, places: Mapping[str, int], heard: _Heard) -> list[str]:
    """Return what is to be told: the rest of a first look, or what has moved, in the order of the last movements."""
    if heard.place is not None:
        return [each for each, place in places.items() if place >= heard.place]
    last = project.movements.last
    return sorted((each for each in places if last(each) > heard.count), key=last)


def _view(project: Project, caller: Caller, item_id: str, why: Why) -> FollowedWork:
    item = project.book.find(item_id).item
    view, due = entry_view(project, caller, item, why), _is_due(project, item)
    return FollowedWork(
        **{name: getattr(view, name) for name in view.__struct_fields__},
        events=(work_events.READY,) if due else work_events.told(item),
        moved_at=item.due_at if due else item.last.at,
        ended_at=item.ended_at,
        dead_reason=item.dead_reason,
    )


def _bare(view: FollowedWork, _: int) -> FollowedWork:
    """Return an item that would take a whole answer without what people wrote."""
    return msgspec.structs.replace(view, description="", capabilities=(), depends_on=(), progress=None, waits_for=None)


def _is_due(project: Project, item: WorkItem) -> bool:
    return item.status is Status.SCHEDULED and status_at(item, project.clock.now()) is Status.READY


def _query(work_ids: Iterable[str]) -> str:
    return "follow " + hashlib.sha256("\0".join(work_ids).encode("utf-8", "surrogatepass")).hexdigest()


def _life(project: Project) -> str:
    """Return what names this leader's lead: what another has heard of, this one may not know."""
    return f"{project.movements.life} {project.leadership.sequence}"


def _heard(project: Project, cursor: str | None, query: str) -> _Heard:
    new = _Heard(project.movements.count, 0)
    if cursor is None:
        return new
    match cursors.position(cursor, query, project.generation):
        case (str(life), int(count), int(place)) if place >= -1:
            known = life == _life(project) and project.movements.reaches(count)
            return _Heard(count, place if place >= 0 else None) if known else new
    raise BadCursor("this cursor was not made by Loominal")


def _cursor(project: Project, query: str, heard: _Heard) -> str:
    place = -1 if heard.place is None else heard.place
    return cursors.cursor(query, project.generation, _life(project), heard.count, place)
