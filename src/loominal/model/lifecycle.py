"""The life of a work item: its first state, and `step`, the one function that gives it another.

The hub appends what comes out; tests and the log checker use the same function. Source: the design, section 5.
"""

from __future__ import annotations

import hashlib
from datetime import timedelta
from typing import TYPE_CHECKING, assert_never

import msgspec
from msgspec.structs import replace

from loominal.model import moves, work
from loominal.model.errors import IllegalMove, LeaseLost
from loominal.model.work import DeadReason, Failure, LateResult, Move, Result, Status, beginning, status_at

if TYPE_CHECKING:
    from collections.abc import Mapping

    from loominal.model.moves import WorkEvent
    from loominal.model.times import Instant
    from loominal.model.work import Submission, WorkItem

MAX_MOVES = 100  # an item that goes from hand to hand this often without an end is nobody's work
MAX_CRASHES = 3  # distinct agents that ended while they held it: the item may be what kills them
BACKOFF_SECONDS = 5.0
BACKOFF_SPREAD = 0.2  # so that items that failed together do not come back together
LONGEST_BACKOFF_SECONDS = 300.0
LAPSE_DELAY_SECONDS = 1.0  # long enough for a holder that only lost its connection to come back first
_UNCOUNTED = frozenset({Move.PROGRESS, Move.RESOLVE, Move.KEEP})  # they do not bring an item nearer to nobody

_WHAT_NEXT = {
    Status.SCHEDULED: "claim it when it is ready",
    Status.BLOCKED: "it waits for other items",
    Status.READY: "claim it first",
    Status.CLAIMED: "only its holder can complete, fail or release it",
    Status.DONE: "get_work shows its result",
    Status.DEAD: "retry_dead_letter_item makes it ready again",
    Status.CANCELLED: "offer it again under another task id",
    Status.DISCARDED: "offer it again under another task id",
}


def submitted(submission: Submission, outcomes: Mapping[str, Status | None], now: Instant) -> WorkItem:
    """Return the first state of what was asked; `outcomes` tells how each dependency ended, None if it has not."""
    item = work.WorkItem(
        id=submission.id,
        task_id=submission.task_id,
        submitter=submission.submitter,
        summary=_one_line(submission.description),
        capabilities=submission.capabilities,
        boundary=submission.boundary,
        priority=submission.priority,
        deadline=submission.deadline,
        preferred_agent_type=submission.preferred_agent_type,
        required_agent_type=submission.required_agent_type,
        assign_to=submission.assign_to,
        max_attempts=submission.max_attempts,
        timeout_seconds=submission.timeout_seconds,
        notify=submission.notify,
        submitted_at=submission.submitted_at,
        deps={parent: outcomes.get(parent) for parent in submission.depends_on},
        status=Status.BLOCKED,
        due_at=submission.not_before,
        ops=(work.OpDone(op=submission.op, move=Move.SUBMIT, status=Status.BLOCKED, at=now),),
        last=work.LastMove(move=Move.SUBMIT, at=now, by=submission.submitter),
    )
    first = _unblocked(item, now)
    return replace(first, ops=(replace(item.ops[0], status=first.status),))


def step(item: WorkItem, event: WorkEvent, now: Instant) -> WorkItem:
    """Return `item` after `event`.

    Raises: LeaseLost if the event's lease token is stale, IllegalMove if the item's status has no such move or what
    the move asks for is not so.
    """
    if item.collected:
        raise IllegalMove(f"{item.id} is forgotten", "offer it again under another task id")
    seen = item if status_at(item, now) is item.status else replace(item, status=Status.READY, due_at=None)
    if isinstance(event, moves.Held):
        _check_lease(seen, event)
    if seen.status not in moves.MOVES[event.move][0]:
        dead_only = event.move in (Move.RETRY, Move.DISCARD) and seen.status not in work.ENDED
        hint = "only a dead item can be; cancel_work ends this one" if dead_only else _WHAT_NEXT[seen.status]
        raise IllegalMove(f"{item.id} is {seen.status}: no {event.move}", hint)
    after = _moved(seen, event, now)
    return _recorded(after, event, now)


