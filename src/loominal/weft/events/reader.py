"""One reader of live events: what it asked for, where it is, and what is sent to it until it goes or is cut."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

from loominal.fabric.protocol import encode
from loominal.model.errors import BadCursor, Busy, LoominalError
from loominal.model.times import rfc3339
from loominal.weft.events import cursors
from loominal.weft.events.cursors import Place, Position, tag
from loominal.weft.events.happening import Happening
from loominal.weft.events.outbox import Outbox
from loominal.weft.events.query import Query
from loominal.weft.events.strand import Strand
from loominal.weft.events.watches import Watches

HEARTBEAT_SECONDS = 15.0  # between two signs of life while nothing happens
RETRY_MILLISECONDS = 1000  # after which a client that lost its connection comes again
SETTLED_SECONDS = 300.0  # after which nothing that was stored can still be on its way; a lost consumer takes 60 s
REVIEW_SECONDS = 30.0  # between two looks at what the cursor need not hold any more


class Reader:
    """Sends `query` to one client. `cursor` is where it was; `allowed` are its projects, none: every one."""

    def __init__(self, query: Query, caller: str, allowed: tuple[str, ...], cursor: str, watches: Watches) -> None:
        self.turn = asyncio.Lock()
        self.cut = ""  # why it was ended
        self.since = datetime.now(UTC)
        self._query = query
        self._text = query.text
        self._caller = caller
        self._allowed = allowed
        self._watches = watches
        self._outbox = Outbox()
        self._places: dict[str, Place] = {}  # by when they moved last, the latest at the end
        self._moved_at: dict[str, float] = {}  # monotonic
        self._strands: dict[str, Strand] = {}
        self._reviewed_at = time.monotonic()
        self._said = ""  # the cursor that was sent last
        lost = self._resume(cursor) if cursor else None
        if not cursor or lost is not None:
            self._begin()
        self._outbox.put(b": what happens, as it happens\nretry: %d\n%b\n" % (RETRY_MILLISECONDS, self._id()))
        if lost is not None:
            self.reset("", lost.message)

    async def run(self, send: Callable[[bytes], Awaitable[None]], pause: Callable[[], float]) -> None:
        """Send until it is told to end. For `pause` seconds after each chunk what happens is gathered for the next."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._roam(group), name=f"projects of {self._caller}")
                while chunk := await self._next():
                    await send(chunk)
                    await asyncio.sleep(pause())
                raise _Over
        except* _Over:
            pass

    def end(self, cut: str, error: LoominalError) -> None:
        """Tell the client why it is cut, and nothing more; `cut` is the reason in a word."""
        if not self._outbox.ended:
            self.cut = cut
            self._outbox.end(_event("cut", encode(self._told("cut", "", error))) + b"\n")

    # what the strands ask and say

    @property
    def counts(self) -> bool:
        """Whether it wants to hear how projects stand."""
        return self._query.wants_counts

    async def room(self) -> None:
        """Return when nothing waits to be sent."""
        await self._outbox.room()

    def moved(self, project: str, place: Place) -> None:
        """Take note that the reader is further in a project."""
        self._places.pop(project, None)
        self._places[project] = place
        self._moved_at[project] = time.monotonic()

    def tell(self, happening: Happening, *, in_log: bool) -> None:
        """Send an event, if it is asked for; one that is `in_log` with where the reader is behind it."""
        if self._query.wants(happening):
            self._put(happening.text + (self._id() if in_log else b"") + b"\n")

    def reset(self, project: str, why: str) -> None:
        """Tell that something is missing."""
        error = BadCursor(why, "read the lists again; what happens from now on follows")
        self._put(_event("reset", encode(self._told("reset", project, error))) + self._id() + b"\n")

    def _put(self, part: bytes) -> None:
        self._outbox.put(part)
        if self._outbox.full:
            why = "this reader is slower than what happens: more waits for it than may wait"
            self.end("slow", Busy(why, "connect again with the id of the last event: nothing is lost"))

    # where it is

    def _resume(self, cursor: str) -> BadCursor | None:
        """Take up where the reader was; return why that cannot be."""
        try:
            position = cursors.read(cursor, self._text, self.since)
        except BadCursor as error:
            return error
        self.since = position.since
        for project, place in position.places.items():
            if self._may(project):
                self.moved(project, place)
        return None

    def _begin(self) -> None:
        """Be where the logs end of those projects that are watched already; of others, at this moment."""
        for project in self._wanted():
            if (watch := self._watches.now(project)) is not None and watch.generation:
                place = Place(generation=tag(watch.generation), work=watch.work.last, events=watch.events.last)
                self.moved(project, place)

    def _id(self) -> bytes:
        if time.monotonic() - self._reviewed_at > REVIEW_SECONDS:
            self._review()
        position = Position(since=self.since, places=self._places)
        self._said = cursors.written(self._text, position, reversed(self._places))
        return b"id: %b\n" % self._said.encode()

    def _review(self) -> None:
        """Bring the moment before which the reader has everything nearer, and forget the places that are before it."""
        now = self._reviewed_at = time.monotonic()
        before = now - SETTLED_SECONDS
        if all(strand.steady(before) for strand in self._strands.values()):
            self.since = max(self.since, datetime.now(UTC) - timedelta(seconds=SETTLED_SECONDS))
            for project in [project for project, at in self._moved_at.items() if at < before]:
                del self._places[project], self._moved_at[project]

    # what is sent, and of which projects

    async def _next(self) -> bytes:
        """Return what is to be sent next, b"" at the end."""
        chunk = await self._outbox.take(HEARTBEAT_SECONDS)
        if chunk or self._outbox.ended:
            return chunk
        said = self._said
        line = self._id()
        return line + b"\n" if self._said != said else b":\n\n"

    async def _roam(self, group: asyncio.TaskGroup) -> None:
        """Read every project that is asked for; of all projects those that somebody uses, as they come and go."""
        tasks: dict[str, asyncio.Task[None]] = {}
        while True:
            wanted = self._wanted()
            for project in wanted:
                if project not in tasks:
                    tasks[project] = group.create_task(self._read(project), name=f"{project} for {self._caller}")
            for project in tasks.keys() - set(wanted):
                tasks.pop(project).cancel()
            await self._watches.projects.changed()

    async def _read(self, project: str) -> None:
        place = self._places.get(project)
        strand = self._strands[project] = Strand(self, project, self._caller, place)
        try:
            with self._watches.of(project, keep=bool(self._query.projects)):
                await strand.run(self._watches)
        finally:
            if self._strands.get(project) is strand:
                del self._strands[project]

    def _wanted(self) -> list[str]:
        asked = self._query.projects
        return list(asked) or [each for each in self._watches.projects.in_use() if self._may(each)]

    def _may(self, project: str) -> bool:
        asked = self._query.projects or self._allowed
        return not asked or project in asked

    def _told(self, kind: str, project: str, error: LoominalError) -> dict[str, object]:
        where = {"projectId": project} if project else {}
        return {"type": kind, **where, "at": rfc3339(datetime.now(UTC)), "data": error.problem()}


class _Over(Exception):
    """The reader has ended; raised in its task group, it ends every task."""


def _event(kind: str, data: bytes) -> bytes:
    return b"event: %b\ndata: %b\n" % (kind.encode(), data)
