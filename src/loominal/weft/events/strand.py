"""What one reader has of one project: first what it lacks, read from the logs at its pace, then what happens.

Nothing is missed or doubled in between: while the last page is read what happens is kept beside.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from contextlib import ExitStack
from typing import Protocol

from loominal.fabric.hub.agents import visibility
from loominal.fabric.hub.caller import Caller
from loominal.fabric.hub.project import Project
from loominal.fabric.hub.streams import PER_ITEM
from loominal.fabric.hub.work import finding
from loominal.model.errors import BrokerUnavailable
from loominal.model.times import Instant
from loominal.weft.events.cursors import Place, tag
from loominal.weft.events.happening import Happening, Topic
from loominal.weft.events.watch import RETRY_SECONDS, Source, Told, Watch
from loominal.weft.events.watches import Watches

LAG_SECONDS = 0.05  # for a server of a cluster to have what the stream's leader has


class Teller(Protocol):
    """The reader, as its strands see it."""

    turn: asyncio.Lock  # held while one strand reads a page

    @property
    def counts(self) -> bool:
        """Whether it wants to hear how projects stand."""

    @property
    def since(self) -> Instant:
        """Before when the reader has everything."""

    async def room(self) -> None:
        """Return when nothing waits to be sent."""

    def moved(self, project: str, place: Place) -> None:
        """Take note that the reader is further."""

    def tell(self, happening: Happening, *, in_log: bool) -> None:
        """Send an event, if it is asked for; one that is `in_log` with where the reader is behind it."""

    def reset(self, project: str, why: str) -> None:
        """Tell that something is missing."""


class Strand:
    """Reads one project for `reader`, on behalf of `caller`; `place` is where it is, None: at the reader's moment."""

    def __init__(self, reader: Teller, project: str, caller: str, place: Place | None) -> None:
        self.project = project
        self.live_since: float | None = None  # monotonic; None while it lacks something
        self._reader = reader
        self._caller_id = caller
        self._place = place
        self._watch: Watch | None = None
        self._caller: Caller | None = None

    async def run(self, watches: Watches) -> None:
        """Read until cancelled, whatever hub serves the project."""
        while True:
            watch = await watches.ready(self.project)
            try:
                with ExitStack() as listening:
                    await self._join(watch, listening)
                    self.live_since = time.monotonic()
                    await watch.over.wait()
            except BrokerUnavailable:
                await asyncio.sleep(RETRY_SECONDS)
            finally:
                self.live_since = None

    @property
    def counts(self) -> bool:
        """Whether the reader wants to hear how the project stands."""
        return self._reader.counts

    def hear(self, happening: Happening) -> None:
        """Take what has happened just now and is in no log."""
        self._tell(happening, in_log=False)

    def steady(self, since: float) -> bool:
        """Return whether the reader was told of everything at once ever since then (monotonic)."""
        watch = self._watch
        return (
            watch is not None
            and self.live_since is not None
            and max(self.live_since, watch.steady_since) <= since
            and watch.project.broker.up
        )

    async def _join(self, watch: Watch, listening: ExitStack) -> None:
        """Read what the reader lacks, and listen from then on. Raises: BrokerUnavailable."""
        watch.check_generation()
        if not watch.generation:
            raise BrokerUnavailable(f"the logs of project {self.project} are not there yet")
        self._watch, self._caller = watch, _caller(watch.project, self._caller_id)
        await self._settle(watch)
        for source in (watch.events, watch.work):
            await self._catch_up(source, listening)
        listening.enter_context(watch.heard_by(self))

    async def _settle(self, watch: Watch) -> None:
        """Know the place in these logs; where it is in none, what is missing is told. Raises: BrokerUnavailable."""
        life = tag(watch.generation)
        if self._place is None:
            work, events = [await each.log.before(self._reader.since) for each in (watch.work, watch.events)]
            self._place = Place(generation=life, work=work, events=events)
            return
        why = ""
        if self._place.generation != life:
            why = "the project's logs were made anew"
        for source, position in ((watch.work, self._place.work), (watch.events, self._place.events)):
            state = await source.log.state()
            if state is None or position > max(state.last, source.last):
                why = why or "the cursor lies behind the end of the project's logs"
            elif position + 1 < state.first:
                why = why or "what the reader lacks is not kept any more"
        if why:
            self._place = Place(generation=life, work=watch.work.last, events=watch.events.last)
            self._reader.moved(self.project, self._place)
            self._reader.reset(self.project, why)

    async def _catch_up(self, source: Source, listening: ExitStack) -> None:
        """Send what `source` told before, and listen to it from the next record on. Raises: BrokerUnavailable."""
        moves: Counter[str] = Counter()
        while True:
            async with self._reader.turn:
                await self._reader.room()
                meanwhile: list[Told] = []
                last = source.last
                stop = source.listen(meanwhile.append)
                try:
                    records, left = await source.page(self._position(source))
                    at_end = not left and (max(self._position(source), *(each.sequence for each in records), 0) >= last)
                    at_end = at_end or (not left and await source.log.at(last) is None)
                finally:
                    stop()
                for record in records:
                    self._take(source, source.told(record))
                    moves[record.subject] += 1
            if at_end:
                break
            if not left:
                await asyncio.sleep(LAG_SECONDS)
        for told in meanwhile:
            self._take(source, told)
        listening.callback(source.listen(lambda told: self._take(source, told)))
        if self._watch is not None and source is self._watch.work and moves and max(moves.values()) >= PER_ITEM:
            self._reader.reset(self.project, f"of an item that moved more than {PER_ITEM} times not all is kept")

    def _position(self, source: Source) -> int:
        assert self._place is not None
        return self._place.work if self._watch is not None and source is self._watch.work else self._place.events

    def _take(self, source: Source, told: Told) -> None:
        """Send what a record tells, unless the reader has it."""
        place, watch = self._place, self._watch
        assert place is not None
        assert watch is not None
        if told.sequence <= self._position(source):
            return
        if source is watch.events:
            self._place = Place(generation=place.generation, work=place.work, events=told.sequence, part=place.part)
            self._reader.moved(self.project, self._place)
            for happening in told.happenings:
                self._tell(happening, in_log=True)
            return
        behind = Place(generation=place.generation, work=told.sequence, events=place.events)
        for number, happening in enumerate(told.happenings, start=1):
            if number <= place.part:
                continue
            whole = number == len(told.happenings)
            self._place = (
                behind
                if whole
                else Place(generation=place.generation, work=place.work, events=place.events, part=number)
            )
            self._reader.moved(self.project, self._place)
            self._tell(happening, in_log=True)
        if self._place is not behind:
            self._place = behind
            self._reader.moved(self.project, behind)

    def _tell(self, happening: Happening, *, in_log: bool) -> None:
        if self._watch is not None and self._caller is not None and _sees(self._watch.project, self._caller, happening):
            self._reader.tell(happening, in_log=in_log)


def _caller(project: Project, caller: str) -> Caller | None:
    """Return the holder of a bearer token as the project's operations would see it."""
    standing = project.authority.standing(project.id, caller)
    return Caller(agent=caller, incarnation="", op="", standing=standing) if standing else None


def _sees(project: Project, caller: Caller, happening: Happening) -> bool:
    """Return whether the caller could read the same by asking."""
    if happening.item is not None:
        return finding.sees(project, caller, happening.item)
    if happening.topic is not Topic.AGENTS:
        return True
    record = project.agents.get(happening.agent)
    return record is not None and visibility.sees(project, caller, record)
