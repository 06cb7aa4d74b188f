"""follow_inbox: an inbox for a reader that says itself what it has shown. Nothing it looks at is marked by that."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from loominal.fabric.hub.parts import fitting
from loominal.fabric.hub.talk import messages
from loominal.fabric.hub.talk.inbox_pages import SPARE, Wanted, fetch
from loominal.fabric.hub.talk.marking import change_marks
from loominal.fabric.hub.talk.ops_inbox import places, sender_named
from loominal.fabric.operations.inbox import NOTICE, FollowInbox, Inbox
from loominal.fabric.protocol import POLL_SECONDS
from loominal.model import cursor as cursors
from loominal.model import read_marks
from loominal.model.errors import BadCursor

if TYPE_CHECKING:
    from loominal.fabric.hub.caller import Caller
    from loominal.fabric.hub.project import Project


async def follow_inbox(project: Project, caller: Caller, args: FollowInbox) -> Inbox:
    """Return what came behind the cursor, waiting for it if asked to; without one the unread, or the newest of all.

    Raises: NotFound (sender, shown), BadCursor.
    """
    me, inboxes = caller.agent, project.inboxes
    sender = await sender_named(project, caller, args.sender_guid) if args.sender_guid is not None else None
    after = _after(project, caller, args.cursor)
    wanted = Wanted(sender=sender, unread_only=args.unread_only, after=after, limit=args.limit)
    if shown := places(project, caller, args.shown, "shown"):
        async with inboxes.box(me).turn:
            await change_marks(project, me, lambda marks: read_marks.show(marks, shown))
    if args.wait_seconds:
        seconds = min(args.wait_seconds, POLL_SECONDS)
        await project.wakes.until(lambda: bool(_due(project, caller, wanted, most=1)), (me,), seconds)
    return await _page(project, caller, wanted, newest=args.cursor is None and not args.unread_only)


async def _page(project: Project, caller: Caller, wanted: Wanted, *, newest: bool) -> Inbox:
    me, complete = caller.agent, project.inboxes.intake.complete
    due = _due(project, caller, wanted, most=None if newest else wanted.limit + SPARE)
    found, _ = await fetch(project, caller, due[-wanted.limit :] if newest else due, wanted.limit)
    views = (messages.direct_message(project, each.record, each.message, caller.limit_bytes) for each in found)
    page = tuple(fitting(views, caller.limit_bytes, cut=messages.shorten))
    last = found[len(page) - 1].sequence if page else max(due, default=0)  # what cannot be read is passed by
    reached = last if page and due[-1] > last else max(last, wanted.after, complete)
    return Inbox(
        messages=page,
        unread=project.inboxes.unread(me),
        notice=NOTICE if page else "",
        next_cursor=cursors.cursor(_query(caller), project.generation, reached),
    )


def _due(project: Project, caller: Caller, wanted: Wanted, most: int | None) -> list[int]:
    """Return at most `most` of the messages that are asked for, oldest first."""
    trail, marks = project.inboxes.trail(caller.agent), project.inboxes.marks(caller.agent)
    complete = project.inboxes.intake.complete
    known = (
        read_marks.unread(marks, trail.sequences, wanted.after)
        if wanted.unread_only
        else iter(trail.sequences[trail.behind(wanted.after) :])
    )
    return list(islice((each for each in known if each <= complete and wanted.matches(trail.label(each))), most))


def _after(project: Project, caller: Caller, cursor: str | None) -> int:
    if cursor is None:
        return 0
    match cursors.position(cursor, _query(caller), project.generation):
        case (int(after),):
            return after
    raise BadCursor("this cursor was not made by Loominal")


def _query(caller: Caller) -> str:
    return f"follow inbox {caller.agent}"
