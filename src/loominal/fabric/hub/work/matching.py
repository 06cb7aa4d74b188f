"""Who is let look first when an item becomes ready: least loaded, then tightest match, then longest waiting."""

from __future__ import annotations

from loominal.fabric.hub.agents.candidates import candidate_of, online_candidates
from loominal.fabric.hub.project import Project
from loominal.fabric.hub.wakes import ANY_WORK
from loominal.fabric.hub.work.polls import Poll
from loominal.model.routing import exclusion
from loominal.model.work import WorkItem


def offer(project: Project, item: WorkItem) -> None:
    """Let the best parked agent that may claim `item` look for it; without one, those who wait for any event."""
    polls = list(project.polls)
    if not polls:  # always so while a project is loaded: nobody's candidacy need be looked at
        project.wakes.wake(ANY_WORK)
        return
    now, others = project.clock.now(), online_candidates(project)
    best: tuple[tuple[int, int, float], Poll] | None = None
    for poll in polls:
        candidate = None if poll.look.is_set() else candidate_of(project, poll.agent)
        if candidate is None or exclusion(item, candidate, project.policy, project.id, now, others):
            continue
        spare = len(candidate.capabilities) - len(item.capabilities)
        rank = (candidate.holding, spare, poll.since)
        if best is None or rank < best[0]:
            best = rank, poll
    if best:
        best[1].look.set()
    else:
        project.wakes.wake(ANY_WORK)
