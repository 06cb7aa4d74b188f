"""explain_work: of each registered agent the first rule that keeps it from an item, or that it may take it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from loominal.fabric.hub.agents.admission import PERSON
from loominal.fabric.hub.agents.candidates import absent_candidate, candidate_of, rivals
from loominal.fabric.hub.agents.visibility import sees
from loominal.fabric.hub.caller import Caller
from loominal.fabric.hub.parts import fitting
from loominal.fabric.hub.project import Project
from loominal.fabric.hub.work.finding import resolve
from loominal.fabric.hub.work.views import Why
from loominal.fabric.operations.work import AgentVerdict, Explained, ExplainWork
from loominal.model.agent import AgentRecord
from loominal.model.routing import (
    HEAD_START_SECONDS,
    Exclusion,
    Reason,
    exclusion,
    route_of,
    waited_seconds,
)
from loominal.model.work import WAITING, WorkItem

RULES = list(Exclusion)


class _Judged(NamedTuple):
    """An agent, and what keeps it from the item."""

    record: AgentRecord
    reason: Reason | None
    missing: int  # rules that were not reached: 0 for who may take it

    @property
    def place(self) -> tuple[int, str]:
        return self.missing, self.record.handle


async def explain_work(project: Project, caller: Caller, args: ExplainWork) -> Explained:
    """Return who may take an item that waits, and what keeps all others from it: who comes nearest first.

    People are left out unless it is assigned to them. Nobody is named of an item that does not wait.
    """
    item = resolve(project, caller, args.work_id).item
    now = project.clock.now()
    project.crowd.touch_all()  # the sentence and the list must agree
    judged = sorted(_judge_all(project, item), key=lambda each: each.place) if item.status in WAITING else []
    left = max(HEAD_START_SECONDS - waited_seconds(item, now), 0.0)
    shown = (_verdict(project, each, left) for each in judged if sees(project, caller, each.record))
    agents = tuple(fitting(shown, caller.limit_bytes))
    return Explained(
        id=item.id,
        task_id=item.task_id,
        status=project.book.status(item, now),
        boundary=item.boundary,
        waits_for=Why(project).of(item) or None,
        agents=agents,
        more=len(judged) - len(agents),
    )


def _judge_all(project: Project, item: WorkItem) -> Iterator[_Judged]:
    now, others = project.clock.now(), rivals(project, route_of(item))
    for record in project.agents.registered():
        candidate = candidate_of(project, record.id) or absent_candidate(project, record.id)
        if candidate is None or (candidate.agent_type == PERSON and item.assign_to != record.id):
            continue
        reason = exclusion(item, candidate, project.policy, project.id, now, others)
        yield _Judged(record, reason, len(RULES) - RULES.index(reason.exclusion) if reason else 0)


def _verdict(project: Project, judged: _Judged, head_start_left: float) -> AgentVerdict:
    record, reason = judged.record, judged.reason
    return AgentVerdict(
        guid=record.id,
        handle=record.handle,
        agent_type=record.agent_type,
        eligible=reason is None,
        polling=project.polls.polling(record.id),
        rule=reason.exclusion if reason else None,
        reason=reason.phrase if reason else "",
        seconds=round(head_start_left, 1) if reason and reason.exclusion is Exclusion.HEAD_START else None,
    )
