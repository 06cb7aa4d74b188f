"""Posting: a message becomes a record of its log, once for each op, and is in memory when the call returns."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple, Protocol

from loominal.broker.log import Log, Record
from loominal.fabric.hub.talk.intake import DEDUPE, Intake
from loominal.fabric.hub.talk.trail import headers, sent_at
from loominal.model.errors import InvalidArgument, NotFound
from loominal.model.message import WORK_RESULT, Kind, Message, Sender, message_id
from loominal.model.names import has_control, shown
from loominal.model.record import encode

if TYPE_CHECKING:
    from loominal.fabric.hub.caller import Caller
    from loominal.fabric.hub.project import Project
    from loominal.fabric.operations.channels import ReadMessages
    from loominal.fabric.operations.inbox import ReadDirectMessages
    from loominal.model.agent import AgentRecord

PERSON = "person"  # the agent type of people
TYPE_CHARACTERS = 100


class Shelf(Protocol):
    """Where posted messages are remembered: the channels or the inboxes."""

    intake: Intake

    def written(self, record: Record) -> None:
        """Take a message that this hub has just stored."""


class Posted(NamedTuple):
    """Where a message is, and when it was sent; a `fresh` one was stored by this very call."""

    sequence: int
    at: datetime
    fresh: bool = False


async def post(project: Project, log: Log, shelf: Shelf, subject: str, message: Message, dedupe: str) -> Posted:
    """Store `message` unless `dedupe` was stored before, and return where it is, with the first one's time.

    Raises: QuotaExceeded, TooLarge; BrokerUnavailable: it may be stored, so post again with the same `dedupe`.
    """
    sequence = shelf.intake.sent(dedupe)
    if sequence is None:
        at = project.clock.now().replace(microsecond=0)
        marked = headers(message, at)
        stored = await log.append(subject, encode(message), dedupe=dedupe, headers=marked)
        if not stored.duplicate:
            kept = marked | {DEDUPE: dedupe}
            shelf.written(Record(subject=subject, sequence=stored.sequence, data=b"", headers=kept, stored_at=at))
            project.tally.messages[Kind.CHANNEL if log is project.channel_log else Kind.DIRECT] += 1
            await shelf.intake.reach(stored.sequence)
            return Posted(stored.sequence, at, fresh=True)
        sequence = stored.sequence
    record = await log.at(sequence)
    if record is None:  # dropped since, by the log's limits
        return Posted(sequence, project.clock.now())
    shelf.written(record)
    await shelf.intake.reach(sequence)
    return Posted(sequence, sent_at(record))


def dedupe_of(caller: Caller) -> str:
    """Return what makes the caller's send the same one when it is asked again."""
    return f"{caller.agent}:{caller.op}"


def sender_of(record: AgentRecord) -> Sender:
    """Return an agent as the sender of a message, with the handle it has now."""
    return Sender(guid=record.id, handle=record.handle, person=record.agent_type == PERSON)


def checked_type(text: str) -> str:
    """Return `text` if a message may be of that type: it stands in a header of the record. Raises: InvalidArgument."""
    plain = text.strip()
    if not 1 <= len(plain) <= TYPE_CHARACTERS or has_control(plain):
        raise InvalidArgument(
            f"messageType {shown(text)} must be 1-{TYPE_CHARACTERS} characters without control characters",
            "leave it out for 'text'",
        )
    if plain == WORK_RESULT:
        raise InvalidArgument(f"messageType {WORK_RESULT!r} is the fabric's own", "use another one, such as 'text'")
    return plain


def checked_part(args: ReadMessages | ReadDirectMessages) -> None:
    """Refuse a read that asks for a part of no message, or for one message and for a page. Raises: InvalidArgument."""
    if args.offset and args.id is None:
        raise InvalidArgument(f"offset {args.offset} of which message?", "name the message that is read on, as id")
    if args.id is not None and args.cursor is not None:
        raise InvalidArgument("id asks for one message and cursor for a page", "give one of them")


async def checked_reply(project: Project, caller: Caller, text: str | None) -> str:
    """Return `text` if it names a message that the caller may know: of a channel, in its inbox, or sent by it.

    Raises: NotFound.
    """
    if not text:
        return ""
    place = message_id(text, project.generation)
    if place.kind is Kind.CHANNEL:
        known = project.channels.holds(place.sequence)
    else:
        known = project.inboxes.trail(caller.agent).place(place.sequence) is not None
        known = known or await sender_in(project, place.sequence) == caller.agent
    if not known:
        raise NotFound(f"there is no message {shown(text)} to reply to", "use an id as a read or a send returned it")
    return text


async def sender_in(project: Project, sequence: int) -> str:
    """Return who sent the direct message at `sequence`, "" if there is none."""
    record = await project.inbox_log.at(sequence)
    return project.inboxes.intake.label(record).sender if record else ""
