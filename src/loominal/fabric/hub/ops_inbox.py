"""Direct messages: send_direct_message, read_direct_messages, what `join` shows of them, and the fabric's own mail."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from loominal.broker import subjects
from loominal.broker.log import Record
from loominal.fabric.hub import messages
from loominal.fabric.hub.handles import ensure_handle
from loominal.fabric.hub.marking import change_marks, flush
from loominal.fabric.hub.parts import fitting
from loominal.fabric.hub.posting import checked_reply, checked_type, dedupe_of, post, sender_of
from loominal.fabric.hub.trail import Label
from loominal.fabric.hub.views import status_of
from loominal.fabric.hub.visibility import resolve
from loominal.fabric.operations.inbox import (
    NOTICE,
    DirectSent,
    Inbox,
    MessageView,
    ReadDirectMessages,
    Recipient,
    SendDirectMessage,
)
from loominal.fabric.protocol import POLL_SECONDS
from loominal.model import cursor as cursors
from loominal.model import read_marks
from loominal.model.errors import BadCursor, InboxFull, NotFound
from loominal.model.message import INBOX_UNREAD, Kind, Message, MessageId, message_id
from loominal.model.names import shown
from loominal.model.read_marks import ReadMarks

if TYPE_CHECKING:
    from loominal.fabric.hub.caller import Caller
    from loominal.fabric.hub.project import Project
    from loominal.model.agent import AgentRecord

__all__ = ["deliver", "flush", "peek", "read_direct_messages", "send_direct_message"]

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


class Found(NamedTuple):
    """A message that was read from the log."""

    sequence: int
    record: Record
    message: Message


async def deliver(project: Project, recipient_id: str, message: Message, dedupe: str) -> int:
    """Store a message in an inbox and return its sequence; the same `dedupe` again returns the first one's.

    The recipient is woken. A full inbox does not refuse: whoever writes for an agent asks `_make_room` first.
    Raises: QuotaExceeded, BrokerUnavailable.
    """
    subject = subjects.inbox(project.id, recipient_id)
    return (await post(project, project.inbox_log, project.inboxes, subject, message, dedupe)).sequence


async def send_direct_message(project: Project, caller: Caller, args: SendDirectMessage) -> DirectSent:
    """Store a message in another agent's inbox; the same op again is answered with the first one's id.

    Raises: NotFound (recipient, replyTo), InboxFull, QuotaExceeded, InvalidArgument.
    """
    recipient = resolve(project, caller, args.recipient_guid)
    message_type, dedupe = checked_type(args.message_type), dedupe_of(caller)
    if project.inboxes.intake.sent(dedupe) is None:
        project.fullness.check("direct")
        checked_reply(project, caller, args.reply_to, recipient.id)
        await _make_room(project, recipient)
    sender = await ensure_handle(project, caller)
    message = Message(
        sender=sender_of(sender),
        text=args.message,
        message_type=message_type,
        reply_to=args.reply_to or "",
        importance=args.importance,
        metadata=args.metadata,
        ack_required=args.ack_required,
    )
    sequence = await deliver(project, recipient.id, message, dedupe)
    return DirectSent(
        id=str(MessageId(Kind.DIRECT, project.generation, sequence)),
        recipient=Recipient(guid=recipient.id, handle=recipient.handle, status=status_of(project, recipient)),
    )


async def read_direct_messages(project: Project, caller: Caller, args: ReadDirectMessages) -> Inbox:
    """Return a page of the caller's inbox, oldest first, waiting for one if asked to; or a part of one message.

    Raises: NotFound (sender, id, ack), BadCursor, InvalidArgument.
    """
    wanted = _wanted(project, caller, args)
    if args.id is not None:
        return await _one(project, caller, wanted, args.id, args.offset)
    if args.wait_seconds and not _any(project, caller, wanted):
        async with project.inboxes.box(caller.agent).turn:
            await change_marks(project, caller.agent, lambda marks: _told(project, caller, marks, wanted))
        seconds = min(args.wait_seconds, POLL_SECONDS)
        await project.wakes.until(lambda: _any(project, caller, wanted), (caller.agent,), seconds)
    return await _page(project, caller, wanted, _query(caller, wanted))


async def peek(project: Project, caller: Caller, limit: int) -> tuple[int, tuple[MessageView, ...]]:
    """Return how many more messages are unread and the oldest of them, offered to the caller like a read's."""
    wanted = Wanted(limit=limit)
    inbox = await _page(project, caller, wanted, _query(caller, wanted))
    return inbox.unread, inbox.messages


async def _page(project: Project, caller: Caller, wanted: Wanted, query: str) -> Inbox:
    """Return the next page and mark what it shows whole as offered. One read of an inbox at a time."""
    me, inboxes = caller.agent, project.inboxes
    async with inboxes.box(me).turn:
        marks = _told(project, caller, inboxes.marks(me), wanted)
        before = read_marks.offer_of(marks, caller.op, caller.incarnation)
        again = before.again if before else read_marks.offered_elsewhere(marks, caller.incarnation)
        due = iter(before.sequences) if before else _due(project, caller, marks, wanted)
        found, unreadable = await _fetch(project, caller, due, wanted.limit)
        views = [
            messages.direct_message(project, record, message, caller.limit_bytes, redelivered=sequence in again)
            for sequence, record, message in found
        ]
        page = list(fitting(views, caller.limit_bytes, cut=messages.shorten))
        whole = [each.sequence for each, view in zip(found, page, strict=False) if not view.truncated]

        def change(known: ReadMarks) -> ReadMarks:
            told = read_marks.show(_told(project, caller, known, wanted), unreadable)
            return read_marks.offer(told, caller.op, caller.incarnation, whole)

        marks = await change_marks(project, me, change)
        last = found[len(page) - 1].sequence if page else 0
        more = page and next(_due(project, caller, marks, wanted, last), None) is not None
        return Inbox(
            messages=tuple(page),
            unread=_left(project, caller, marks),
            notice=NOTICE if page else "",
            next_cursor=cursors.cursor(query, project.generation, last) if more else None,
        )


