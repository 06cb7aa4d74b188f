"""Routing: which agent may take which item, and why not. Pure rules: the hub asks at a claim, and the autoscaler."""

from __future__ import annotations

from collections import Counter
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from loominal.model.agent import AgentStatus
from loominal.model.grant import Grant, allows
from loominal.model.policy import MENDING, Policy, Rule
from loominal.model.times import Instant, rfc3339
from loominal.model.work import Status, WorkItem, status_at

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

HEAD_START_SECONDS = 30.0  # six polls' worth: a preferred agent that is awake takes it well within
AGEING_SECONDS = 60.0  # every minute of waiting is worth one step of priority
MOST_AGEING = 9  # so that the lowest priority reaches the highest, and nothing waits for ever


class Exclusion(StrEnum):
    """The rules that keep an agent from an item, in the order they are asked."""

    ASSIGNED = "assigned"
    STATUS = "status"
    GRANT = "grant"
    POLICY = "policy"
    BOUNDARY = "boundary"
    CAPABILITY = "capability"
    TYPE = "type"
    HEAD_START = "head-start"
    ROOM = "room"


class Reason(msgspec.Struct, frozen=True):
    """The first rule that keeps an agent from an item; `phrase` completes "the agent is …"."""

    exclusion: Exclusion
    phrase: str


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """What of an item decides who may take it; items of one route go to the same agents."""

    capabilities: frozenset[str]
    boundary: str
    preferred_agent_type: str = ""
    required_agent_type: str = ""
    assign_to: str = ""


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """An agent as the rules see it; names of capabilities, boundaries and types are labels."""

    id: str
    agent_type: str
    capabilities: frozenset[str] = frozenset()
    boundaries: frozenset[str] = frozenset()
    max_concurrent: int = 1
    holding: int = 0  # items it has claimed now
    draining: bool = False
    status: AgentStatus = AgentStatus.ONLINE
    grants: tuple[Grant, ...] = ()
    polled_at: Instant | None = None  # when it last asked for work; now, while a poll of it is parked


class Alike(NamedTuple):
    """Agents of which each rule says the same, but for work that is assigned: one of them, and how many there are."""

    agent: Candidate
    how_many: int


def route_of(item: WorkItem) -> Route:
    """Return the route of `item`."""
    return Route(
        capabilities=frozenset(item.capabilities),
        boundary=item.boundary,
        preferred_agent_type=item.preferred_agent_type,
        required_agent_type=item.required_agent_type,
        assign_to=item.assign_to,
    )


def exclusion(
    item: WorkItem, agent: Candidate, policy: Policy, project: str, now: Instant, others: Collection[Candidate] = ()
) -> Reason | None:
    """Return the first rule by which `agent` may not claim `item` now, None if it may.

    `others` are the agents that a preferred one may be among; `agent` itself may be one of them.
    """
    route = route_of(item)
    reason = barred(route, agent, policy, project, now)
    if reason is None and waited_seconds(item, now) < HEAD_START_SECONDS:
        reason = _behind(route, agent, policy, project, now, others)
    return reason or _full(agent)


def barred(route: Route, agent: Candidate, policy: Policy, project: str, now: Instant) -> Reason | None:
    """Return the first rule by which `agent` may not take work of `route`, however long it waits; room is not asked."""
    missing = route.capabilities - agent.capabilities
    if route.assign_to and route.assign_to != agent.id:
        return Reason(Exclusion.ASSIGNED, "not the agent it is assigned to")
    if agent.status is AgentStatus.OFFLINE or agent.draining:
        return Reason(Exclusion.STATUS, "draining" if agent.draining else "offline")
    if not _granted(route, agent, project, now):
        return Reason(Exclusion.GRANT, f"not granted {route.boundary!r} work of this kind")
    if refused := policy.refuses(route.boundary):
        return Reason(Exclusion.POLICY, f"shut out: {refused}")
    types = policy.boundaries[route.boundary].agent_types
    if types and agent.agent_type not in types:
        return Reason(Exclusion.POLICY, f"of a type that the policy does not let take {route.boundary!r} work")
    if route.boundary not in agent.boundaries:
        return Reason(Exclusion.BOUNDARY, f"not registered for the boundary {route.boundary!r}")
    if missing:
        return Reason(Exclusion.CAPABILITY, f"not registered for {', '.join(map(repr, sorted(missing)))}")
    if route.required_agent_type not in ("", agent.agent_type):
        return Reason(Exclusion.TYPE, f"not of the required type {route.required_agent_type!r}")
    return None


