"""broadcast_work_offer: store what was asked, then its first state; the same offer again is the same item."""

from __future__ import annotations

import hashlib
import re
from datetime import datetime

import msgspec

from loominal.broker import subjects
from loominal.fabric.hub.agents.candidates import workers
from loominal.fabric.hub.agents.visibility import resolve as visible
from loominal.fabric.hub.caller import Caller
from loominal.fabric.hub.project import Project
from loominal.fabric.hub.spinup.scaler import spins_up
from loominal.fabric.hub.work.book import Entry
from loominal.fabric.hub.work.finding import resolve
from loominal.fabric.hub.work.moving import first
from loominal.fabric.hub.work.settling import settle
from loominal.fabric.operations.work import BroadcastWorkOffer, Offered
from loominal.fabric.protocol import content
from loominal.model import names, times
from loominal.model import record as records
from loominal.model.errors import BrokerUnavailable, Conflict, Duplicate, InvalidArgument, TooLarge
from loominal.model.grant import Role
from loominal.model.lifecycle import submitted
from loominal.model.routing import exclusion, route_of, why_waiting
from loominal.model.work import WAITING, Notify, Status, Submission, WorkItem, done_op, fits

MOST_CAPABILITIES = 32
MOST_DEPENDENCIES = 100
OWN_NAME = re.compile("t_[0-9a-f]{16}")


async def broadcast_work_offer(project: Project, caller: Caller, args: BroadcastWorkOffer) -> Offered:
    """Return the item: made now, or made by the same offer before (`duplicate` unless it is this very request)."""
    submission = new_submission(project, caller, args)
    stored, fresh = await _store(project, submission)
    if stored.digest != submission.digest:
        raise Duplicate(f"task {names.shown(stored.task_id)} was offered before with other content")
    entry = project.book.get(stored.id)
    if entry is None:
        entry = await start(project, stored)
    item = entry.item
    eligible, note = outlook(project, item)
    tells_more = caller.over_rest or caller.standing.role is Role.OPERATOR
    return Offered(
        id=item.id,
        task_id=item.task_id,
        status=_first_status(item, stored),
        duplicate=not fresh and stored.op != caller.op,
        eligible=eligible,
        note=note,
        agent_types=project.policy.rule(item.boundary).agent_types if tells_more else None,
        spin_up_triggered=spins_up(project, item.id) if tells_more else None,
    )


def outlook(project: Project, item: WorkItem) -> tuple[int, str | None]:
    """Return how many agents could take `item` now, and of one that waits and nobody can take, why."""
    now, crowd = project.clock.now(), workers(project, route_of(item))
    eligible = sum(count for agent, count in crowd if not exclusion(item, agent, project.policy, project.id, now))
    if eligible or item.status not in WAITING:
        return eligible, None
    return 0, why_waiting(item, crowd, project.policy, project.id, now)


async def start(project: Project, submission: Submission) -> Entry:
    """Return the item of a stored submission, with its first state written now or before."""
    entry = await first(project, first_state(project, submission))
    await settle(project, entry.item)
    return entry


def first_state(project: Project, submission: Submission) -> WorkItem:
    """Return the item that a submission makes, as it is before anybody has seen it."""
    parents = {parent: project.book.get(parent) for parent in submission.depends_on}
    outcomes = {
        parent: entry.item.status if entry and entry.item.ended_at else None for parent, entry in parents.items()
    }
    outcomes.update({parent: Status.DISCARDED for parent, entry in parents.items() if entry is None})
    return submitted(submission, outcomes, project.clock.now())


async def _store(project: Project, submission: Submission) -> tuple[Submission, bool]:
    """Return the stored submission of this id, and whether this call wrote it."""
    subject = subjects.submission(project.id, submission.id)
    known = project.book.get(submission.id)
    if known is not None and known.item.collected:
        raise Duplicate(f"task {names.shown(submission.task_id)} was offered before and has ended long ago")
    if known is None:
        check_new(project, submission)
        try:
            data = records.encode(submission)
            await project.work_log.append(subject, data, expect=0)
            project.offered.keep(submission, len(data))
            return submission, True
        except (Conflict, BrokerUnavailable):
            pass  # written before, by another request or by this one whose ack was lost
    last = await project.work_log.last(subject)
    if last is None:
        raise BrokerUnavailable("the submission could not be stored")
    return records.decode(Submission, last.data).value, False


