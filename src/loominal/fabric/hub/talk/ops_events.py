"""wait_for_events: one parked request instead of asking again and again. It says where to look, in our own words."""

from __future__ import annotations

import heapq
import zlib
from collections.abc import Collection, Hashable, Iterable, Iterator
from typing import TYPE_CHECKING, TypeVar

import msgspec
from msgspec.structs import replace

from loominal.fabric.hub.wakes import ANY_CHANNEL, ANY_WORK
from loominal.fabric.hub.work.views import cancels_for, claimable, ready_count
from loominal.fabric.operations.events import EventKind, Events, EventView, WaitForEvents
from loominal.fabric.protocol import POLL_SECONDS
from loominal.model import cursor as cursors
from loominal.model import read_marks
from loominal.model.errors import BadCursor
from loominal.model.message import WORK_RESULT, Kind, MessageId, Receipt
from loominal.model.times import rfc3339

if TYPE_CHECKING:
    from datetime import datetime

    from loominal.fabric.hub.caller import Caller
    from loominal.fabric.hub.project import Project
    from loominal.fabric.hub.talk.trail import Trail

MOST_EVENTS = 20  # of one answer; what is left out comes with the next
ITEMS_COMPARED = 50  # of the ready items, to tell new ones from those announced before

K = TypeVar("K", bound=Hashable)


class Heard(msgspec.Struct, frozen=True, kw_only=True):
    """What a chain of waits was told so far: places in the logs, and what was pending (as hashes)."""

    inbox: int = 0
    channels: int
    receipts: int
    work: frozenset[str] = frozenset()
    cancels: frozenset[str] = frozenset()


async def wait_for_events(project: Project, caller: Caller, args: WaitForEvents) -> Events:
    """Return what happened behind the cursor as soon as there is something, and nothing when the time is over.

    Without a cursor, mail, work and cancel requests that are pending count; channels and receipts begin now.
    Raises: BadCursor.
    """
    began = project.clock.monotonic()
    watch = _Watch(project, caller, args.kinds or WaitForEvents().kinds, _heard(project, caller, args.cursor))
    seconds = min(args.wait_seconds, POLL_SECONDS)
    await project.wakes.until(watch.look, (caller.agent, *watch.keys()), seconds)
    return Events(
        events=tuple(watch.events),
        cursor=_cursor(project, caller, watch.heard),
        unread=project.inboxes.unread(caller.agent),
        ready=ready_count(project, caller.agent),
        waited_seconds=round(project.clock.monotonic() - began, 3),
    )