def recoverable(item: WorkItem, by: str, token: int) -> bool:
    """Return whether `by` may still complete or resume a lapsed `item`: the last holder, and nobody held it since."""
    waiting = item.status in (Status.SCHEDULED, Status.READY)
    return waiting and token > 0 and (item.last_holder, item.token) == (by, token)


def too_many_moves(item: WorkItem) -> bool:
    """Return whether the next claim would be one too many; `Exhaust` then ends the item."""
    return item.moves >= MAX_MOVES


def backoff_seconds(attempt: int, jitter: float) -> float:
    """Return how long to wait after failed attempt number `attempt`; `jitter` (-1 to 1) spreads it by a fifth."""
    doubled = BACKOFF_SECONDS * 2.0 ** min(attempt - 1, 10)
    return min(doubled * (1 + BACKOFF_SPREAD * jitter), LONGEST_BACKOFF_SECONDS)


def _check_lease(item: WorkItem, event: moves.Held) -> None:
    if event.token > 0 and (event.by, event.token) == (item.claimed_by or item.last_holder, item.token):
        return
    now = f"claimed by {item.claimed_by}" if item.status is Status.CLAIMED else item.status
    raise LeaseLost(f"{event.by} does not hold {item.id} any more; it is {now}")


def _moved(item: WorkItem, event: WorkEvent, now: Instant) -> WorkItem:  # one line a move
    match event:
        case moves.Claim():
            return _claimed(item, event, now)
        case moves.Adopt():
            return replace(item, token=0, incarnation=event.incarnation, claim_op=event.op)
        case moves.Progress():
            said = work.Progress(percent=event.percent, message=beginning(event.message, work.NOTE_BYTES), at=now)
            return replace(item, progress=said)
        case moves.Complete():
            return _done(item, event.result, now)
        case moves.Fail():
            return _failed(item, event, now)
        case moves.Release():
            return _released(item, now)
        case moves.Lapse():
            return _lapsed(item, event, now)
        case moves.Recover():
            return _recovered(item, event, now)
        case moves.AskCancel():
            reason = beginning(event.reason, work.NOTE_BYTES)
            return replace(
                item, cancel_asked_at=item.cancel_asked_at or now, cancel_reason=item.cancel_reason or reason
            )
        case moves.Cancel():
            return _cancelled(item, event, now)
        case moves.Resolve():
            return _resolved(item, event, now)
        case moves.Expire():
            return _expired(item, now)
        case moves.Exhaust():
            return _exhausted(item, now)
        case moves.TimeOut():
            return _tried(_with_failure(item, event.error, now), now, delay_seconds=_delay(item, event))
        case moves.Retry():
            return _retried(item, event, now)
        case moves.Discard():
            return replace(item, status=Status.DISCARDED)  # its end is that it died: nobody is told twice
        case moves.Tell():
            return replace(item, told=True)
        case moves.Keep():
            return replace(item, review=(_late(event, now),))
        case moves.Collect():
            return replace(item, ops=(), errors=(), crashed=(), review=(), deps={}, result=None, progress=None)
        case _:
            assert_never(event)


def _recorded(item: WorkItem, event: WorkEvent, now: Instant) -> WorkItem:
    ops = item.ops
    if event.op:
        due_at = item.due_at if item.status is Status.SCHEDULED else None
        done = work.OpDone(op=event.op, move=event.move, status=item.status, at=now, next_attempt_at=due_at)
        ops = (*ops, done)[-work.OPS_KEPT :]
    note = beginning(" ".join(event.note.split()), work.NOTE_BYTES)
    counted = event.move not in _UNCOUNTED and event.move is not Move.RETRY
    return replace(
        item,
        ops=ops,
        moves=item.moves + counted,
        last=work.LastMove(move=event.move, at=now, by=event.by, note=note, usage=event.used),
    )