async def _one(project: Project, caller: Caller, wanted: Wanted, text: str, offset: int) -> Inbox:
    """Return a part of one message that the caller got or sent; with the last part the message counts as offered."""
    place = message_id(text, project.generation)
    record = await project.inbox_log.at(place.sequence) if place.kind is Kind.DIRECT else None
    message = messages.read(project, record) if record else None
    mine = record is not None and subjects.last_token(record.subject) == caller.agent
    if record is None or message is None or not (mine or message.sender.guid == caller.agent):
        raise NotFound(f"there is no message {shown(text)} in your inbox")
    view = messages.direct_message(project, record, message, caller.limit_bytes)
    view = messages.from_offset(view, offset, caller.limit_bytes)

    def change(known: ReadMarks) -> ReadMarks:
        told = _told(project, caller, known, wanted)
        whole = [place.sequence] if mine and not view.truncated else []
        return read_marks.offer(told, caller.op, caller.incarnation, whole)

    async with project.inboxes.box(caller.agent).turn:
        marks = await change_marks(project, caller.agent, change)
    return Inbox(messages=(view,), unread=_left(project, caller, marks), notice=NOTICE)


def _wanted(project: Project, caller: Caller, args: ReadDirectMessages) -> Wanted:
    """Return what the arguments ask for, all of them checked."""
    trail, acked = project.inboxes.trail(caller.agent), []
    for text in args.ack:
        place = message_id(text, project.generation)
        if place.kind is not Kind.DIRECT or trail.place(place.sequence) is None:
            raise NotFound(
                f"there is no message {shown(text)} in your inbox", "ack takes the ids of messages sent to you"
            )
        acked.append(place.sequence)
    wanted = Wanted(
        message_type=args.message_type.strip() if args.message_type is not None else None,
        sender=resolve(project, caller, args.sender_guid).id if args.sender_guid is not None else None,
        unread_only=args.unread_only,
        acked=tuple(acked),
        limit=args.limit,
    )
    if args.cursor is None:
        return wanted
    match cursors.position(args.cursor, _query(caller, wanted), project.generation):
        case (int(after),):
            return msgspec.structs.replace(wanted, after=after)
    raise BadCursor("this cursor was not made by Loominal")


def _told(project: Project, caller: Caller, marks: ReadMarks, wanted: Wanted) -> ReadMarks:
    """Return `marks` with what the read's `ack` and cursor say of earlier pages."""
    trail = project.inboxes.trail(caller.agent)
    passed = read_marks.pass_by(marks, wanted.after, lambda sequence: wanted.matches(trail.label(sequence)))
    asking = [sequence for sequence in wanted.acked if trail.label(sequence).ack_required]
    return read_marks.ack(passed, wanted.acked, asking)


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


def _any(project: Project, caller: Caller, wanted: Wanted) -> bool:
    marks = _told(project, caller, project.inboxes.marks(caller.agent), wanted)
    asked_again = read_marks.offer_of(marks, caller.op, caller.incarnation) is not None
    return asked_again or next(_due(project, caller, marks, wanted), None) is not None


def _left(project: Project, caller: Caller, marks: ReadMarks) -> int:
    """Return how many messages are unread once what was offered to the caller counts as shown."""
    unread = read_marks.unread_count(marks, project.inboxes.trail(caller.agent).sequences)
    return unread - len(read_marks.pending(marks, caller.incarnation))


async def _fetch(project: Project, caller: Caller, due: Iterator[int], limit: int) -> tuple[list[Found], list[int]]:
    """Return up to `limit` of the messages `due`, or as many as fill an answer, and those that cannot be read.

    One that is gone from the log is forgotten.
    """
    found: list[Found] = []
    unreadable: list[int] = []
    size = 0
    trail, places = (
        project.inboxes.trail(caller.agent),
        iter(list(islice(due, limit + SPARE))),
    )  # it may change meanwhile
    while size < caller.limit_bytes and (chunk := list(islice(places, min(ROUND_TRIP, limit - len(found))))):
        for sequence, copy in zip(chunk, await project.inbox_log.gather(chunk), strict=True):
            record = copy or await project.inbox_log.at(sequence)  # a copy may lag
            if record is None:
                trail.forget(sequence)
            elif message := messages.read(project, record):
                found.append(Found(sequence, record, message))
                size += len(record.data)
            else:
                unreadable.append(sequence)
    return found, unreadable


async def _make_room(project: Project, recipient: AgentRecord) -> None:
    """Refuse a message to an agent that does not read its inbox. Raises: InboxFull."""
    if project.inboxes.unread(recipient.id) < INBOX_UNREAD:
        return
    kept = await project.inbox_log.page(subjects.inbox(project.id, recipient.id), 1, 1)
    trail = project.inboxes.trail(recipient.id)
    trail.forget_below(kept[0].sequence if kept else project.inboxes.intake.complete + 1)  # what has run out of time
    if (unread := project.inboxes.unread(recipient.id)) >= INBOX_UNREAD:
        raise InboxFull(f"{recipient.handle} has {unread} unread messages and takes no more")


def _query(caller: Caller, wanted: Wanted) -> str:
    return f"inbox {caller.agent} {wanted.unread_only} {wanted.sender} {wanted.message_type}"
