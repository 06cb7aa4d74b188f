"""What a holder says of its claim: progress, done, failed, handed back. The lease token decides, not its word."""

from __future__ import annotations

import random
from contextlib import suppress
from datetime import timedelta

import msgspec

from loominal.broker import subjects
from loominal.fabric.hub.caller import Caller
from loominal.fabric.hub.feed import tell_progress
from loominal.fabric.hub.project import Project
from loominal.fabric.hub.work.book import Entry, read
from loominal.fabric.hub.work.finding import resolve
from loominal.fabric.hub.work.moving import move
from loominal.fabric.operations.work import (
    CompleteWork,
    FailWork,
    ProgressReported,
    ReleaseWork,
    ReportProgress,
    WorkMoved,
)
from loominal.model import moves
from loominal.model.errors import IllegalMove, LeaseLost, LoominalError, NotOwner
from loominal.model.lifecycle import backoff_seconds, recoverable
from loominal.model.moves import Complete, Fail, Keep, Recover, Release
from loominal.model.work import ENDED, Progress, Result, WorkItem, done_op

PROGRESS_SECONDS = 600.0  # between two stored progress records of a claim; in between it is the leader's memory


async def complete_work(project: Project, caller: Caller, args: CompleteWork) -> WorkMoved:
    """End the item as done; a lapsed item that nobody took since may still be completed by its last holder."""
    result = Result(
        summary=args.summary, result=msgspec.Raw(msgspec.json.encode(args.result)), artifacts=args.artifacts
    )
    entry = await _held(project, caller, args.work_id)
    item, token = entry.item, caller.lease_token
    try:
        if recoverable(item, caller.agent, token):
            with suppress(IllegalMove):  # a heartbeat resumed it in this very moment
                event = Recover(by=caller.agent, op=caller.op, token=token, result=result)
                return _answer(await move(project, item.id, event), caller)
        done = Complete(by=caller.agent, op=caller.op, token=token, result=result)
        return _answer(await move(project, item.id, done), caller)
    except LeaseLost as lost:
        await _keep(project, caller, item.id, result)
        raise _lost(project, item.id) from lost


async def fail_work(project: Project, caller: Caller, args: FailWork) -> WorkMoved:
    """End the attempt; the item is tried again or becomes a dead letter."""
    entry = await _resumed(project, caller, args.work_id)
    delay = backoff_seconds(entry.item.attempt, random.uniform(-1, 1)) * project.timings.pace
    event = Fail(
        by=caller.agent,
        op=caller.op,
        token=caller.lease_token,
        error=args.error,
        retryable=args.retryable,
        delay_seconds=delay,
        usage=args.usage,
    )
    return await _end(project, caller, entry, event)


async def release_work(project: Project, caller: Caller, args: ReleaseWork) -> WorkMoved:
    """Hand the item back; the attempt does not count."""
    entry = await _resumed(project, caller, args.work_id)
    event = Release(by=caller.agent, op=caller.op, token=caller.lease_token, reason=args.reason, usage=args.usage)
    return await _end(project, caller, entry, event)


async def report_progress(project: Project, caller: Caller, args: ReportProgress) -> ProgressReported:
    """Take a progress report: remembered at once, stored at most every PROGRESS_SECONDS."""
    entry = await _resumed(project, caller, args.work_id)
    item, now = entry.item, project.clock.now()
    lease = project.leases.get(item.id)
    if lease is None or (lease.agent, lease.token) != (caller.agent, caller.lease_token):
        if item.status in ENDED and (item.last_holder, item.token) == (caller.agent, caller.lease_token):
            raise IllegalMove(f"{item.id} is {item.status}: no progress", "nothing is left to report")
        raise _lost(project, item.id)
    before = project.progress.get(item.id)
    percent = args.percent if args.percent is not None else (before.percent if before else 0.0)
    said = project.progress[item.id] = Progress(percent=percent, message=args.message[:400], at=now)
    project.movements.note(item.id)
    project.leases.active(item.id, project.clock.monotonic())
    if item.last.at + timedelta(seconds=PROGRESS_SECONDS) < now:
        event = moves.Progress(by=caller.agent, token=caller.lease_token, percent=percent, message=args.message)
        await move(project, item.id, event)
    await tell_progress(project.broker, project.id, item.id, lease.token, said)
    project.wakes.wake(item.id)
    return ProgressReported(work_id=item.id, percent=percent, cancel_requested=item.cancel_asked_at is not None)


