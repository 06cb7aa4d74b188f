"""One project watched: its work and its other events, handed to readers as they are stored, while it is loaded."""

from __future__ import annotations

import asyncio
import heapq
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Protocol

import msgspec

from loominal.broker import subjects
from loominal.broker.connection import Received
from loominal.broker.event import Event
from loominal.broker.follower import Follower
from loominal.broker.log import Log, Record
from loominal.fabric.hub.feed import ProgressNote
from loominal.fabric.hub.project import Project
from loominal.fabric.protocol import arguments
from loominal.model import work_events
from loominal.model.errors import BrokerUnavailable, InvalidArgument, LoominalError
from loominal.model.work import Status
from loominal.weft.events.happening import Happening, Renderer

RETRY_SECONDS = 0.5  # while the broker is away
PAGE = 64  # records read at once by who is behind
PAGE_BYTES = 512 << 10
STATS_SECONDS = 5.0  # between two counts
LONGEST_SLEEP_SECONDS = 60.0  # until the next item is due: the machine's clock may be set meanwhile


class Told(msgspec.Struct, frozen=True):
    """A record and what it tells."""

    sequence: int
    happenings: tuple[Happening, ...]


class Source:
    """One log of a watched project: what it tells live, and what it told before."""

    def __init__(self, log: Log, subject_filter: str, render: Callable[[Record], tuple[Happening, ...]]) -> None:
        self.log = log
        self.last = 0  # sequence of the newest record that came by
        self._filter = subject_filter
        self._render = render
        self._listeners: tuple[Callable[[Told], None], ...] = ()

    def hand(self, record: Record) -> None:
        """Hand a new record to everybody who listens."""
        self.last = record.sequence
        if self._listeners:
            told = Told(record.sequence, self._render(record))
            for listener in self._listeners:
                listener(told)

    def listen(self, listener: Callable[[Told], None]) -> Callable[[], None]:
        """Call `listener` with each new record; return what ends that."""
        self._listeners = (*self._listeners, listener)

        def stop() -> None:
            self._listeners = tuple(each for each in self._listeners if each is not listener)

        return stop

    async def page(self, after: int) -> tuple[list[Record], int]:
        """Return some records behind `after`, oldest first, and how many more there are. Raises: BrokerUnavailable."""
        return await self.log.part(self._filter, after + 1, PAGE, PAGE_BYTES)

    def told(self, record: Record) -> Told:
        """Return what a record that was read again tells."""
        return Told(record.sequence, self._render(record))


class Hearer(Protocol):
    """Who hears what is in no log."""

    @property
    def counts(self) -> bool:
        """Whether it wants to hear how the project stands, too."""

    def hear(self, happening: Happening) -> None:
        """Take what has happened just now."""


