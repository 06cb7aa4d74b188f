"""Channels for everybody: list_channels, send_message, read_messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from loominal.broker import subjects
from loominal.broker.bucket import Entry
from loominal.fabric.hub.agents.handles import ensure_handle
from loominal.fabric.hub.parts import entry_bytes, fitting
from loominal.fabric.hub.talk import messages
from loominal.fabric.hub.talk.channels import MOST_CHANNELS
from loominal.fabric.hub.talk.posting import checked_part, checked_reply, dedupe_of, post, sender_of
from loominal.fabric.hub.talk.recent import Shown
from loominal.fabric.hub.talk.trail import sent_at
from loominal.fabric.operations.channels import (
    ChannelMessage,
    Channels,
    ChannelView,
    History,
    ListChannels,
    MessageSent,
    ReadMessages,
    SendMessage,
)
from loominal.model import cursor as cursors
from loominal.model import names
from loominal.model.errors import BadCursor, Conflict, NotFound, QuotaExceeded, UnknownChannel
from loominal.model.message import FIRST_CHANNELS, ChannelRecord, Kind, Message, MessageId, Sender, message_id
from loominal.model.record import encode
from loominal.model.times import instant

if TYPE_CHECKING:
    from loominal.fabric.hub.caller import Caller
    from loominal.fabric.hub.project import Project

ROUND_TRIP = 64  # messages of one read from the log: 64 of 200 KB are what a hub may hold for one request
SENDER_BYTES = 45  # of an entry of `senders`, beside the handle
OLDER, NEWER = "older", "newer"  # which way a cursor goes


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """What one read may show: places of the channel's trail, and from which end on."""

    start: int
    end: int
    way: str  # OLDER: the newest first
    seen: int  # sequence behind which "later" begins for this reader
    floor: int = 0  # sequence of the first message that `since` lets through
    since: str = ""  # as the reader wrote it


async def list_channels(project: Project, caller: Caller, _args: ListChannels) -> Channels:
    """Return the project's channels: those of every project, then the others, the liveliest first."""
    views = [_channel_view(project, name) for name in project.channels.names()]
    known, made = views[: len(FIRST_CHANNELS)], views[len(FIRST_CHANNELS) :]
    made.sort(key=lambda view: view.last_at.timestamp() if view.last_at else 0.0, reverse=True)
    return Channels(channels=tuple(fitting(known + made, caller.limit_bytes)), total=len(views))


async def send_message(project: Project, caller: Caller, args: SendMessage) -> MessageSent:
    """Store a message in a channel; the same op again is answered with the first one's place and time.

    Raises: UnknownChannel, NotFound (replyTo), QuotaExceeded.
    """
    name, dedupe = _name(args.channel), dedupe_of(caller)
    if project.channels.intake.sent(dedupe) is None:
        project.fullness.check("channel")
        if not args.create:
            _known(project, name)
        await checked_reply(project, caller, args.reply_to)
    sender = await _sender(project, caller)
    if not project.channels.exists(name):
        await _create(project, caller, name)
    message = Message(
        sender=sender,
        text=args.message,
        reply_to=args.reply_to or "",
        importance=args.importance,
        metadata=args.metadata,
    )
    subject = subjects.channel(project.id, name)
    posted = await post(project, project.channel_log, project.channels, subject, message, dedupe)
    if posted.fresh:
        messages.channel_message(project, posted.sequence, posted.at, message, caller.limit_bytes)
    place = MessageId(Kind.CHANNEL, project.generation, posted.sequence)
    return MessageSent(id=str(place), channel=name, timestamp=posted.at)


async def _sender(project: Project, caller: Caller) -> Sender:
    """Return as whom the caller is stored; who asks over REST is shown by an id that no handle can be."""
    if caller.over_rest:
        return Sender(guid=caller.agent, handle=caller.agent)
    return sender_of(await ensure_handle(project, caller))


async def read_messages(project: Project, caller: Caller, args: ReadMessages) -> History:
    """Return a page of a channel, oldest first: the newest, those before a cursor, or those after one.

    Raises: UnknownChannel, NotFound (id), BadCursor, InvalidArgument.
    """
    name = _known(project, _name(args.channel))
    checked_part(args)
    if args.id is not None:
        return await _one(project, caller, name, args.id, args.offset)
    span = _span(project, name, args)
    stored, reached = await _fetch(project, name, span, args.limit, caller.limit_bytes)
    found = [_named(project, each) for each in stored]
    sizes = {each.view.id: each.size for each in found}

    def weigh(view: ChannelMessage) -> int:
        size = entry_bytes(view) if view.truncated else sizes[view.id]  # known since it was sent or first read
        return size + len(view.handle) + SENDER_BYTES

    views = (each.view for each in found)
    page = list(fitting(views, caller.limit_bytes, cut=messages.shorten, weigh=weigh))
    shown = found[: len(page)]
    if len(shown) < len(found):
        reached = shown[-1].sequence
    return History(
        messages=tuple(reversed(page) if span.way == OLDER else page),
        senders={each.view.handle: each.sender for each in shown},
        next_cursor=_older(project, name, span, reached),
        new_cursor=_newer(project, name, span, reached),
    )


async def _one(project: Project, caller: Caller, name: str, text: str, offset: int) -> History:
    place = message_id(text, project.generation)
    known = place.kind is Kind.CHANNEL and project.channels.trail(name).place(place.sequence) is not None
    record = await project.channel_log.at(place.sequence) if known else None
    message = messages.read(project, record) if record else None
    if record is None or message is None:
        raise NotFound(f"there is no message {names.shown(text)} in channel {name!r}")
    stored = messages.channel_message(project, record.sequence, sent_at(record), message, caller.limit_bytes)
    shown = _named(project, stored)
    page = messages.from_offset(shown.view, offset, caller.limit_bytes)
    return History(messages=(page,), senders={page.handle: shown.sender})


