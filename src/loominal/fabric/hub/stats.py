"""Counts of a project, from the indexes that the hub keeps anyway: also with 100 000 items they cost little."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress

from loominal.broker.connection import Received
from loominal.fabric.hub.caller import Caller
from loominal.fabric.hub.project import Project
from loominal.fabric.hub.work.judging import notice_due
from loominal.fabric.operations.stats import GetStats, ListProjects, Projects, ProjectView, Stats, TargetCounts
from loominal.fabric.protocol import encode_answer
from loominal.model.agent import AgentStatus
from loominal.model.errors import LoominalError
from loominal.model.grant import Role
from loominal.model.launch import LaunchStatus
from loominal.model.routing import Route
from loominal.model.work import Status


async def list_projects(project: Project, caller: Caller, _args: ListProjects) -> Projects:
    """Return every project where the caller may be anything at all; an agent sees its own."""
    known = {project.id: project.title}
    if caller.standing.role is not Role.AGENT:
        known = project.authority.titles() | known
    found = tuple(
        ProjectView(project_id=each, project=title) for each, title in known.items() if caller.reaches([each])
    )
    return Projects(projects=found, total=len(found))


async def get_stats(project: Project, _caller: Caller, _args: GetStats) -> Stats:
    """Return the counts as they are now."""
    return counted(project)


async def answer_weft(project: Project, question: Received) -> None:
    """Answer a weft that tells readers of events how the project stands; whom that does not reach asks again."""
    with suppress(LoominalError):
        await project.broker.publish(question.reply, encode_answer(counted(project)))


def counted(project: Project) -> Stats:
    """Return the counts as they are now."""
    notice_due(project)
    work = project.book.counts(project.clock.now())
    waits = oldest_ready_seconds(project)
    return Stats(
        agents=dict(agents_by_status(project)),
        work={status: work[status] for status in Status},
        oldest_ready_seconds=max(waits.values(), default=None),
        dead=work[Status.DEAD],
        targets=target_counts(project),
        spin_ups={status: project.launches.counts[status] for status in LaunchStatus},
        unmet_routes=len(project.spinup.unmet),
    )


def target_counts(project: Project) -> TargetCounts:
    """Return how many targets there are, and where agents may be started."""
    every, sick = project.targets.all(), {place for place, each in project.targets.health.items() if not each.healthy}
    enabled = [each.id for each in every if each.enabled]
    return TargetCounts(total=len(every), enabled=len(enabled), healthy=sum(each not in sick for each in enabled))


def agents_by_status(project: Project) -> Counter[AgentStatus]:
    """Return how many registered agents have each status."""
    found = Counter(dict.fromkeys(AgentStatus, 0))
    for kind in project.crowd.alike():
        found[kind.agent.status] += kind.how_many
    found[AgentStatus.OFFLINE] += project.agents.registered_count - found.total()
    return found


def oldest_ready_seconds(project: Project) -> dict[Route, float]:
    """Return how long the oldest ready item of each route waits."""
    now = project.clock.now().timestamp()
    return {route: max(now - at, 0.0) for route, at in project.book.ready.waiting_since().items()}
