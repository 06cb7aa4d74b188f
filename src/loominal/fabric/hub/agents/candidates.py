"""Agents as routing sees them: what is registered, what is granted, what they hold and whether they listen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from loominal.fabric.hub.agents.admission import PERSON
from loominal.model import names
from loominal.model.agent import AgentRecord, AgentStatus
from loominal.model.routing import Alike, Candidate, Route, favoured

if TYPE_CHECKING:
    from loominal.fabric.hub.project import Project


def candidate_of(project: Project, agent: str) -> Candidate | None:
    """Return `agent` as a candidate for work; None if it is not registered, not enrolled or not online."""
    record = project.agents.get(agent)
    if record is None or not record.registered:
        return None
    if not project.presence.is_online(agent, project.clock.monotonic(), project.timings):
        return None
    standing = project.authority.standing(project.id, agent)
    if standing is None:
        return None
    return replace(
        _registered(project, record),
        grants=standing.grants,
        holding=len(project.book.held_by.get(agent, ())),
        draining=agent in project.drains,
        status=record.status,
        polled_at=project.clock.now() if project.polls.polling(agent) else None,
    )


def absent_candidate(project: Project, agent: str) -> Candidate | None:
    """Return a registered agent as if it were not here; None if it is not registered or has no standing any more."""
    record, standing = project.agents.get(agent), project.authority.standing(project.id, agent)
    if record is None or standing is None or not record.registered:
        return None
    return replace(_registered(project, record), grants=standing.grants)


def rivals(project: Project, route: Route) -> list[Candidate]:
    """Return one agent of each kind that may be preferred to others for `route`."""
    return project.crowd.of_types(favoured(route, project.policy))


def workers(project: Project, route: Route) -> list[Alike]:
    """Return who may be counted on for `route`: online agents by kinds, without people; of assigned work that agent."""
    if route.assign_to:
        assigned = candidate_of(project, route.assign_to)
        return [Alike(assigned, 1)] if assigned else []
    return [each for each in project.crowd.alike() if each.agent.agent_type != PERSON]


def _registered(project: Project, record: AgentRecord) -> Candidate:
    """Return what the record alone says, kept for as long as the record stays."""
    known = project.registered.get(record.id)
    if known is None or known[0] is not record:
        candidate = Candidate(
            id=record.id,
            agent_type=names.label(record.agent_type, "agent type"),
            capabilities=frozenset(names.label(each, "capability") for each in record.capabilities),
            boundaries=frozenset(names.label(each, "boundary") for each in record.boundaries),
            max_concurrent=record.max_concurrent,
            status=AgentStatus.OFFLINE,
        )
        project.registered[record.id] = known = record, candidate
    return known[1]
