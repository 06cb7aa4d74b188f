"""Items as answers show them: what their holder needs, what lists show, why they wait."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import msgspec

from loominal.broker import subjects
from loominal.fabric.hub.agents.candidates import candidate_of, workers
from loominal.fabric.hub.caller import Caller
from loominal.fabric.hub.parts import part, room_for_entries
from loominal.fabric.hub.project import Project
from loominal.fabric.hub.work.moving import move
from loominal.fabric.operations.work import ProgressView, WorkView
from loominal.model import record as records
from loominal.model.agent import AgentStatus, JsonObject
from loominal.model.errors import CorruptRecord, IllegalMove, NotFound
from loominal.model.moves import Adopt
from loominal.model.routing import HEAD_START_SECONDS, Route, claimable_after, route_of, waited_seconds, why_waiting
from loominal.model.work import Status, Submission, WorkItem, status_at

MOST_SHOWN = 10
DESCRIPTION, CONTEXT = "description", "contextData"


async def work_view(project: Project, caller: Caller, item: WorkItem, limit_bytes: int) -> WorkView:
    """Return an item with description and context, each cut so that the whole takes at most `limit_bytes`."""
    submission = await submission_of(project, item.id)
    view = entry_view(project, caller, item)
    if submission is None:
        return view
    context: JsonObject = msgspec.json.decode(submission.context_data) or {}
    return with_texts(view, submission.description, context, limit_bytes)


def with_texts(view: WorkView, description: str, context: JsonObject, limit_bytes: int) -> WorkView:
    """Return `view` with both texts; what is too long is cut (or left out) and named in `truncated`."""
    room = room_for_entries(limit_bytes) - 1000
    said = part(description, 0, room // 2)
    truncated, chars = [], {}
    if said.truncated:
        truncated.append(DESCRIPTION)
        chars[DESCRIPTION] = said.chars
    encoded = msgspec.json.encode(context)
    if len(encoded) > room - len(msgspec.json.encode(said.text)):
        truncated.append(CONTEXT)
        chars[CONTEXT] = len(encoded.decode())
        context = {}
    return msgspec.structs.replace(
        view, description=said.text, context_data=context, truncated=tuple(truncated), chars=chars
    )


async def submission_of(project: Project, item_id: str) -> Submission | None:
    """Return what was asked; None if it is forgotten or cannot be read, which is noted."""
    if offered := project.offered.take(item_id):
        return offered
    last = await project.work_log.unchanging(subjects.submission(project.id, item_id))
    try:
        return records.decode(Submission, last.data).value if last else None
    except CorruptRecord as error:
        project.note_corrupt(subjects.submission(project.id, item_id), error)
        return None


def entry_view(project: Project, caller: Caller, item: WorkItem, why: Why | None = None) -> WorkView:
    """Return an item as lists show it: its description's beginning, and with `why` what it waits for."""
    now = project.clock.now()
    progress = project.progress.get(item.id) or item.progress
    mine = item.claimed_by == caller.agent
    return WorkView(
        id=item.id,
        task_id=item.task_id,
        description=item.summary,
        capabilities=item.capabilities,
        boundary=item.boundary,
        priority=item.priority,
        status=status_at(item, now),
        deadline=item.deadline,
        attempt=item.attempt,
        max_attempts=item.max_attempts,
        offered_by=project.agents.shown(item.submitter),
        claimed_by=project.agents.shown(item.claimed_by) if item.claimed_by else None,
        timeout_at=item.timeout_at,
        due_at=item.due_at if item.status is Status.SCHEDULED else None,
        progress=ProgressView(percent=progress.percent, message=progress.message, at=progress.at)
        if progress and item.status is Status.CLAIMED
        else None,
        cancel_requested=item.cancel_asked_at is not None,
        waits_for=(why.of(item) or None) if why else None,
        depends_on=tuple(item.deps),
        lease_token=item.token if mine else 0,
    )