class Watch:
    """Follows one project for its readers while `run` runs."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.generation = project.generation
        self.over = Event()  # the project is loaded anew, or left: everything is to be looked at again
        self.ready = Event()
        self.steady_since = time.monotonic()  # since when the broker's connection stands
        self._renderer = Renderer(project)
        p = project.id
        self.work = Source(project.work_log, subjects.every("wk", p), self._renderer.work)
        self.events = Source(project.event_log, subjects.every("ev", p), self._renderer.event)
        self._hearers: set[Hearer] = set()
        self._due: list[tuple[datetime, str, int]] = []  # heap: when an item is due, by its record's sequence
        self._sooner = Event()
        self._asked = Event()  # somebody new wants the counts

    @contextmanager
    def heard_by(self, hearer: Hearer) -> Iterator[None]:
        """Tell `hearer` what is in no log."""
        self._hearers.add(hearer)
        if hearer.counts:
            self._asked.set()
        try:
            yield
        finally:
            self._hearers.discard(hearer)

    async def run(self) -> None:
        """Follow until cancelled, or until the logs are others."""
        remove_connect = self.project.broker.on_connect(self._unsteady)
        self.work.last = self.project.feed.last
        stop = self.project.feed.listen(self._take_work)
        for item in self.project.book.oldest_first(Status.SCHEDULED):
            self._schedule(item.due_at, item.id, self.project.book.find(item.id).sequence)
        hearing = await self.project.broker.subscribe(subjects.progress_note(self.project.id), self._take_progress)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._tell_due(), name=f"due of {self.project.id}")
                group.create_task(self._tell_counts(), name=f"counts of {self.project.id}")
                group.create_task(self._follow_events(), name=f"events of {self.project.id}")
                over = group.create_task(self.over.wait(), name=f"watch of {self.project.id}")
                await over
                raise _Over
        except* _Over:
            pass
        finally:
            self.over.set()
            stop()
            remove_connect()
            await hearing.stop()

    async def _follow_events(self) -> None:
        self.events.last = await self._end_of_events()
        self.ready.set()
        every = subjects.every("ev", self.project.id)
        await Follower(
            self.project.event_log, every, self._take_event, after=self.events.last, on_reset=self.over.set
        ).run()

    async def _end_of_events(self) -> int:
        """Return the sequence of the last event, however long the broker is away."""
        while True:
            try:
                state = await self.project.event_log.state()
                return state.last if state else 0
            except BrokerUnavailable:
                await asyncio.sleep(RETRY_SECONDS)

    def _take_event(self, record: Record) -> None:
        self.check_generation()
        self.events.hand(record)

    def check_generation(self) -> None:
        """End the watch if the project has begun another life."""
        if self.project.generation != self.generation:
            self.over.set()

    def _take_work(self, record: Record) -> None:
        self.check_generation()
        self.work.hand(record)
        entry = self.project.book.get(subjects.last_token(record.subject))
        if entry is not None and entry.item.status is Status.SCHEDULED:
            self._schedule(entry.item.due_at, entry.item.id, entry.sequence)

    def _take_progress(self, message: Received) -> None:
        with suppress(InvalidArgument):
            note = arguments(ProgressNote, message.data)
            entry = self.project.book.get(note.item)
            if entry is not None and entry.item.status is Status.CLAIMED and entry.item.token == note.token:
                self.project.progress[note.item] = note.progress
                self._tell(self._renderer.now(work_events.PROGRESS, entry.item, note.progress.at))

    def _tell(self, happening: Happening) -> None:
        for hearer in tuple(self._hearers):
            hearer.hear(happening)

    def _schedule(self, due_at: datetime | None, item_id: str, sequence: int) -> None:
        if due_at is not None:
            heapq.heappush(self._due, (due_at, item_id, sequence))
            self._sooner.set()

    async def _tell_due(self) -> None:
        """Tell of each scheduled item that becomes ready by itself, of which no record says so."""
        while True:
            self._sooner.clear()
            now = self.project.clock.now()
            while self._due and self._due[0][0] <= now:
                at, item_id, sequence = heapq.heappop(self._due)
                entry = self.project.book.get(item_id)
                if entry is not None and entry.sequence == sequence:
                    self._tell(self._renderer.now(work_events.READY, entry.item, at))
            seconds = min((self._due[0][0] - now).total_seconds(), LONGEST_SLEEP_SECONDS) if self._due else None
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._sooner.wait()

    async def _tell_counts(self) -> None:
        """Tell who wants it how the project stands, at once and then every few seconds."""
        broker, subject = self.project.broker, subjects.counting(self.project.id)
        while True:
            wanted = any(hearer.counts for hearer in self._hearers)
            if wanted:
                self._asked.clear()
                with suppress(LoominalError):  # nobody leads just now
                    counts = await broker.request(subject, b"", seconds=STATS_SECONDS)
                    self._tell(self._renderer.counts(counts.data))
            with suppress(TimeoutError):
                async with asyncio.timeout(STATS_SECONDS if wanted else None):
                    await self._asked.wait()

    def _unsteady(self) -> None:
        self.steady_since = time.monotonic()


class _Over(Exception):
    """The watch is over; raised in its task group, it ends every task."""