class _Watch:
    """One wait: what was heard before, and the events that were found."""

    def __init__(self, project: Project, caller: Caller, kinds: Collection[EventKind], heard: Heard) -> None:
        self.heard = heard
        self.events: list[EventView] = []
        self._project = project
        self._caller = caller
        self._kinds = kinds

    def look(self) -> bool:
        """Return whether there are events; what has stopped being pending is news when it comes again."""
        looks = {
            EventKind.CANCEL: self._cancels,
            EventKind.MESSAGE: self._messages,
            EventKind.WORK: self._work,
            EventKind.RECEIPT: self._receipts,
            EventKind.CHANNEL: self._channels,
        }
        for kind, look in looks.items():
            if kind in self._kinds and len(self.events) < MOST_EVENTS:
                look()
        return bool(self.events)

    def keys(self) -> list[str]:
        """Return what, beside the agent's own affairs, may bring an event."""
        shared = {EventKind.CHANNEL: ANY_CHANNEL, EventKind.WORK: ANY_WORK}
        return [key for kind, key in shared.items() if kind in self._kinds]

    def _cancels(self) -> None:
        pending = cancels_for(self._project, self._caller.agent)
        told = {each for each in pending if _mark(each) in self.heard.cancels}
        new = [each for each in pending if each not in told][: self._room()]
        for item in new:
            asked_at = self._project.book.find(item).item.cancel_asked_at
            self._add(EventKind.CANCEL, item, "you are asked to stop this work item", asked_at)
        self.heard = replace(self.heard, cancels=frozenset(map(_mark, told.union(new))) | self._end_of_agent())

    def _end_of_agent(self) -> frozenset[str]:
        """Tell that the agent itself is to end, if it is, and return the mark of that."""
        drain = self._project.drains.get(self._caller.agent)
        if drain is None:
            return frozenset()
        marks = frozenset({_mark(f"ends {drain.until}")})
        if not marks <= self.heard.cancels and self._room():
            what = f"you are to end by {rfc3339(drain.until)}: end what you hold, or release it, and claim nothing more"
            self._add(EventKind.CANCEL, "", what, None)
        return marks

    def _messages(self) -> None:
        project, me = self._project, self._caller.agent
        trail, marks, complete = project.inboxes.trail(me), project.inboxes.marks(me), project.inboxes.intake.complete
        offered = read_marks.pending(marks, self._caller.incarnation)
        rows = (
            (sequence, (label.sender, label.message_type == WORK_RESULT))
            for sequence in read_marks.unread(marks, trail.sequences, self.heard.inbox)
            if sequence <= complete and sequence not in offered and (label := trail.label(sequence))
        )
        groups, last, _ = _grouped(rows, self._room(), self.heard.inbox)
        for (sender, is_result), places in groups.items():
            what = f"message from {project.agents.shown(sender)}"
            if is_result:
                what = "end of a work item that you offered"
            self._add_message(EventKind.MESSAGE, Kind.DIRECT, places, what, trail)
        self.heard = replace(self.heard, inbox=last)

    def _work(self) -> None:
        ready = claimable(self._project, self._caller.agent, ITEMS_COMPARED)
        new = [each for each in ready if _mark(each) not in self.heard.work]
        if new:
            items = "a work item is" if len(new) == 1 else f"{len(new)} work items are"
            self._add(EventKind.WORK, new[0], f"{items} ready for you to claim", self._project.clock.now())
        self.heard = replace(self.heard, work=frozenset(map(_mark, ready)))

    def _receipts(self) -> None:
        told = self._project.inboxes.receipts.after(self._caller.agent, self.heard.receipts)
        by_position = {each.position: each for each in told}
        rows = ((each.position, (each.reader, each.receipt)) for each in told)
        groups, last, _ = _grouped(rows, self._room(), self.heard.receipts)
        for (reader, receipt), places in groups.items():
            deed = "has acknowledged" if receipt is Receipt.ACKED else "was shown"
            messages = "your message" if len(places) == 1 else f"{len(places)} of your messages"
            newest = by_position[places[-1]]
            place = MessageId(Kind.DIRECT, newest.generation or self._project.generation, newest.sequence)
            what = f"{self._project.agents.shown(reader)} {deed} {messages}"
            self._add(EventKind.RECEIPT, str(place), what, newest.at)
        self.heard = replace(self.heard, receipts=last)

    def _channels(self) -> None:
        channels = self._project.channels
        complete = channels.intake.complete
        if complete <= self.heard.channels:
            return
        rows = heapq.merge(*(self._of_others(name, complete) for name in channels.names()))
        groups, last, cut = _grouped(rows, self._room(), self.heard.channels)
        for name, places in groups.items():
            self._add_message(EventKind.CHANNEL, Kind.CHANNEL, places, f"message in #{name}", channels.trail(name))
        self.heard = replace(self.heard, channels=last if cut else complete)

    def _of_others(self, name: str, complete: int) -> Iterator[tuple[int, str]]:
        trail = self._project.channels.trail(name)
        for place in range(trail.behind(self.heard.channels), trail.behind(complete)):
            if trail.labels[place].sender != self._caller.agent:
                yield trail.sequences[place], name

    def _add_message(self, kind: EventKind, log: Kind, places: list[int], what: str, trail: Trail) -> None:
        summary = what if len(places) == 1 else f"{len(places)} x {what}"
        newest = trail.place(places[-1])
        sent_at = trail.at(newest) if newest is not None else None
        self._add(kind, str(MessageId(log, self._project.generation, places[-1])), summary, sent_at)

    def _add(self, kind: EventKind, subject: str, summary: str, at: datetime | None) -> None:
        self.events.append(EventView(kind=kind, id=subject, summary=summary, at=at))

    def _room(self) -> int:
        return MOST_EVENTS - len(self.events)


def _grouped(rows: Iterable[tuple[int, K]], room: int, before: int) -> tuple[dict[K, list[int]], int, bool]:
    """Return the places of `rows` by key, at most `room` keys; the last place taken; and whether rows were left out.

    `rows` are ordered by place; `before` stands for the last place if there are none.
    """
    groups: dict[K, list[int]] = {}
    last = before
    for place, key in rows:
        if key not in groups and len(groups) == room:
            return groups, last, True
        groups.setdefault(key, []).append(place)
        last = place
    return groups, last, False


def _heard(project: Project, caller: Caller, cursor: str | None) -> Heard:
    if cursor is None:
        receipts = project.inboxes.receipts.position(project.clock.now())
        return Heard(channels=project.channels.intake.complete, receipts=receipts)
    match cursors.position(cursor, _query(caller), project.generation):
        case (int(inbox), int(channels), int(receipts), str(work), str(cancels)):
            return Heard(
                inbox=inbox,
                channels=channels,
                receipts=receipts,
                work=frozenset(work.split()),
                cancels=frozenset(cancels.split()),
            )
    raise BadCursor("this cursor was not made by Loominal")


def _cursor(project: Project, caller: Caller, heard: Heard) -> str:
    position = (
        heard.inbox,
        heard.channels,
        heard.receipts,
        " ".join(sorted(heard.work)),
        " ".join(sorted(heard.cancels)),
    )
    return cursors.cursor(_query(caller), project.generation, *position)


def _query(caller: Caller) -> str:
    return f"events {caller.agent}"


def _mark(item: str) -> str:
    return f"{zlib.crc32(item.encode()):08x}"