def _claimed(item: WorkItem, event: moves.Claim, now: Instant) -> WorkItem:
    if too_many_moves(item):
        raise IllegalMove(f"{item.id} has changed hands {item.moves} times without an end", "it becomes a dead letter")
    return _held(item, event.by, event.incarnation, event.op, now, token=0, attempt=item.attempt + 1)


def _held(item: WorkItem, by: str, incarnation: str, op: str, now: Instant, *, token: int, attempt: int) -> WorkItem:
    return replace(
        item,
        status=Status.CLAIMED,
        token=token,
        attempt=attempt,
        claimed_by=by,
        incarnation=incarnation,
        claim_op=op,
        claimed_at=now,
        timeout_at=now + timedelta(seconds=item.timeout_seconds),
        ready_at=None,
        due_at=None,
        progress=None,
    )


def _let_go(item: WorkItem, status: Status, *, token: int = 0) -> WorkItem:
    """Return `item` in `status` without a holder; with its `token` the last one may come back."""
    return replace(
        item,
        status=status,
        token=token,
        claimed_by="",
        incarnation="",
        claim_op="",
        claimed_at=None,
        timeout_at=None,
        last_holder=item.claimed_by or item.last_holder,
        ready_at=None,
        due_at=None,
        progress=None,
    )


def _ended(item: WorkItem, status: Status, now: Instant, reason: DeadReason | None = None) -> WorkItem:
    return replace(_let_go(item, status), ended_at=now, dead_reason=reason)


def _done(item: WorkItem, result: Result, now: Instant) -> WorkItem:
    return replace(_let_go(item, Status.DONE, token=item.token), ended_at=now, result=result)


def _failed(item: WorkItem, event: moves.Fail, now: Instant) -> WorkItem:
    known = _with_failure(item, event.error, now)
    if not event.retryable and item.cancel_asked_at is None:
        return _ended(known, Status.DEAD, now, DeadReason.NOT_RETRYABLE)
    return _tried(known, now, delay_seconds=_delay(item, event))


def _delay(item: WorkItem, event: moves.Fail | moves.TimeOut) -> float:
    if event.delay_seconds is not None:
        return event.delay_seconds
    return backoff_seconds(item.attempt, event.jitter)


def _lapsed(item: WorkItem, event: moves.Lapse, now: Instant) -> WorkItem:
    known = _with_failure(item, event.note, now)
    if event.seen_to_end and item.claimed_by not in item.crashed:
        known = replace(known, crashed=(*item.crashed, item.claimed_by))
    delay_seconds = LAPSE_DELAY_SECONDS if event.delay_seconds is None else event.delay_seconds
    return _tried(known, now, delay_seconds=delay_seconds, token=item.token)


def _tried(item: WorkItem, now: Instant, *, delay_seconds: float, token: int = 0) -> WorkItem:
    """Return `item` after an attempt that came to nothing; with its `token` a lapsed holder may come back."""
    if item.cancel_asked_at is not None:
        return _ended(item, Status.CANCELLED, now)
    if len(item.crashed) >= MAX_CRASHES:
        return _ended(item, Status.DEAD, now, DeadReason.CRASHES)
    if item.attempt >= item.max_attempts:
        return _ended(item, Status.DEAD, now, DeadReason.MAX_ATTEMPTS)
    due_at = now + timedelta(seconds=delay_seconds)
    return replace(_let_go(item, Status.SCHEDULED, token=token), due_at=due_at, ready_at=due_at)


def _released(item: WorkItem, now: Instant) -> WorkItem:
    untried = replace(item, attempt=item.attempt - 1)
    if item.cancel_asked_at is not None:
        return _ended(untried, Status.CANCELLED, now)
    return replace(_let_go(untried, Status.READY), ready_at=now)


