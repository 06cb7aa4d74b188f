"""Direct messages: send_direct_message, read_direct_messages, what `join` shows of them, and the fabric's own mail."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

import msgspec

from loominal.broker import subjects
from loominal.fabric.hub.abroad import elsewhere
from loominal.fabric.hub.abroad.naming import handle_abroad
from loominal.fabric.hub.abroad.publishing import is_public
from loominal.fabric.hub.abroad.questions import Take
from loominal.fabric.hub.agents.handles import ensure_handle
from loominal.fabric.hub.agents.views import status_of
from loominal.fabric.hub.agents.visibility import find
from loominal.fabric.hub.talk import messages
from loominal.fabric.hub.talk.inbox_pages import Wanted, left, page, told, waits
from loominal.fabric.hub.talk.marking import change_marks, flush
from loominal.fabric.hub.talk.posting import checked_part, checked_reply, checked_type, dedupe_of, post, sender_of
from loominal.fabric.operations.inbox import (
    NOTICE,
    DirectSent,
    Inbox,
    MessageView,
    ReadDirectMessages,
    Recipient,
    SendDirectMessage,
)
from loominal.fabric.protocol import POLL_SECONDS, encode
from loominal.model import cursor as cursors
from loominal.model import read_marks
from loominal.model.errors import BadCursor, InboxFull, NotFound
from loominal.model.message import INBOX_UNREAD, Kind, Message, MessageId, is_of, message_id
from loominal.model.names import AGENT_ID, shown
from loominal.model.read_marks import ReadMarks

if TYPE_CHECKING:
    from loominal.fabric.hub.caller import Caller
    from loominal.fabric.hub.project import Project
    from loominal.model.agent import AgentRecord

UNANSWERABLE = "the recipient is in another project and cannot answer you unless you register with visibility public"

__all__ = [
    "deliver",
    "flush",
    "make_room",
    "peek",
    "places",
    "read_direct_messages",
    "send_direct_message",
    "sender_named",
]


async def deliver(project: Project, recipient_id: str, message: Message, dedupe: str) -> int:
    """Store a message in an inbox and return its sequence; the same `dedupe` again returns the first one's.

    The recipient is woken. A full inbox does not refuse: whoever writes for an agent asks `make_room` first.
    Raises: QuotaExceeded, BrokerUnavailable.
    """
    subject = subjects.inbox(project.id, recipient_id)
    return (await post(project, project.inbox_log, project.inboxes, subject, message, dedupe)).sequence


async def send_direct_message(project: Project, caller: Caller, args: SendDirectMessage) -> DirectSent:
    """Store a message in another agent's inbox; the same op again is answered with the first one's id.

    One of another project gets it while it is public and both projects take part.
    Raises: NotFound (recipient, replyTo), InboxFull, QuotaExceeded, InvalidArgument.
    """
    recipient = find(project, caller, args.recipient_guid)
    if recipient is None:
        return await _send_abroad(project, caller, args)
    message_type, dedupe = checked_type(args.message_type), dedupe_of(caller)
    if project.inboxes.intake.sent(dedupe) is None:
        project.fullness.check("direct")
        await checked_reply(project, caller, args.reply_to)
        await make_room(project, recipient)
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


async def _send_abroad(project: Project, caller: Caller, args: SendDirectMessage) -> DirectSent:
    """Have the leader of the recipient's project store the message. Raises: as `send_direct_message`."""
    reply_is_known = is_of(args.reply_to, project.generation)
    if reply_is_known:
        await checked_reply(project, caller, args.reply_to)
    sender = await ensure_handle(project, caller)
    take = Take(
        asker=project.id,
        text=args.recipient_guid.strip().lower(),
        sender=sender_of(sender),
        title=project.title,
        message=msgspec.Raw(encode(args)),
        reply_is_known=reply_is_known,
        dedupe=dedupe_of(caller),
    )
    place, taken = await elsewhere.send(project, take)
    to = taken.recipient
    return DirectSent(
        id=taken.id,
        recipient=msgspec.structs.replace(to, handle=handle_abroad(project, to.handle, place)),
        note=None if is_public(sender) else UNANSWERABLE,
    )


