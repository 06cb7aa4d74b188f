"""Pages of an inbox: which messages a read shows, and what that makes of the marks. Reading and joining come here.

A page holds unread messages that the asking process was not offered yet; the same read asked again gets the same page.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from loominal.broker.log import Record
from loominal.fabric.hub.parts import fitting
from loominal.fabric.hub.talk import messages
from loominal.fabric.hub.talk.marking import change_marks
from loominal.fabric.hub.talk.trail import Label
from loominal.fabric.operations.inbox import NOTICE, Inbox
from loominal.model import cursor as cursors
from loominal.model import read_marks
from loominal.model.message import Message
from loominal.model.read_marks import ReadMarks

if TYPE_CHECKING:
    from loominal.fabric.hub.caller import Caller
    from loominal.fabric.hub.project import Project

ROUND_TRIP = 16  # messages of one read from the log; a page is 10 unless asked otherwise
SPARE = 100  # messages looked at beside a page's, should some be gone or unreadable


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Which messages a read asks for, and what it tells about earlier ones."""

    message_type: str | None = None
    sender: str | None = None
    unread_only: bool = True
    after: int = 0
    acked: tuple[int, ...] = ()
    limit: int

    def matches(self, label: Label) -> bool:
        """Return whether a message of that label is asked for."""
        return self.message_type in (None, label.message_type) and self.sender in (None, label.sender)

    def query(self, reader: str) -> str:
        """Return what a cursor of this read belongs to."""
        return f"inbox {reader} {self.unread_only} {self.sender} {self.message_type}"


class Found(NamedTuple):
    """A message that was read from the log."""

    sequence: int
    record: Record
    message: Message


async def page(project: Project, caller: Caller, wanted: Wanted) -> Inbox:
    """Return the next page and mark what it shows whole as offered. One read of an inbox at a time."""
    async with project.inboxes.box(caller.agent).turn:
        while (inbox := await _page(project, caller, wanted)) is None:
            pass  # only once: the marks know this read now
        return inbox


async def _page(project: Project, caller: Caller, wanted: Wanted) -> Inbox | None:
    """Return the page; None if this very read was offered less before, by a write whose ack was lost."""
    me, inboxes = caller.agent, project.inboxes
    marks = told(project, caller, inboxes.marks(me), wanted)
    before = read_marks.offer_of(marks, caller.op, caller.incarnation)
    again = before.again if before else read_marks.offered_elsewhere(marks, caller.incarnation)
    due = list(islice(_due(project, caller, marks, wanted), wanted.limit + SPARE))
    if before and wanted.unread_only:  # its answer was lost
        due = sorted({*before.sequences, *(each for each in due if each < before.sequences[-1])})
    found, unreadable = await fetch(project, caller, due, wanted.limit)
    views = [
        messages.direct_message(project, record, message, caller.limit_bytes, redelivered=sequence in again)
        for sequence, record, message in found
    ]
    shown = list(fitting(views, caller.limit_bytes, cut=messages.shorten))
    whole = [each.sequence for each, view in zip(found, shown, strict=False) if not view.truncated]

    def change(known: ReadMarks) -> ReadMarks:
        passed = read_marks.show(told(project, caller, known, wanted), unreadable)
        return read_marks.offer(passed, caller.op, caller.incarnation, whole)

    marks = await change_marks(project, me, change)
    kept = read_marks.offer_of(marks, caller.op, caller.incarnation)
    if wanted.unread_only and before is None and kept is not None and not set(whole) <= set(kept.sequences):
        return None
    last = found[len(shown) - 1].sequence if shown else 0
    more = shown and next(_due(project, caller, marks, wanted, last), None) is not None
    return Inbox(
        messages=tuple(shown),
        unread=left(project, caller, marks),
        notice=NOTICE if shown else "",
        next_cursor=cursors.cursor(wanted.query(me), project.generation, last) if more else None,
    )


def waits(project: Project, caller: Caller, wanted: Wanted) -> bool:
    """Return whether there is anything for the read to show."""
    marks = told(project, caller, project.inboxes.marks(caller.agent), wanted)
    asked_again = read_marks.offer_of(marks, caller.op, caller.incarnation) is not None
    return asked_again or next(_due(project, caller, marks, wanted), None) is not None


def told(project: Project, caller: Caller, marks: ReadMarks, wanted: Wanted) -> ReadMarks:
    """Return `marks` with what the read's `ack` and cursor say of earlier pages."""
    trail = project.inboxes.trail(caller.agent)
    passed = read_marks.pass_by(marks, wanted.after, lambda sequence: wanted.matches(trail.label(sequence)))
    asking = [sequence for sequence in wanted.acked if trail.label(sequence).ack_required]
    return read_marks.ack(passed, wanted.acked, asking)


def left(project: Project, caller: Caller, marks: ReadMarks) -> int:
    """Return how many messages are unread once what was offered to the caller counts as shown."""
    trail, pending = project.inboxes.trail(caller.agent), read_marks.pending(marks, caller.incarnation)
    seen = sum(not read_marks.is_shown(marks, each) and trail.place(each) is not None for each in pending)
    return read_marks.unread_count(marks, trail.sequences) - seen


def _due(project: Project, caller: Caller, marks: ReadMarks, wanted: Wanted, after: int = 0) -> Iterator[int]:
    """Yield the messages that the read may show, oldest first, behind its cursor and behind `after`."""
    trail, complete = project.inboxes.trail(caller.agent), project.inboxes.intake.complete
    start = max(after, wanted.after)
    if wanted.unread_only:
        pending = read_marks.pending(marks, caller.incarnation)
        unread = read_marks.unread(marks, trail.sequences, start)
        known: Iterator[int] = (each for each in unread if each not in pending)
    else:
        known = iter(trail.sequences[trail.behind(start) :])
    return (each for each in known if each <= complete and wanted.matches(trail.label(each)))


async def fetch(project: Project, caller: Caller, due: list[int], limit: int) -> tuple[list[Found], list[int]]:
    """Return up to `limit` of the messages `due`, or as many as fill an answer, and those that cannot be read.

    One that is gone from the log is forgotten.
    """
    found: list[Found] = []
    unreadable: list[int] = []
    size, places = 0, iter(due)
    while size < caller.limit_bytes and (chunk := list(islice(places, min(ROUND_TRIP, limit - len(found))))):
        for sequence, copy in zip(chunk, await project.inbox_log.gather(chunk), strict=True):
            record = copy or await project.inbox_log.at(sequence)  # a copy may lag
            if record is None:
                project.inboxes.trail(caller.agent).forget(sequence)
            elif message := messages.read(project, record):
                found.append(Found(sequence, record, message))
                size += len(record.data)
            else:
                unreadable.append(sequence)
    return found, unreadable
