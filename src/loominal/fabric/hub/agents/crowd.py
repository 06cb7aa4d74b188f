"""Who is online and registered, as routing sees them: thousands of agents are few kinds that the rules tell apart.

Whatever changes an agent says so (`touch`); what passes by itself (somebody is heard of no more, a grant was changed
elsewhere) is found by looking at everybody again, as often as that is cheap.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from loominal.model.agent import AgentStatus
from loominal.model.grant import Grant
from loominal.model.routing import Alike, Candidate, room

FRESH_SECONDS = 0.2  # so old may be what passes by itself, when it decides about a head start or why an item waits
SHARE = 30.0  # and no more than one part in so many of the time is spent on looking at everybody


@dataclass(slots=True)
class _Kind:
    """Online agents of which each rule says the same."""

    key: object
    agent_type: str
    members: dict[str, Candidate] = field(default_factory=dict)


class Crowd:
    """The online, registered agents of one project, as `look` finds each (None: not online, or not registered)."""

    def __init__(self, look: Callable[[str], Candidate | None], online: Callable[[], Iterable[str]]) -> None:
        self._look = look
        self._online = online
        self._kinds: dict[object, _Kind] = {}
        self._of_type: defaultdict[str, dict[object, _Kind]] = defaultdict(dict)
        self._kind_of: dict[str, _Kind] = {}
        self._touched: set[str] = set()
        self._stale_at = 0.0  # monotonic: when everybody is looked at again

    def touch(self, agent: str) -> None:
        """Look at `agent` again before the next answer."""
        self._touched.add(agent)

    def touch_all(self) -> None:
        """Look at everybody again before the next answer."""
        self._stale_at = 0.0

    def get(self, agent: str) -> Candidate | None:
        """Return `agent` as routing sees it; None if it is not online or not registered."""
        self._freshen()
        kind = self._kind_of.get(agent)
        return kind.members[agent] if kind else None

    def alike(self) -> list[Alike]:
        """Return every kind: one of its agents, and how many there are."""
        self._freshen()
        return [_alike(kind) for kind in self._kinds.values()]

    def of_types(self, agent_types: Sequence[str]) -> list[Candidate]:
        """Return one agent of each kind of these types."""
        if not agent_types:  # as for most work, at every claim
            return []
        self._freshen()
        return [_alike(kind).agent for each in agent_types for kind in self._of_type.get(each, {}).values()]

    def members(self) -> Iterator[tuple[object, Candidate]]:
        """Yield every agent and what tells its kind from others."""
        self._freshen()
        for kind in self._kinds.values():
            for candidate in kind.members.values():
                yield kind.key, candidate

    def kind(self, agent: str) -> object:
        """Return what tells the kind of `agent` from others; None if it is not here."""
        self._freshen()
        kind = self._kind_of.get(agent)
        return kind.key if kind else None

    def _freshen(self) -> None:
        now = time.monotonic()
        if now >= self._stale_at:
            self._touched.update(self._kind_of, self._online())
        if not self._touched:
            return
        touched, self._touched = self._touched, set()
        for agent in touched:
            self._place(agent)
        if now >= self._stale_at:
            taken = time.monotonic() - now
            self._stale_at = now + max(FRESH_SECONDS, SHARE * taken)

    def _place(self, agent: str) -> None:
        candidate, old = self._look(agent), self._kind_of.get(agent)
        key = _sense(candidate) if candidate else None
        if old is not None:
            if key == old.key and candidate is not None:
                old.members[agent] = candidate
                return
            self._leave(agent, old)
        if candidate is not None:
            kind = self._kinds.get(key)
            if kind is None:
                kind = self._kinds[key] = self._of_type[candidate.agent_type][key] = _Kind(key, candidate.agent_type)
            kind.members[agent] = candidate
            self._kind_of[agent] = kind

    def _leave(self, agent: str, kind: _Kind) -> None:
        del kind.members[agent], self._kind_of[agent]
        if not kind.members:
            del self._kinds[kind.key], self._of_type[kind.agent_type][kind.key]


def _alike(kind: _Kind) -> Alike:
    return Alike(next(iter(kind.members.values())), len(kind.members))


def _sense(agent: Candidate) -> object:
    """Return all that the rules ask of an agent, but which one it is."""
    grants = frozenset(map(_worth, agent.grants))
    busy = agent.status is not AgentStatus.ONLINE
    named = (agent.agent_type, agent.capabilities, agent.boundaries, grants)
    return (*named, busy, agent.status is AgentStatus.OFFLINE, agent.draining, room(agent) > 0)


def _worth(grant: Grant) -> object:
    projects, boundaries = frozenset(grant.projects), frozenset(grant.boundaries)
    types, capabilities = frozenset(grant.agent_types), frozenset(grant.capabilities)
    return (grant.role, projects, boundaries, grant.every_boundary, types, capabilities, grant.expires_at)
