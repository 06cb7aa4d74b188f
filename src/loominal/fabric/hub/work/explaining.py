"""explain_work: of each registered agent the first rule that keeps it from an item, or that it may take it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from loominal.fabric.hub.agents.admission import PERSON
from loominal.fabric.hub.agents.candidates import absent_candidate, rivals
from loominal.fabric.hub.agents.registry import Facet
from loominal.fabric.hub.agents.visibility import sees
from loominal.fabric.hub.caller import Caller
from loominal.fabric.hub.parts import fitting
from loominal.fabric.hub.project import Project
from loominal.fabric.hub.spinup.scaler import places
from loominal.fabric.hub.work.finding import resolve
from loominal.fabric.hub.work.views import Why
from loominal.fabric.operations.work import AgentVerdict, Explained, ExplainWork, TargetVerdict
from loominal.model.agent import AgentRecord
from loominal.model.routing import (
    HEAD_START_SECONDS,
    Candidate,
    Exclusion,
    Reason,
    barred,
    exclusion,
    route_of,
    waited_seconds,
)
from loominal.model.scaling import barred_target
from loominal.model.work import WAITING, WorkItem

RULES = list(Exclusion)
PEOPLE = {Facet.TYPE: PERSON}


class _Judged(NamedTuple):
    """An agent, and what keeps it from the item."""

    record: AgentRecord
    reason: Reason | None

    @property
    def place(self) -> tuple[int, str]:
        """Who may take it comes first, then who breaks one of the last rules; of equal ones by handle."""
        return len(RULES) - RULES.index(self.reason.exclusion) if self.reason else 0, self.record.handle


async def explain_work(project: Project, caller: Caller, args: ExplainWork) -> Explained:
    """Return who may take an item that waits, and what keeps all others from it: who comes nearest first.

    People are left out unless it is assigned to them. Nobody is named of an item that does not wait.
    """
    item = resolve(project, caller, args.work_id).item
    now, waits = project.clock.now(), item.status in WAITING
    left = max(HEAD_START_SECONDS - waited_seconds(item, now), 0.0)
    judged = _judge_all(project, item) if waits else iter(())
    shown = (_verdict(project, each, left) for each in judged if sees(project, caller, each.record))
    agents = tuple(fitting(shown, caller.limit_bytes))
    people = sum(_is_left_out(project.agents.known(each), item) for each in project.agents.having(PEOPLE))
    return Explained(
        id=item.id,
        task_id=item.task_id,
        status=project.book.status(item, now),
        boundary=item.boundary,
        waits_for=Why(project).of(item) or None,
        agents=agents,
        targets=tuple(target_verdicts(project, item)) if waits else (),
        more=project.agents.registered_count - people - len(agents) if waits else 0,
    )


def _judge_all(project: Project, item: WorkItem) -> Iterator[_Judged]:
    """Yield every agent: those that are there in order, then, by handle, those that are not."""
    here = {
        candidate.id: _Judged(project.agents.known(candidate.id), why) for candidate, why in _present(project, item)
    }
    yield from sorted((each for each in here.values() if not _is_left_out(each.record, item)), key=lambda it: it.place)
    for agent in project.agents.in_order(("", "")):
        record = project.agents.known(agent)
        if agent not in here and not _is_left_out(record, item):
            yield _Judged(record, _why_absent(project, item, agent))


def _present(project: Project, item: WorkItem) -> Iterator[tuple[Candidate, Reason | None]]:
    """Yield who is there and what keeps each from the item, asked once for each kind unless it is assigned."""
    now, others = project.clock.now(), rivals(project, route_of(item))
    known: dict[object, Reason | None] = {}
    for kind, candidate in project.crowd.members():
        key = candidate.id if item.assign_to else kind
        if key not in known:
            known[key] = exclusion(item, candidate, project.policy, project.id, now, others)
        yield candidate, known[key]


def _why_absent(project: Project, item: WorkItem, agent: str) -> Reason | None:
    candidate = absent_candidate(project, agent)
    if candidate is None:
        return Reason(Exclusion.GRANT, "not let into the project any more")
    return barred(route_of(item), candidate, project.policy, project.id, project.clock.now())


def target_verdicts(project: Project, item: WorkItem) -> Iterator[TargetVerdict]:
    """Yield every target, those that could be used first."""
    route, now = route_of(item), project.clock.now()
    judged = [(place, barred_target(route, place, project.policy, now)) for place in places(project)]
    for place, why in sorted(judged, key=lambda each: (each[1] is not None, each[0].target.name)):
        yield TargetVerdict(
            name=place.target.name,
            eligible=why is None,
            rule=why.bar if why else None,
            reason=why.phrase if why else "",
        )


def _is_left_out(record: AgentRecord, item: WorkItem) -> bool:
    return record.agent_type == PERSON and item.assign_to != record.id


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