def check_new(project: Project, submission: Submission) -> None:
    """Refuse what cannot be kept, or done in time any more; an offer that was accepted before may be repeated.

    Raises: InvalidArgument, TooLarge, QuotaExceeded.
    """
    deadline = submission.deadline
    if deadline is not None and deadline <= submission.submitted_at:
        raise InvalidArgument(f"the deadline {times.rfc3339(deadline)} has passed", "give a later one, such as '2h'")
    if not fits(first_state(project, submission)):  # once it is stored it is a promise
        raise TooLarge(f"task {names.shown(submission.task_id)} names too much", "fewer capabilities or dependencies")
    project.fullness.check("submission")


def new_submission(project: Project, caller: Caller, args: BroadcastWorkOffer) -> Submission:
    """Return what is asked as it is stored. Raises: InvalidArgument, BoundaryRefused, NotFound, TooLarge."""
    now = project.clock.now()
    wanted = {*args.capabilities, *([args.required_capability] if args.required_capability else [])}
    if len(wanted) > MOST_CAPABILITIES or len(args.depends_on) > MOST_DEPENDENCIES:
        raise InvalidArgument(
            f"at most {MOST_CAPABILITIES} capabilities and {MOST_DEPENDENCIES} dependencies", "name fewer"
        )
    capabilities = tuple(sorted({names.label(each, "capability") for each in wanted}))
    boundary = names.label(args.boundary, "boundary")
    project.policy.rule(boundary)
    task_id = names.task_id(args.task_id) if args.task_id is not None else _own_name(caller.op)
    return Submission(
        id=names.work_id(project.id, caller.agent, task_id),
        op=caller.op,
        digest=_digest(args, capabilities, boundary),
        task_id=task_id,
        submitter=caller.agent,
        description=args.description,
        capabilities=capabilities,
        boundary=boundary,
        priority=args.priority,
        deadline=_later(args.deadline, now),
        not_before=_later(args.not_before, now),
        depends_on=tuple(dict.fromkeys(resolve(project, caller, parent).item.id for parent in args.depends_on)),
        context_data=msgspec.Raw(msgspec.json.encode(args.context_data)),
        max_attempts=args.max_attempts,
        timeout_seconds=args.timeout_seconds,
        preferred_agent_type=_type(args.preferred_agent_type),
        required_agent_type=_type(args.required_agent_type),
        assign_to=visible(project, caller, args.assign_to).id if args.assign_to else "",
        notify=Notify.NONE if caller.over_rest else args.notify,  # it has no inbox
        submitted_at=now,
    )


def _own_name(op: str) -> str:
    """Return the task id of an offer without one: the same op again is the same task, another op another one."""
    return f"t_{hashlib.sha256(op.encode()).hexdigest()[:16]}"


def is_own_name(task_id: str) -> bool:
    """Return whether that task id looks like one of ours, which nobody has ever typed."""
    return OWN_NAME.fullmatch(task_id) is not None


def _digest(args: BroadcastWorkOffer, capabilities: tuple[str, ...], boundary: str) -> str:
    """Return what tells the same content from other content; times count as they were written ("2h")."""
    asked = msgspec.structs.replace(
        args, task_id=None, required_capability=None, capabilities=capabilities, boundary=boundary
    )
    return hashlib.sha256(content(asked)).hexdigest()[:32]


def _later(text: str | None, now: datetime) -> datetime | None:
    return times.instant(text, now, past=False) if text else None


def _type(text: str | None) -> str:
    return names.label(text, "agent type") if text else ""


def _first_status(item: WorkItem, submission: Submission) -> Status:
    """Return the status this submission was answered with, whatever happened since."""
    done = done_op(item, submission.op)
    return done.status if done else item.status
