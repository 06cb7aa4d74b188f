"""Stored messages as answers show them: whole, or in parts when they are longer than an answer may be."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, TypeVar

from msgspec.structs import replace

from loominal.broker.log import Record
from loominal.fabric.hub.parts import LEAST_BYTES, METADATA_SHARE, entry_bytes, part, readable, room_for_entries
from loominal.fabric.hub.talk.recent import Shown
from loominal.fabric.hub.talk.trail import sent_at
from loominal.fabric.operations.channels import ChannelMessage
from loominal.fabric.operations.inbox import MessageView, SenderView
from loominal.model.errors import CorruptRecord, InvalidArgument
from loominal.model.message import Kind, Message, MessageId
from loominal.model.record import decode

if TYPE_CHECKING:
    from loominal.fabric.hub.project import Project

SHORT_BYTES = LEAST_BYTES // METADATA_SHARE  # metadata in so short an entry stands in it whatever the limit

M = TypeVar("M", ChannelMessage, MessageView)


def read(project: Project, record: Record) -> Message | None:
    """Return the message in `record`; None if it cannot be read, which is noted in `project.corrupt`."""
    try:
        return decode(Message, record.data).value
    except CorruptRecord as error:
        project.note_corrupt(f"{record.subject} {record.sequence}", error)
        return None


def channel_message(project: Project, sequence: int, at: datetime, message: Message, limit_bytes: int) -> Shown:
    """Return a channel message with its whole text, for an answer of `limit_bytes`, and keep it for other readers.

    `at` is when it was sent, in whole seconds.
    """
    text, metadata = readable(message.text, message.metadata, limit_bytes)
    view = ChannelMessage(
        id=str(MessageId(Kind.CHANNEL, project.generation, sequence)),
        handle=message.sender.handle,
        message=text,
        timestamp=at,
        reply_to=message.reply_to or None,
        importance=message.importance,
        metadata=metadata,
    )
    shown = Shown(sequence, view, message.sender.guid, entry_bytes(view))
    if not message.metadata or shown.size <= SHORT_BYTES:
        project.channels.recent.keep(shown)
    return shown


def direct_message(
    project: Project, record: Record, message: Message, limit_bytes: int, *, redelivered: bool = False
) -> MessageView:
    """Return a direct message with its whole text, for an answer of `limit_bytes`."""
    text, metadata = readable(message.text, message.metadata, limit_bytes)
    sender = message.sender
    return MessageView(
        id=str(MessageId(Kind.DIRECT, project.generation, record.sequence)),
        sender=SenderView(
            guid=sender.guid,
            handle=f"{sender.handle}@{sender.project}"
            if sender.project
            else handle_now(project, sender.guid, sender.handle),
            person=sender.person,
        ),
        message=text,
        message_type=message.message_type,
        timestamp=sent_at(record),
        reply_to=message.reply_to or None,
        metadata=metadata,
        importance=message.importance,
        ack_required=message.ack_required,
        redelivered=redelivered,
    )


def handle_now(project: Project, sender: str, then: str) -> str:
    """Return the handle by which a message's sender is found; the one it had `then` may be another agent's by now."""
    record = project.agents.get(sender)
    return record.handle if record and record.handle else then


def shorten(view: M, room: int) -> M:
    """Return `view` with the first part of its text, so that it takes about `room` bytes."""
    return _from(view, 0, room)


def from_offset(view: M, offset: int, limit_bytes: int) -> M:
    """Return `view` with the part of its text that begins at `offset` and fits into an answer of `limit_bytes`.

    Raises: InvalidArgument if the text ends before `offset`.
    """
    if offset > len(view.message):
        raise InvalidArgument(
            f"offset {offset} lies behind the message's end", f"it has {len(view.message)} characters"
        )
    room = room_for_entries(limit_bytes)
    return view if offset == 0 and entry_bytes(view) <= room else _from(view, offset, room)


def _from(view: M, offset: int, room: int) -> M:
    whole = len(view.message)
    around = entry_bytes(replace(view, message="", truncated=True, chars=whole, next_offset=whole))
    piece = part(view.message, offset, room - around)
    return replace(
        view,
        message=piece.text,
        truncated=piece.truncated,
        chars=piece.chars,
        next_offset=piece.end if piece.truncated else 0,
    )