async def read_direct_messages(project: Project, caller: Caller, args: ReadDirectMessages) -> Inbox:
    """Return a page of the caller's inbox, oldest first, waiting for one if asked to; or a part of one message.

    Raises: NotFound (sender, id, ack), BadCursor, InvalidArgument.
    """
    checked_part(args)
    wanted = await _wanted(project, caller, args)
    if args.id is not None:
        return await _one(project, caller, wanted, args.id, args.offset)
    if args.wait_seconds and not waits(project, caller, wanted):
        async with project.inboxes.box(caller.agent).turn:
            await change_marks(project, caller.agent, lambda marks: told(project, caller, marks, wanted))
        seconds = min(args.wait_seconds, POLL_SECONDS)
        await project.wakes.until(lambda: waits(project, caller, wanted), (caller.agent,), seconds)
    return await page(project, caller, wanted)


async def peek(project: Project, caller: Caller, limit: int) -> tuple[int, tuple[MessageView, ...]]:
    """Return how many more messages are unread and the oldest of them, offered to the caller like a read's."""
    inbox = await page(project, caller, Wanted(limit=limit))
    return inbox.unread, inbox.messages


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
        passed = told(project, caller, known, wanted)
        whole = [place.sequence] if mine and not view.truncated else []
        return read_marks.offer(passed, caller.op, caller.incarnation, whole)

    async with project.inboxes.box(caller.agent).turn:
        marks = await change_marks(project, caller.agent, change)
    return Inbox(messages=(view,), unread=left(project, caller, marks), notice=NOTICE)


async def _wanted(project: Project, caller: Caller, args: ReadDirectMessages) -> Wanted:
    """Return what the arguments ask for, all of them checked."""
    wanted = Wanted(
        message_type=args.message_type.strip() if args.message_type is not None else None,
        sender=await sender_named(project, caller, args.sender_guid) if args.sender_guid is not None else None,
        unread_only=args.unread_only,
        acked=places(project, caller, args.ack, "ack"),
        limit=args.limit,
    )
    if args.cursor is None:
        return wanted
    match cursors.position(args.cursor, wanted.query(caller.agent), project.generation):
        case (int(after),):
            return msgspec.structs.replace(wanted, after=after)
    raise BadCursor("this cursor was not made by Loominal")


def places(project: Project, caller: Caller, ids: Collection[str], what: str) -> tuple[int, ...]:
    """Return where the messages `ids` are in the caller's inbox. Raises: NotFound."""
    trail, found = project.inboxes.trail(caller.agent), []
    for text in ids:
        place = message_id(text, project.generation)
        if place.kind is not Kind.DIRECT or trail.place(place.sequence) is None:
            hint = f"{what} takes the ids of messages sent to you"
            raise NotFound(f"there is no message {shown(text)} in your inbox", hint)
        found.append(place.sequence)
    return tuple(found)


async def sender_named(project: Project, caller: Caller, text: str) -> str:
    """Return the guid of the agent that `text` names; of another project's also when that is public no more.

    Raises: NotFound.
    """
    if (record := find(project, caller, text)) is not None:
        return record.id
    plain = text.strip().lower()
    if AGENT_ID.fullmatch(plain) and any(label.sender == plain for label in project.inboxes.trail(caller.agent).labels):
        return plain
    return (await elsewhere.see(project, text)).agent.guid


async def make_room(project: Project, recipient: AgentRecord) -> None:
    """Refuse a message to an agent that does not read its inbox. Raises: InboxFull."""
    if project.inboxes.unread(recipient.id) < INBOX_UNREAD:
        return
    kept = await project.inbox_log.page(subjects.inbox(project.id, recipient.id), 1, 1)
    trail = project.inboxes.trail(recipient.id)
    trail.forget_below(kept[0].sequence if kept else project.inboxes.intake.complete + 1)  # what has run out of time
    if (unread := project.inboxes.unread(recipient.id)) >= INBOX_UNREAD:
        raise InboxFull(f"{recipient.handle} has {unread} unread messages and takes no more")
