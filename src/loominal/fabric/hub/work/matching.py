"""Who is let look first when work is ready: least loaded, then tightest match, then longest idle."""

from __future__ import annotations

from datetime import UTC, datetime

from loominal.fabric.hub.agents.candidates import rivals
from loominal.fabric.hub.project import Project
from loominal.fabric.hub.wakes import ANY_WORK
from loominal.fabric.hub.work.polls import Poll
from loominal.model.routing import Candidate, Reason, exclusion, route_of
from loominal.model.work import WorkItem

NEVER = datetime.min.replace(tzinfo=UTC)  # of who never had a claim, as far as this hub knows

Rank = tuple[int, int, datetime, float]


def offer(project: Project, item: WorkItem) -> None:
    """Let the best parked agent that may claim `item` look for it; without one, those who wait for any event."""
    polls = [poll for poll in project.polls if not poll.look.is_set()]
    if not polls:  # always so while a project is loaded: nobody's candidacy need be looked at
        project.wakes.wake(ANY_WORK)
        return
    now, others = project.clock.now(), rivals(project, route_of(item))
    judged: dict[object, Reason | None] = {}  # of each kind of agents
    best: tuple[Rank, Poll] | None = None
    for poll in polls:
        candidate, kind = project.crowd.get(poll.agent), project.crowd.kind(poll.agent)
        if candidate is None or (item.assign_to and item.assign_to != poll.agent):
            continue
        if kind not in judged:
            judged[kind] = exclusion(item, candidate, project.policy, project.id, now, others)
        if judged[kind] is None and (best is None or _rank(project, candidate, poll) < best[0]):
            best = _rank(project, candidate, poll), poll
    if best:
        best[1].look.set()
    else:
        project.wakes.wake(ANY_WORK)


def look_again(project: Project) -> None:
    """Let everybody look who waits for work, the best first: a head start may have ended, a lost wake is made good."""
    waiting = [(candidate, poll) for poll in project.polls if (candidate := project.crowd.get(poll.agent))]
    for _, poll in sorted(waiting, key=lambda pair: _rank(project, *pair)):
        poll.look.set()


def _rank(project: Project, agent: Candidate, poll: Poll) -> Rank:
    """Return the order of choosing, the smallest first. Whoever can do the least beside an item fits tightest."""
    return (agent.holding, len(agent.capabilities), project.idle_since.get(agent.id, NEVER), poll.since)
