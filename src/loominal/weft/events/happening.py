"""What one record of a log, or a note of the leader, tells readers: rendered once, whoever reads it."""

from __future__ import annotations

import time
from datetime import datetime
from enum import StrEnum

import msgspec

from loominal.broker.log import Record
from loominal.fabric.hub.agents.events_log import Event as AgentEvent
from loominal.fabric.hub.agents.events_log import EventKind
from loominal.fabric.hub.caller import Caller, Standing
from loominal.fabric.hub.project import Project
from loominal.fabric.hub.work.book import read
from loominal.fabric.hub.work.views import Why, entry_view
from loominal.fabric.operations.work import WorkView
from loominal.fabric.protocol import encode, plain
from loominal.model import record as records
from loominal.model import work_events
from loominal.model.errors import CorruptRecord
from loominal.model.grant import Role
from loominal.model.names import HUB
from loominal.model.times import rfc3339
from loominal.model.work import Status, WorkItem, status_at

EVENT_TYPES = tuple(kind.value.replace("-", ":", 1) for kind in EventKind)
STATS = "stats"  # the one event of its topic
WHY_SECONDS = 1.0  # for which an answer to what the items of a route wait for is good


class Topic(StrEnum):
    """What readers choose from."""

    WORK = "work"
    AGENTS = "agents"
    TARGETS = "targets"
    LAUNCHES = "launches"
    STATS = "stats"


TOPICS = {"agent": Topic.AGENTS, "target": Topic.TARGETS, "launch": Topic.LAUNCHES}  # of what the event log tells


class Happening(msgspec.Struct, frozen=True, kw_only=True):
    """One event as it is sent, and what filters ask of it."""

    topic: Topic
    type: str
    text: bytes  # the fields `event` and `data`, without the end of the event
    item: WorkItem | None = None
    agent: str = ""  # its id
    names: frozenset[str] = frozenset()  # ids and task ids of work
    agents: frozenset[str] = frozenset()  # ids and handles
    capabilities: frozenset[str] = frozenset()
    boundaries: frozenset[str] = frozenset()


class Described(msgspec.Struct, frozen=True, rename="camel"):
    """Of an agent's view what filters ask."""

    guid: str = ""
    handle: str = ""
    capabilities: tuple[str, ...] = ()
    boundaries: tuple[str, ...] = ()


class Renderer:
    """Renders what happens in one project, as lists show it to somebody who holds nothing there."""

    def __init__(self, project: Project) -> None:
        self._project = project
        self._caller = Caller(
            agent=HUB, incarnation="", op="", standing=Standing(agent=HUB, user="", role=Role.OBSERVER, grants=())
        )
        self._why = Why(project)
        self._asked_at = time.monotonic()

    def work(self, record: Record) -> tuple[Happening, ...]:
        """Return what an item's record tells, in order; nothing if it cannot be read, which the hub has noted."""
        if not record.data:
            return ()
        try:
            item = read(record).item
        except CorruptRecord:
            return ()
        types = work_events.told(item)
        if not types:
            return ()
        entry = self._project.book.get(item.id)
        view = self._view(item, is_last=entry is not None and entry.sequence == record.sequence)
        return tuple(self._of_item(each, item, view, item.last.at) for each in types)

    def now(self, kind: str, item: WorkItem, at: datetime) -> Happening:
        """Return an event of an item as it is now."""
        return self._of_item(kind, item, self._view(item, is_last=True), at)

    def _of_item(self, kind: str, item: WorkItem, view: WorkView, at: datetime) -> Happening:
        agents = {item.submitter, item.claimed_by, item.last_holder} - {""}
        return Happening(
            topic=Topic.WORK,
            type=kind,
            text=self._text(kind, rfc3339(at), plain(view, entry=True)),
            item=item,
            names=frozenset((item.id, item.task_id)),
            agents=frozenset(agents | {self._project.agents.shown(agent) for agent in agents}),
            capabilities=frozenset(item.capabilities),
            boundaries=frozenset((item.boundary,)),
        )

    def event(self, record: Record) -> tuple[Happening, ...]:
        """Return what a record of the event log tells; nothing if it cannot be read or is of a later version."""
        try:
            event = records.decode(AgentEvent, record.data).value
            who = msgspec.convert(event.data, Described)
        except (CorruptRecord, msgspec.ValidationError) as error:
            self._project.note_corrupt(
                f"{record.subject} at {record.sequence}",
                error if isinstance(error, CorruptRecord) else CorruptRecord(str(error)),
            )
            return ()
        if event.type not in EVENT_TYPES:
            return ()
        return (
            Happening(
                topic=TOPICS[event.type.partition(":")[0]],
                type=event.type,
                text=self._text(event.type, rfc3339(event.at), event.data),
                agent=who.guid,
                agents=frozenset((who.guid, who.handle)),
                capabilities=frozenset(who.capabilities),
                boundaries=frozenset(who.boundaries),
            ),
        )

    def counts(self, answer: bytes) -> Happening:
        """Return the counts of the project, which its leader has just told."""
        now = rfc3339(self._project.clock.now())
        return Happening(topic=Topic.STATS, type=STATS, text=self._text(STATS, now, msgspec.Raw(answer)))

    def _text(self, kind: str, at: str, data: object) -> bytes:
        told = encode({"type": kind, "projectId": self._project.id, "at": at, "data": data})
        return b"event: %b\ndata: %b\n" % (kind.encode(), told)

    def _view(self, item: WorkItem, *, is_last: bool) -> WorkView:
        """Return the item as lists show it; what a ready one waits for is known by its project's leader, of now."""
        ready = status_at(item, self._project.clock.now()) is Status.READY
        knows = not ready or (is_last and self._project.leadership.leads)
        return entry_view(self._project, self._caller, item, self._fresh_why() if knows else None)

    def _fresh_why(self) -> Why:
        if time.monotonic() - self._asked_at > WHY_SECONDS:
            self._why, self._asked_at = Why(self._project), time.monotonic()
        return self._why
