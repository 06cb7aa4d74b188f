"""The fabric's directory: which agents are public, and in which projects. Each project's leader writes its own part.

It only says whom to ask: who is seen, and what is delivered, the leader of the agent's project decides every time.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from contextlib import suppress
from pathlib import PurePath

import msgspec

from loominal.broker import subjects
from loominal.broker.bucket import Bucket, Deleted, Entry
from loominal.broker.connection import Broker
from loominal.broker.event import Event
from loominal.broker.follower import Follower
from loominal.broker.log import Log
from loominal.model.errors import BrokerUnavailable, Conflict, CorruptRecord, LoominalError
from loominal.model.record import decode, encode, version

CATCH_UP_SECONDS = 5.0  # with what other wefts write: milliseconds, unless the broker is ill
UP_SECONDS = 3.0
RETRY_SECONDS = 0.3  # between two tries to make the bucket

log = logging.getLogger(__name__)


class Place(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A project with public agents. While it is not `awake` nobody leads it, and none of its agents is online."""

    v: int = version(1)
    project: str
    title: str
    awake: bool = True

    def is_called(self, name: str) -> bool:
        """Return whether `name`, in lower case, is the project's title or its directory's name."""
        return name in (self.title.lower(), self.short.lower())

    @property
    def short(self) -> str:
        """How people call it: its name, or its directory's without the path."""
        return PurePath(self.title).name or self.project


class Listing(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """An agent that is public."""

    v: int = version(1)
    project: str
    agent: str


class Directory:
    """The directory in memory and in its bucket. `run` keeps it; nothing is found before it has begun."""

    def __init__(self, broker: Broker) -> None:
        self._bucket = Bucket(broker, subjects.registry_bucket(subjects.DIRECTORY))
        self.is_read = False
        self._lost = Event()
        self._following: Follower = self._bucket.follow(self._apply, on_reset=self._forget)
        self._places: dict[str, Place] = {}
        self._agents: defaultdict[str, set[str]] = defaultdict(set)  # by project
        self._homes: defaultdict[str, set[str]] = defaultdict(set)  # by agent: one project, but in open mode
        self._revisions: dict[str, int] = {}

    @property
    def log(self) -> Log:
        """The log behind the bucket."""
        return self._bucket.log

    async def run(self) -> None:
        """Follow the bucket until cancelled, and make it where it is missing."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._following.run(), name="directory")
            self._lost.set()
            while True:
                await self._lost.wait()
                self._lost.clear()
                await self._make()
                with suppress(BrokerUnavailable):  # then it is read whenever the follower is through
                    await self._following.caught_up(CATCH_UP_SECONDS)
                self.is_read = True

    async def catch_up(self) -> None:
        """Know what every leader has written until now. Raises: BrokerUnavailable."""
        await self._following.caught_up(CATCH_UP_SECONDS)
        await self._following.up_to_date(CATCH_UP_SECONDS)

    # what there is

    def places(self) -> list[Place]:
        """Return every project with public agents, by id."""
        return [place for _, place in sorted(self._places.items())]

    def place(self, project: str) -> Place | None:
        """Return a project with public agents by its id."""
        return self._places.get(project)

    def homes(self, agent: str) -> list[Place]:
        """Return the projects in which that agent is public: one, but in open mode, where ids are on trust."""
        return [place for project in sorted(self._homes.get(agent, ())) if (place := self.place(project))]

    def agents(self, project: str) -> frozenset[str]:
        """Return the agents of a project that stand here."""
        return frozenset(self._agents.get(project, ()))

    # what changes

    async def put_place(self, place: Place) -> None:
        """Write down a project. Raises: BrokerUnavailable."""
        if self.place(place.project) != place:
            await self._put(_place_key(place.project), place)

    async def add(self, project: str, agent: str) -> None:
        """Write down a public agent. Raises: BrokerUnavailable."""
        if agent not in self._agents.get(project, ()):
            await self._put(_agent_key(project, agent), Listing(project=project, agent=agent))

    async def remove(self, project: str, agent: str) -> None:
        """Strike out an agent. Raises: BrokerUnavailable."""
        await self._delete(_agent_key(project, agent))

    async def remove_place(self, project: str) -> None:
        """Strike out a project. Raises: BrokerUnavailable."""
        await self._delete(_place_key(project))

    async def _put(self, key: str, value: Place | Listing) -> None:
        data = encode(value)
        self._apply(Entry(key=key, value=data, revision=await self._bucket.put(key, data)))

    async def _delete(self, key: str) -> None:
        if revision := self._revisions.get(key):
            with suppress(Conflict):  # whoever wrote it leads now
                self._apply(Deleted(key=key, revision=await self._bucket.delete(key, revision=revision)))

    async def _make(self) -> None:
        told = ""
        while True:
            try:
                await self.log.broker.wait_up(UP_SECONDS)
                await self._bucket.ensure()
                return
            except LoominalError as error:
                if error.message != told:
                    log.info("the directory of public agents is not open yet: %s", error)
                    told = error.message
            await asyncio.sleep(RETRY_SECONDS)

    def _forget(self) -> None:
        for memory in (self._places, self._agents, self._homes, self._revisions):
            memory.clear()
        self.is_read = False
        self._lost.set()

    def _apply(self, change: Entry | Deleted) -> None:
        key = change.key
        if change.revision <= self._revisions.get(key, 0):
            return
        self._revisions[key] = change.revision
        kind, _, name = key.partition(".")
        try:
            if kind == "place":
                self._take_place(name, change)
            elif kind == "agent":
                self._take_agent(name, change)
        except CorruptRecord as error:  # its leader writes it again
            log.error("%s in the directory cannot be read and is passed over: %s", key, error.message)

    def _take_place(self, project: str, change: Entry | Deleted) -> None:
        self._places.pop(project, None)
        if isinstance(change, Entry):
            place = decode(Place, change.value).value
            if place.project == project:
                self._places[project] = place

    def _take_agent(self, name: str, change: Entry | Deleted) -> None:
        project, _, agent = name.partition(".")
        for index, key, value in ((self._agents, project, agent), (self._homes, agent, project)):
            if isinstance(change, Entry):
                index[key].add(value)
            else:
                index[key].discard(value)
                if not index[key]:
                    del index[key]


def _place_key(project: str) -> str:
    return f"place.{project}"


def _agent_key(project: str, agent: str) -> str:
    return f"agent.{project}.{agent}"