def _recovered(item: WorkItem, event: moves.Recover, now: Instant) -> WorkItem:
    if event.result is not None:
        return _done(item, event.result, now)
    return _held(item, event.by, event.incarnation, event.op, now, token=item.token, attempt=item.attempt)


def _cancelled(item: WorkItem, event: moves.Cancel, now: Instant) -> WorkItem:
    if item.status is Status.CLAIMED and item.cancel_asked_at is None:
        raise IllegalMove(f"{item.id} is claimed by {item.claimed_by}", "ask its holder to stop first")
    reason = beginning(event.reason, work.NOTE_BYTES) or item.cancel_reason
    return replace(_ended(item, Status.CANCELLED, now), cancel_reason=reason)


def _resolved(item: WorkItem, event: moves.Resolve, now: Instant) -> WorkItem:
    if item.deps.get(event.parent, event.outcome) is not None or event.outcome not in work.ENDED:
        raise IllegalMove(f"{item.id} does not wait for {event.parent} to be {event.outcome}")
    return _unblocked(replace(item, deps=item.deps | {event.parent: event.outcome}), now)


def _unblocked(item: WorkItem, now: Instant) -> WorkItem:
    """Return a blocked `item` as its dependencies' outcomes now allow."""
    outcomes = item.deps.values()
    if any(outcome in work.FAILED for outcome in outcomes):
        return _ended(item, Status.DEAD, now, DeadReason.DEPENDENCY_FAILED)
    if None in outcomes:
        return item
    if item.due_at is not None and item.due_at > now:
        return replace(item, status=Status.SCHEDULED, ready_at=item.due_at)
    return replace(item, status=Status.READY, ready_at=now, due_at=None)


def _expired(item: WorkItem, now: Instant) -> WorkItem:
    if item.deadline is None or item.deadline > now:
        raise IllegalMove(f"{item.id} has not passed its deadline")
    return _ended(item, Status.DEAD, now, DeadReason.EXPIRED)


def _exhausted(item: WorkItem, now: Instant) -> WorkItem:
    if not too_many_moves(item):
        raise IllegalMove(f"{item.id} has made {item.moves} of {MAX_MOVES} moves", _WHAT_NEXT[item.status])
    return _ended(item, Status.DEAD, now, DeadReason.TOO_MANY_MOVES)


def _retried(item: WorkItem, event: moves.Retry, now: Instant) -> WorkItem:
    """Return a dead `item` alive: what ended it (crashes, a passed deadline, a failed parent) does not count again."""
    attempt = 0 if event.reset_attempts else item.attempt
    alive = replace(
        item,
        status=Status.BLOCKED,
        attempt=attempt,
        max_attempts=max(item.max_attempts, attempt + 1),
        moves=0,
        crashed=(),
        deps={parent: outcome for parent, outcome in item.deps.items() if outcome not in work.FAILED},
        deadline=item.deadline if item.deadline and item.deadline > now else None,
        dead_reason=None,
        ended_at=None,
        told=False,
    )
    return _unblocked(alive, now)


def _with_failure(item: WorkItem, message: str, now: Instant) -> WorkItem:
    new = Failure(at=now, by=item.claimed_by, message=beginning(message, work.FAILURE_BYTES))
    kept = (*item.errors, new)[-work.FAILURES_KEPT :]
    older, newest = kept[: -work.FULL_FAILURES], kept[-work.FULL_FAILURES :]
    cut = (replace(old, message=beginning(old.message, work.OLD_FAILURE_BYTES)) for old in older)
    return replace(item, errors=(*cut, *newest))


def _late(event: moves.Keep, now: Instant) -> LateResult:
    digest = hashlib.sha256(msgspec.json.encode(event.result)).hexdigest()
    summary = beginning(event.result.summary, work.REVIEW_BYTES)
    return LateResult(at=now, by=event.by, token=event.token, summary=summary, digest=digest)


def _one_line(text: str) -> str:
    return " ".join(text[:2000].split())[: work.SUMMARY_CHARACTERS]