def _named(project: Project, shown: Shown) -> Shown:
    """Return a message under the handle that its sender has now."""
    handle, then = messages.handle_now(project, shown.sender, shown.view.handle), shown.view.handle
    if handle == then:
        return shown
    view = msgspec.structs.replace(shown.view, handle=handle)
    return shown._replace(view=view, size=shown.size + len(handle) - len(then))


def _name(text: str) -> str:
    return names.subject_token(text.removeprefix("#"), "channel")


def _known(project: Project, name: str) -> str:
    if not project.channels.exists(name):
        likely = names.meant(name, project.channels.names(), "channels")
        raise UnknownChannel(f"there is no channel {name!r}", f"{UnknownChannel.hint}; {likely}")
    return name


async def _create(project: Project, caller: Caller, name: str) -> None:
    """Make a channel; one that somebody else makes in this moment is as good."""
    if len(project.channels.names()) >= MOST_CHANNELS:
        raise QuotaExceeded(f"a project has at most {MOST_CHANNELS} channels", "use one that list_channels shows")
    key = f"chan.{name}"
    value = encode(ChannelRecord(name=name, created_by=caller.agent, created_at=project.clock.now()))
    try:
        revision = await project.bucket.write(key, value, revision=project.channels.revision(name))
    except Conflict:
        return
    project.channels.apply_entry(Entry(key=key, value=value, revision=revision))


def _channel_view(project: Project, name: str) -> ChannelView:
    trail = project.channels.trail(name)
    return ChannelView(
        name=name,
        description=project.channels.description(name),
        messages=len(trail.sequences),
        last_at=trail.at(-1) if trail.sequences else None,
    )


def _span(project: Project, name: str, args: ReadMessages) -> Span:
    """Return what the arguments ask for. Nothing behind a gap is shown: a cursor would pass over what is missing."""
    trail, complete = project.channels.trail(name), project.channels.intake.complete
    start, end, floor = 0, trail.behind(complete), 0
    place = cursors.position(args.cursor, _query(name), project.generation) if args.cursor is not None else ()
    if args.since is not None:
        start = trail.since(instant(args.since, project.clock.now(), past=True))
        floor = trail.sequences[start] if start < end else complete + 1
    match place:
        case ():
            return Span(start=start, end=end, way=OLDER, seen=complete, floor=floor, since=args.since or "")
        case (way, int(before), int(seen), int(first), str(since)) if way == OLDER and args.since in (None, since):
            start, end = trail.behind(first - 1), trail.behind(before - 1)
            return Span(start=start, end=end, way=OLDER, seen=seen, floor=first, since=since)
        case (way, int(seen)) if way == NEWER:
            return Span(start=max(start, trail.behind(seen)), end=end, way=NEWER, seen=seen)
    raise BadCursor("this cursor belongs to a read with another `since`")


async def _fetch(project: Project, name: str, span: Span, limit: int, limit_bytes: int) -> tuple[list[Shown], int]:
    """Return the messages to show, in the span's order, and the sequence up to which it was walked (0: not at all)."""
    trail = project.channels.trail(name)
    older = span.way == OLDER
    first, end = (
        (max(span.start, span.end - limit), span.end) if older else (span.start, min(span.end, span.start + limit))
    )
    wanted = list(trail.sequences[first:end])
    if older:
        wanted.reverse()
    found: list[Shown] = []
    reached = size = 0
    for start in range(0, len(wanted), ROUND_TRIP):
        chunk = wanted[start : start + ROUND_TRIP]
        known = {sequence: project.channels.recent.get(sequence) for sequence in chunk}
        if None in known.values():
            known |= await _read(project, name, chunk, limit_bytes)
        shown = [each for sequence in chunk if (each := known[sequence])]
        found += shown
        size += sum(each.size for each in shown)
        reached = chunk[-1]
        if size >= limit_bytes:
            break
    return found, reached


async def _read(project: Project, name: str, chunk: list[int], limit_bytes: int) -> dict[int, Shown | None]:
    """Return the messages of `chunk`, neighbours in a channel, as the log has them; None for one that is unreadable.

    One that is gone from the log is forgotten.
    """
    page = await project.channel_log.page(subjects.channel(project.id, name), min(chunk), len(chunk))
    read = {record.sequence: record for record in page}
    found: dict[int, Shown | None] = dict.fromkeys(chunk)
    for sequence in chunk:
        record = read.get(sequence) or await project.channel_log.at(sequence)  # a copy may lag
        if record is None:
            project.channels.trail(name).forget(sequence)
        elif message := messages.read(project, record):
            found[sequence] = messages.channel_message(project, sequence, sent_at(record), message, limit_bytes)
    return found


def _older(project: Project, name: str, span: Span, reached: int) -> str | None:
    trail = project.channels.trail(name)
    if span.way == NEWER or not reached or trail.behind(reached - 1) <= trail.behind(span.floor - 1):
        return None
    position = (OLDER, reached, span.seen, span.floor, span.since)
    return cursors.cursor(_query(name), project.generation, *position)


def _newer(project: Project, name: str, span: Span, reached: int) -> str:
    seen = span.seen if span.way == OLDER or not reached else reached
    return cursors.cursor(_query(name), project.generation, NEWER, seen)


def _query(name: str) -> str:
    return f"channel {name}"
