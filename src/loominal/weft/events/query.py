"""What a reader asks for: of which projects, which topics, and by which filters."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import msgspec

from loominal.model import names, work_events
from loominal.model.errors import InvalidArgument
from loominal.model.names import meant, shown
from loominal.weft.events.happening import EVENT_TYPES, STATS, Happening, Topic

MOST_VALUES = 100  # of one filter
TYPES = (*work_events.TYPES, *EVENT_TYPES, STATS)


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """A reader's wish. An empty filter lets everything pass; an event that lacks what one asks for does not pass."""

    projects: tuple[str, ...] = ()  # none: all that the bearer token is for
    topics: frozenset[Topic] = frozenset(Topic)
    types: frozenset[str] = frozenset()
    work: frozenset[str] = frozenset()  # ids or task ids
    agents: frozenset[str] = frozenset()  # ids or handles: who offered, holds or held it, or is told of
    capabilities: frozenset[str] = frozenset()
    boundaries: frozenset[str] = frozenset()

    @property
    def text(self) -> str:
        """The query in words of its own, the same for the same query: cursors are bound to it."""
        parts = ((name, sorted(getattr(self, name))) for name in self.__struct_fields__)
        return f"events {msgspec.json.encode(dict(parts)).decode()}"

    @property
    def wants_counts(self) -> bool:
        """Whether the counts of a project can pass."""
        filtered = self.work or self.agents or self.capabilities or self.boundaries
        return Topic.STATS in self.topics and not filtered and (not self.types or STATS in self.types)

    def wants(self, happening: Happening) -> bool:
        """Return whether the reader is to be told."""
        return (
            happening.topic in self.topics
            and (not self.types or happening.type in self.types)
            and all(
                not asked or not asked.isdisjoint(there)
                for asked, there in (
                    (self.work, happening.names),
                    (self.agents, happening.agents),
                    (self.capabilities, happening.capabilities),
                    (self.boundaries, happening.boundaries),
                )
            )
        )


def read(
    *,
    projects: Iterable[str],
    topics: Iterable[str],
    types: Iterable[str],
    work: Iterable[str],
    agents: Iterable[str],
    capabilities: Iterable[str],
    boundaries: Iterable[str],
) -> Query:
    """Return the query of a request. Projects, topics and types may be joined by commas; other names may have some.

    Raises: InvalidArgument for a topic or type that there is not, and for what nothing can be called.
    """
    wanted = _known(topics, tuple(Topic), "topics")
    return Query(
        projects=tuple(sorted({names.project_name(each) for each in _split(projects, "projectId")})),
        topics=frozenset(Topic(each) for each in wanted) or frozenset(Topic),
        types=frozenset(_known(types, TYPES, "types")),
        work=frozenset(_values(work, "workId")),
        agents=frozenset(_values(agents, "agent")),
        capabilities=frozenset(names.label(each, "capability") for each in _values(capabilities, "capability")),
        boundaries=frozenset(names.label(each, "boundary") for each in _values(boundaries, "boundary")),
    )


def _split(given: Iterable[str], argument: str) -> list[str]:
    return _values((part.strip() for text in given for part in text.split(",")), argument)


def _values(given: Iterable[str], argument: str) -> list[str]:
    found = [value for value in given if value]
    if len(found) > MOST_VALUES:
        raise InvalidArgument(f"{argument} has {len(found)} values, {MOST_VALUES} are allowed")
    return found


def _known(given: Iterable[str], known: Collection[str], argument: str) -> list[str]:
    found = _split(given, argument)
    for each in found:
        if each not in known:
            raise InvalidArgument(f"{argument}: there is no {shown(each)}", meant(each, known, argument))
    return found
