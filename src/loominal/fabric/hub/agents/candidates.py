"""Agents as routing sees them: what is registered, what is granted, what they hold and whether they listen."""

from __future__ import annotations

from msgspec.structs import replace

from loominal.fabric.hub.agents.admission import PERSON
from loominal.fabric.hub.project import Project
from loominal.model import names
from loominal.model.agent import AgentRecord
from loominal.model.routing import Candidate

FRESH_SECONDS = 0.2  # how old the list of online agents may be when it decides about a head start


def candidate_of(project: Project, agent: str) -> Candidate | None:
    """Return `agent` as a candidate for work; None if it is not registered, not enrolled or not online."""
    record = project.agents.get(agent)
    standing = project.authority.standing(project.id, agent)
    if record is None or standing is None or not record.registered:
        return None
    now = project.clock.monotonic()
    if not project.presence.is_online(agent, now, project.timings):
        return None
    return replace(
        _registered(project, record),
        grants=standing.grants,
        holding=len(project.book.held_by.get(agent, ())),
        draining=project.presence.draining(agent),
        polled_at=project.clock.now() if project.polls.polling(agent) else None,
    )


def online_candidates(project: Project) -> list[Candidate]:
    """Return every agent that is online and registered; what they hold is as of at most FRESH_SECONDS ago."""
    now = project.clock.monotonic()
    if project.online is not None and now - project.online[0] <= FRESH_SECONDS:
        return project.online[1]
    found = [each for record in project.agents.registered() if (each := candidate_of(project, record.id))]
    project.online = now, found
    return found


def online_workers(project: Project) -> list[Candidate]:
    """Return the online candidates that somebody who offers work can count on: all but people."""
    return [each for each in online_candidates(project) if each.agent_type != PERSON]


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
            status=record.status,
        )
        project.registered[record.id] = known = record, candidate
    return known[1]