class Why:
    """What items wait for, asked once for each route."""

    def __init__(self, project: Project) -> None:
        self._project = project
        self._known: dict[tuple[Route, bool], str] = {}  # by route, and whether a head start on it is over

    def of(self, item: WorkItem) -> str:
        """Return one sentence, empty if the item does not wait."""
        project, now = self._project, self._project.clock.now()
        if status_at(item, now) is not Status.READY:
            return why_waiting(item, (), project.policy, project.id, now)
        route, late = route_of(item), waited_seconds(item, now) >= HEAD_START_SECONDS
        if (route, late) not in self._known:
            why = why_waiting(item, workers(project, route), project.policy, project.id, now)
            self._known[route, late] = why
        return self._known[route, late]


def why_nothing(project: Project, agent: str, capability: str | None) -> str:
    """Return one sentence for an agent that got no work."""
    me = candidate_of(project, agent)
    if me is None:
        return "You are not registered or not heard of any more; join again."
    if me.status is AgentStatus.OFFLINE:
        return "You said that you are offline: update_presence with status online, or join again."
    if me.draining:
        return "You are being drained: nothing new is given to you; end when you are done."
    if me.holding >= me.max_concurrent:
        return f"You hold {me.holding} of {me.max_concurrent} items: complete, fail or release one first."
    waiting = len(project.book.ready)
    if not waiting:
        return "Nothing is ready. Wait with waitSeconds or wait_for_events instead of asking again."
    wanted = f" that needs {capability!r}" if capability else ""
    ready = "1 item is ready" if waiting == 1 else f"{waiting} items are ready"
    return f"{ready}, but none{wanted} that you may take: list_work says what each waits for."


async def adopted(project: Project, caller: Caller) -> AsyncIterator[WorkItem]:
    """Yield what the caller holds; claims of an earlier process of it become its own: same attempt, new lease token."""
    for item_id in sorted(project.book.held_by.get(caller.agent, ())):
        item = project.book.find(item_id).item
        if item.incarnation != caller.incarnation:
            try:
                event = Adopt(
                    by=caller.agent,
                    op=f"{caller.op[:40]}-{item_id[-12:]}",
                    token=item.token,
                    incarnation=caller.incarnation,
                )
                item = (await move(project, item_id, event)).item
            except (IllegalMove, NotFound):
                continue  # it ended in this very moment
        yield item


async def claims_of(project: Project, caller: Caller) -> tuple[WorkView, ...]:
    """Return what the caller holds, adopted."""
    share = caller.limit_bytes // (2 * max(len(project.book.held_by.get(caller.agent, ())), 1))
    return tuple([await work_view(project, caller, item, share) async for item in adopted(project, caller)])


def held(item: WorkItem) -> WorkView:
    """Return of a claim only what its holder needs to keep it and to end it."""
    return WorkView(
        id=item.id, task_id=item.task_id, lease_token=item.token, cancel_requested=item.cancel_asked_at is not None
    )


def ready_for(project: Project, caller: Caller, limit: int) -> tuple[WorkView, ...]:
    """Return some ready items that the caller could claim."""
    found = (project.book.find(item_id).item for item_id in claimable(project, caller.agent, limit))
    return tuple(entry_view(project, caller, item) for item in found)


def ready_count(project: Project, agent: str) -> int:
    """Return how many ready items `agent` could claim now."""
    may = _allowed(project, agent)
    return sum(count for route, count in project.book.ready.waiting().items() if may(route))


def cancels_for(project: Project, agent: str) -> list[str]:
    """Return the items `agent` holds and was asked to stop."""
    held = sorted(project.book.held_by.get(agent, ()))
    return [item_id for item_id in held if project.book.find(item_id).item.cancel_asked_at is not None]


def claimable(project: Project, agent: str, limit: int) -> list[str]:
    """Return up to `limit` ready items that `agent` could claim now, longest waiting first by route."""
    found: list[str] = []
    may = _allowed(project, agent)
    for route in project.book.ready.waiting():
        if may(route):
            found += project.book.ready.first(route, limit - len(found))
        if len(found) >= limit:
            break
    return found


def _allowed(project: Project, agent: str) -> Callable[[Route], bool]:
    """Return what tells whether `agent` may claim items of a route now, or once they have waited for a while."""
    me, now = candidate_of(project, agent), project.clock.now()

    def may(route: Route) -> bool:
        return me is not None and claimable_after(route, me, project.policy, project.id, now) is not None

    return may
