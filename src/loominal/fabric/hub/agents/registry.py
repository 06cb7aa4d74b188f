"""The registry in memory: agents and handles by every name they are looked up by.

Memory follows the project's bucket; `records.py` writes there, and what it wrote is in memory when the write returns.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left, bisect_right, insort
from collections import defaultdict
from collections.abc import Collection, Hashable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from enum import Enum
from typing import TypeVar
from weakref import WeakValueDictionary

from loominal.broker.bucket import Deleted, Entry
from loominal.model.agent import AgentRecord, HandleRecord
from loominal.model.errors import CorruptRecord, InvalidArgument
from loominal.model.grant import Visibility
from loominal.model.names import label
from loominal.model.record import Stored, decode

AGENT, HANDLE = "agent", "handle"  # the kinds of keys in the bucket that are read here

Key = TypeVar("Key", bound=Hashable)


class Facet(Enum):
    """What registered agents are found by."""

    TYPE = "agent_type"
    CAPABILITY = "capability"
    BOUNDARY = "boundary"
    HOSTNAME = "hostname"
    HANDLE = "handle"
    VISIBILITY = "visibility"
    STATUS = "status"  # by the agent's own word
    USER = "user"


class Agents:
    """Every agent that ever had a handle in one project."""

    def __init__(self) -> None:
        self._records: dict[str, Stored[AgentRecord]] = {}
        self._holders: dict[str, HandleRecord] = {}
        self._revisions: dict[str, int] = {}  # by key, also of what was deleted or cannot be read
        self._handles: defaultdict[str, set[str]] = defaultdict(set)  # agent -> the handles whose key names it
        self._bearers: defaultdict[str, set[str]] = defaultdict(set)  # handle -> the agents whose record says so
        self._registered: set[str] = set()
        self._order: list[tuple[str, str]] = []  # handle and id of the registered ones, sorted
        self._index: defaultdict[tuple[Facet, str], set[str]] = defaultdict(set)  # of the registered ones
        self._facets: dict[str, tuple[tuple[Facet, str], ...]] = {}
        self._naming: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def clear(self) -> None:
        """Forget everything: the bucket was replaced or is read again."""
        for memory in (self._records, self._holders, self._revisions, self._handles, self._bearers, self._facets):
            memory.clear()
        self._registered.clear()
        self._order.clear()
        self._index.clear()

    def apply(self, change: Entry | Deleted) -> None:
        """Take a change of a key `agent.<id>` or `handle.<h>`; one that is not newer than memory changes nothing.

        Raises: CorruptRecord; the record then counts as absent and may be written anew.
        """
        kind, _, name = change.key.partition(".")
        if kind not in (AGENT, HANDLE) or change.revision <= self._revisions.get(change.key, 0):
            return
        self.absent(change.key)
        self._revisions[change.key] = change.revision
        if isinstance(change, Deleted):
            return
        if kind == AGENT:
            self._remember(name, decode(AgentRecord, change.value))
        else:
            holder = self._holders[name] = decode(HandleRecord, change.value).value
            self._handles[holder.agent].add(name)

    def absent(self, key: str) -> None:
        """Forget a key that the bucket does not have, or whose record is replaced."""
        kind, _, name = key.partition(".")
        self._revisions.pop(key, None)
        if kind == AGENT:
            self._forget(name)
        elif (holder := self._holders.pop(name, None)) is not None:
            _discard(self._handles, holder.agent, name)

    # agents

    def get(self, agent: str) -> AgentRecord | None:
        """Return what is kept of `agent`, registered or not; None if it never had a handle."""
        stored = self._records.get(agent)
        return None if stored is None else stored.value

    def known(self, agent: str) -> AgentRecord:
        """Return the record of an agent that has one."""
        return self._records[agent].value

    def stored(self, agent: str) -> Stored[AgentRecord] | None:
        """Return the record of `agent` with the fields of later versions."""
        return self._records.get(agent)

    def revision(self, agent: str) -> int:
        """Return the revision of the agent's record, 0 if it has none."""
        return self._revisions.get(agent_key(agent), 0)

    def registered(self) -> list[AgentRecord]:
        """Return every registered agent, in no order."""
        return [self._records[agent].value for agent in self._registered]

    @property
    def registered_count(self) -> int:
        """How many agents are registered."""
        return len(self._registered)

    def having(self, wanted: Mapping[Facet, str]) -> AbstractSet[str]:
        """Return the registered agents that have all that is `wanted` (labels as compared), as they are now."""
        sets = [self._index.get(each, set[str]()) for each in wanted.items()]
        first, *others = sorted(sets or [self._registered], key=len)
        return first.intersection(*others) if others else first

    def public(self) -> set[str]:
        """Return the registered agents that may be seen from other projects."""
        return set(self._index.get((Facet.VISIBILITY, Visibility.PUBLIC), ()))

    def in_order(self, after: tuple[str, str]) -> Iterator[str]:
        """Yield the registered agents in the order of (handle, id), from behind `after` on."""
        for place in range(bisect_right(self._order, after), len(self._order)):
            yield self._order[place][1]

    def shown(self, agent: str) -> str:
        """Return the agent's handle, or its id if it has none: fit for a message to people."""
        record = self.get(agent)
        return record.handle if record and record.handle else agent

    # handles

    def holder(self, handle: str) -> HandleRecord | None:
        """Return what the key of `handle` says."""
        return self._holders.get(handle)

    def handle_revision(self, handle: str) -> int:
        """Return the revision of the handle's key, 0 if there never was one."""
        return self._revisions.get(handle_key(handle), 0)

    def bearing(self, handle: str) -> list[AgentRecord]:
        """Return the agents whose record says `handle`: one, or two while it changes hands."""
        return [self._records[agent].value for agent in self._bearers.get(handle, ())]

    def handles_of(self, agent: str) -> frozenset[str]:
        """Return the handles whose key names `agent`: one, or two while it changes its handle."""
        return frozenset(self._handles.get(agent, ()))

    def owns(self, agent: str, handle: str) -> bool:
        """Return whether `handle` is the agent's: by the handle's key and by the agent's record."""
        holder, record = self._holders.get(handle), self.get(agent)
        return holder is not None and holder.agent == agent and record is not None and record.handle == handle

    def find(self, text: str, here: Collection[str]) -> AgentRecord | None:
        """Return the agent that `text` names by guid, handle or `handle@project`; `here` are this project's names."""
        plain = text.strip().lower()
        handle, at, where = plain.partition("@")
        holder = self._holders.get(handle)
        if holder is not None and self.owns(holder.agent, handle) and (not at or where in here):
            return self.get(holder.agent)
        return self.get(plain)

    def naming(self, agent: str) -> asyncio.Lock:
        """Return the lock under which the agent's handle changes."""
        return self._naming.setdefault(agent, asyncio.Lock())

    def _remember(self, agent: str, stored: Stored[AgentRecord]) -> None:
        record = stored.value
        found_by = facets(record) if record.registered else ()
        self._records[agent] = stored
        self._bearers[record.handle].add(agent)
        if record.registered:
            self._registered.add(agent)
            insort(self._order, (record.handle, agent))
            self._facets[agent] = found_by
        for each in found_by:
            self._index[each].add(agent)

    def _forget(self, agent: str) -> None:
        if (old := self._records.pop(agent, None)) is None:
            return
        _discard(self._bearers, old.value.handle, agent)
        if old.value.registered:
            self._registered.discard(agent)
            del self._order[bisect_left(self._order, (old.value.handle, agent))]
        for each in self._facets.pop(agent, ()):
            _discard(self._index, each, agent)


def agent_key(agent: str) -> str:
    """Return the bucket's key of an agent's record."""
    return f"{AGENT}.{agent}"


def handle_key(handle: str) -> str:
    """Return the bucket's key of a handle."""
    return f"{HANDLE}.{handle}"


def facets(record: AgentRecord) -> tuple[tuple[Facet, str], ...]:
    """Return what an agent can be found by, as labels are compared. Raises: CorruptRecord if one is no label."""
    try:
        return (
            (Facet.TYPE, label(record.agent_type, "agent type")),
            (Facet.HOSTNAME, record.hostname.casefold()),
            (Facet.HANDLE, record.handle),
            (Facet.VISIBILITY, record.visibility),
            (Facet.STATUS, record.status),
            (Facet.USER, record.user),
            *((Facet.CAPABILITY, label(each, "capability")) for each in record.capabilities),
            *((Facet.BOUNDARY, label(each, "boundary")) for each in record.boundaries),
        )
    except InvalidArgument as error:
        raise CorruptRecord(f"the stored record of agent {record.id} cannot be used: {error.message}") from error


def _discard(index: defaultdict[Key, set[str]], key: Key, agent: str) -> None:
    index[key].discard(agent)
    if not index[key]:
        del index[key]