async def _held(project: Project, caller: Caller, work_id: str) -> Entry:
    """Return the item if the caller holds it, or did; a stale lease token is for `step` to judge."""
    entry = resolve(project, caller, work_id)
    item = entry.item
    if done_op(item, caller.op) or _ever_held(item, caller.agent) or await _claimed_once(project, caller, item):
        return entry
    holder = project.agents.shown(item.claimed_by) if item.claimed_by else "nobody"
    raise NotOwner(f"{item.id} is {item.status}, held by {holder}, not by you", "claim_work first")


def _ever_held(item: WorkItem, agent: str) -> bool:
    """Return whether `agent` holds the item or lost it; nobody else has anything to say about it."""
    return agent in (item.claimed_by, item.last_holder) or any(error.by == agent for error in item.errors)


async def _claimed_once(project: Project, caller: Caller, item: WorkItem) -> bool:
    """Return whether the caller's lease token names a claim of its own, as far back as the log goes."""
    record = await project.work_log.at(caller.lease_token) if caller.lease_token else None
    if record is None or record.subject != subjects.item(project.id, item.id):
        return False
    return read(record).item.claimed_by == caller.agent


async def _resumed(project: Project, caller: Caller, work_id: str) -> Entry:
    """Return the item as `_held`; if it lapsed and nobody took it since, the caller holds it again."""
    entry = await _held(project, caller, work_id)
    if done_op(entry.item, caller.op) or not recoverable(entry.item, caller.agent, caller.lease_token):
        return entry
    return await resume(project, caller.agent, caller.incarnation, entry.item, caller.lease_token)


async def resume(project: Project, agent: str, incarnation: str, item: WorkItem, token: int) -> Entry:
    """Give a lapsed item back to its last holder, with the lease token it knows. Raises: LeaseLost, IllegalMove."""
    try:
        return await move(project, item.id, Recover(by=agent, token=token, incarnation=incarnation))
    except IllegalMove:
        entry = project.book.find(item.id)
        if (entry.item.claimed_by, entry.item.token) != (agent, token):
            raise
        return entry  # resumed by a heartbeat or request that came at the same time


async def _end(project: Project, caller: Caller, entry: Entry, event: Fail | Release) -> WorkMoved:
    try:
        return _answer(await move(project, entry.item.id, event), caller)
    except LeaseLost as lost:
        raise _lost(project, entry.item.id) from lost


async def _keep(project: Project, caller: Caller, item_id: str, result: Result) -> None:
    """Keep a late result for review, once for each claim that the caller lost; a guessed lease token was none."""
    item = project.book.find(item_id).item
    known = any((late.by, late.token) == (caller.agent, caller.lease_token) for late in item.review)
    if not known and await _claimed_once(project, caller, item):
        await move(project, item_id, Keep(by=caller.agent, token=caller.lease_token, result=result))


def _lost(project: Project, item_id: str) -> LoominalError:
    entry = project.book.get(item_id)
    if entry is None:
        return LeaseLost(f"{item_id} is gone")
    item = entry.item
    owner = f"claimed by {project.agents.shown(item.claimed_by)}" if item.claimed_by else f"now {item.status}"
    return LeaseLost(f"your claim of {item.id} has ended; it is {owner}")


def _answer(entry: Entry, caller: Caller) -> WorkMoved:
    """Return the answer of the caller's op, which may be an older move of the item."""
    done = done_op(entry.item, caller.op)
    if done is None:
        return WorkMoved(work_id=entry.item.id, status=entry.item.status)
    return WorkMoved(work_id=entry.item.id, status=done.status, next_attempt_at=done.next_attempt_at)