def claimable_after(
    route: Route, agent: Candidate, policy: Policy, project: str, now: Instant, others: Collection[Candidate] = ()
) -> float | None:
    """Return how many seconds an item of `route` must have waited before `agent` may claim it; None if it may not."""
    if barred(route, agent, policy, project, now) or _full(agent):
        return None
    return HEAD_START_SECONDS if _behind(route, agent, policy, project, now, others) else 0.0


def favoured(route: Route, policy: Policy) -> tuple[str, ...]:
    """Return the agent types that get a head start on `route`: the item's own word goes before the policy's."""
    if route.assign_to:
        return ()
    if route.preferred_agent_type:
        return (route.preferred_agent_type,)
    return policy.boundaries.get(route.boundary, Rule()).preferred


def room(agent: Candidate) -> int:
    """Return how many items `agent` could take beside what it holds."""
    return max(agent.max_concurrent - agent.holding, 0)


def waited_seconds(item: WorkItem, now: Instant) -> float:
    """Return for how long `item` has been ready, 0 if it is not yet."""
    return max((now - item.ready_at).total_seconds(), 0.0) if item.ready_at else 0.0


def effective_priority(priority: int, waited_seconds: float) -> int:
    """Return `priority` raised by one for each minute waited, at most by nine."""
    return priority + min(int(max(waited_seconds, 0.0) // AGEING_SECONDS), MOST_AGEING)


def why_waiting(item: WorkItem, crowd: Sequence[Alike], policy: Policy, project: str, now: Instant) -> str:
    """Return one sentence for people: what `item` waits for, empty if it does not wait.

    `crowd` are the agents that are there; of an item that is assigned to an agent only that one.
    """
    match status_at(item, now):
        case Status.BLOCKED:
            return f"It waits for {', '.join(parent for parent, outcome in item.deps.items() if outcome is None)}."
        case Status.SCHEDULED:
            again = "tried again" if item.attempt else "ready"
            return f"It will be {again} at {rfc3339(item.due_at or now)}."
        case Status.READY:
            return _why_ready(item, crowd, policy, project, now)
        case _:
            return ""


def _why_ready(item: WorkItem, crowd: Sequence[Alike], policy: Policy, project: str, now: Instant) -> str:
    if refused := policy.refuses(item.boundary):
        return f"Nobody may take it: {refused}; {MENDING}."
    others = [alike.agent for alike in crowd]
    counts: Counter[str] = Counter()
    for agent, count in crowd:
        reason = exclusion(item, agent, policy, project, now, others)
        counts[reason.phrase if reason else ""] += count
    if eligible := counts[""]:
        return f"{_agents(eligible)} could take it and will when {'it asks' if eligible == 1 else 'one asks'} for work."
    if item.assign_to:
        only = next((f"is {phrase}" for phrase in counts if phrase), "is not online")
        return f"The agent that it is assigned to {only}."
    if not crowd:
        return "No registered agent is online in this project."
    named = "; ".join(f"{count} {phrase}" for phrase, count in counts.most_common() if phrase)
    return f"No agent can take it now, of {_agents(counts.total())}: {named}."


def _agents(count: int) -> str:
    return "1 agent" if count == 1 else f"{count} agents"


def _granted(route: Route, agent: Candidate, project: str, now: Instant) -> bool:
    return allows(
        agent.grants,
        project=project,
        agent_type=agent.agent_type,
        boundary=route.boundary,
        capabilities=route.capabilities,
        now=now,
    )


def _behind(
    route: Route, agent: Candidate, policy: Policy, project: str, now: Instant, others: Collection[Candidate]
) -> Reason | None:
    """Return the reason why `agent` must leave new items of `route` to a preferred one that could take them now."""
    preferred = favoured(route, policy)
    if not preferred or agent.agent_type in preferred:
        return None
    for other in others:
        awake = other.agent_type in preferred and other.status is AgentStatus.ONLINE and _full(other) is None
        if awake and barred(route, other, policy, project, now) is None:
            kept = f"behind the preferred {other.agent_type!r} for its first {HEAD_START_SECONDS:.0f} s"
            return Reason(Exclusion.HEAD_START, kept)
    return None


def _full(agent: Candidate) -> Reason | None:
    return None if room(agent) else Reason(Exclusion.ROOM, "without room")
