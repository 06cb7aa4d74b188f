"""Checks a project's work log: every record must be a legal step of the one before it. For tests and `chaos/`.

It uses the rules of `model.lifecycle` and nothing else of the hub: each event is read off its record and made again.
What must not depend on those rules being right (ends, lease tokens, attempts) is counted anew.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime
from itertools import pairwise

import msgspec
from msgspec.structs import replace

from loominal.broker import subjects
from loominal.broker.log import Log, Record
from loominal.model import moves, record
from loominal.model.errors import CorruptRecord, IllegalMove, LeaseLost
from loominal.model.lifecycle import step, submitted
from loominal.model.moves import WorkEvent
from loominal.model.work import ENDED, DeadReason, Move, Result, Status, Submission, WorkItem, with_sequence

PAGE = 1000


class End(msgspec.Struct, frozen=True):
    """An end that an agent saw accepted: by which claim."""

    item: str
    agent: str
    lease_token: int


class Checked(msgspec.Struct, frozen=True):
    """What the log holds, and what is wrong with it: nothing, if all is well."""

    items: dict[str, list[WorkItem]]  # by id, each with its states, oldest first
    faults: list[str]
    stored_at: dict[str, list[datetime]]  # of each state, by the broker's clock

    def count(self, move: Move) -> dict[str, int]:
        """Return how often each item made `move`."""
        return {item: sum(state.last.move is move for state in states) for item, states in self.items.items()}

    def in_order(self) -> list[tuple[datetime, WorkItem]]:
        """Return every state of every item with when it was stored, oldest first."""
        each = (pair for item, states in self.items.items() for pair in zip(self.stored_at[item], states, strict=True))
        return sorted(each, key=lambda pair: pair[0])

    def claims(self) -> set[tuple[str, str, int]]:
        """Return every claim there was: item, agent, lease token."""
        held = (state for states in self.items.values() for state in states if state.status is Status.CLAIMED)
        return {(state.id, state.claimed_by, state.token) for state in held}

    def unfounded(self, ends: Iterable[End]) -> list[str]:
        """Return those ends that were accepted although the item was not done under that very claim."""
        return [str(end) for end in ends if not self._founded(end)]

    def _founded(self, end: End) -> bool:
        last = self.items[end.item][-1]
        done = last.status is Status.DONE
        return done and (last.last_holder, last.token) == (end.agent, end.lease_token)


async def read_work(log: Log, project: str, kinds: Iterable[str] = ("spec", "wk")) -> list[Record]:
    """Return every record of items and submissions, or of other kinds, oldest first."""
    found: list[Record] = []
    for kind in kinds:
        first = 1
        while page := await log.page(subjects.every(kind, project), first, PAGE):
            found += page
            first = page[-1].sequence + 1
    return sorted(found, key=lambda each: each.sequence)


def check(project: str, records: Iterable[Record]) -> Checked:
    """Return the items that `records` tell of, replayed one step at a time."""
    asked: dict[str, Submission] = {}
    states: defaultdict[str, list[WorkItem]] = defaultdict(list)
    stored_at: defaultdict[str, list[datetime]] = defaultdict(list)
    faults: list[str] = []
    for each in records:
        item_id = subjects.last_token(each.subject)
        try:
            if each.subject == subjects.submission(project, item_id):
                if item_id in asked:
                    faults.append(f"{item_id} was submitted twice, again by #{each.sequence}")
                asked[item_id] = record.decode(Submission, each.data).value
                continue
            state = with_sequence(record.decode(WorkItem, each.data).value, each.sequence)
        except CorruptRecord as error:
            faults.append(f"{each.subject}#{each.sequence}: {error}")
            continue
        before = states[item_id][-1] if states[item_id] else None
        if fault := _fault(asked.get(item_id), before, state, each.sequence):
            faults.append(f"{item_id}#{each.sequence} {state.last.move}: {fault}")
        states[item_id].append(state)
        stored_at[item_id].append(each.stored_at)
    faults += (f"{item_id} was accepted and has no state" for item_id in asked if item_id not in states)
    for item_id, told in states.items():
        faults += filter(None, (_ends_twice(item_id, told), _miscounted(told), _token_kept(told)))
    return Checked(dict(states), faults, dict(stored_at))


def _fault(asked: Submission | None, before: WorkItem | None, after: WorkItem, sequence: int) -> str:
    at = after.last.at
    try:
        if before is None:
            expected = _first(asked, after, at)
        else:
            expected = with_sequence(step(before, event_of(before, after), at), sequence)
    except (IllegalMove, LeaseLost) as error:
        return str(error)
    if before is not None and after.last.move is Move.KEEP:  # of the late result only the digest is left
        expected = replace(expected, review=after.review)
    return "" if expected == after else f"expected {expected}, found {after}"


def _first(asked: Submission | None, first: WorkItem, at: datetime) -> WorkItem:
    if asked is None or first.last.move is not Move.SUBMIT:
        return first  # the records before are not kept any more
    return submitted(asked, first.deps, at)


def _ends_twice(item_id: str, states: list[WorkItem]) -> str:
    """Return what is wrong if an item ended, came alive by anything but a retry, or was done more than once."""
    for before, after in pairwise(states):
        if before.status in ENDED and after.status not in ENDED and after.last.move is not Move.RETRY:
            return f"{item_id} had ended and is {after.status} by {after.last.move}"
    done = sum(state.status is Status.DONE and state.last.move in (Move.COMPLETE, Move.RECOVER) for state in states)
    return f"{item_id} was done {done} times" if done > 1 else ""


def _miscounted(states: list[WorkItem]) -> str:
    """Return what is wrong if attempts are anything but the claims that were not handed back."""
    for before, after in pairwise(states):
        counted = {Move.CLAIM: 1, Move.RELEASE: -1}.get(after.last.move, 0)
        allowed = {before.attempt + counted} | ({0} if after.last.move is Move.RETRY else set())
        if after.attempt not in allowed and after.last.move is not Move.COLLECT:
            return f"{after.id} was at attempt {before.attempt} and is at {after.attempt} by {after.last.move}"
    return ""


def _token_kept(states: list[WorkItem]) -> str:
    """Return what is wrong if an earlier claim's lease token is good for a later one."""
    highest = 0
    for state in states:
        if state.last.move in (Move.CLAIM, Move.ADOPT) and state.token <= highest:
            return f"{state.id} was taken by {state.last.move} under lease token {state.token}, which is no new one"
        highest = max(highest, state.token)
    return ""


def event_of(before: WorkItem, after: WorkItem) -> WorkEvent:
    """Return the event that `after` tells of; its lease token is the one that `before` demands."""
    last, by, token = after.last, after.last.by, before.token
    op = after.ops[-1].op if after.ops and after.ops != before.ops else ""
    delay = (after.due_at - last.at).total_seconds() if after.due_at else None
    match last.move:
        case Move.CLAIM:
            return moves.Claim(by=by, op=op, incarnation=after.incarnation)
        case Move.ADOPT:
            return moves.Adopt(by=by, op=op, token=token, incarnation=after.incarnation)
        case Move.PROGRESS:
            assert after.progress is not None
            said = after.progress
            return moves.Progress(by=by, op=op, token=token, percent=said.percent, message=said.message)
        case Move.COMPLETE:
            assert after.result is not None
            return moves.Complete(by=by, op=op, token=token, result=after.result)
        case Move.FAIL:
            retryable = after.dead_reason is not DeadReason.NOT_RETRYABLE
            error = after.errors[-1].message
            return moves.Fail(by=by, op=op, token=token, error=error, retryable=retryable, delay_seconds=delay)
        case Move.RELEASE:
            return moves.Release(by=by, op=op, token=token, reason=last.note)
        case Move.RECOVER:
            return moves.Recover(by=by, op=op, token=token, incarnation=after.incarnation, result=after.result)
        case _:
            return _others(before, after, op, delay)


def _others(before: WorkItem, after: WorkItem, op: str, delay: float | None) -> WorkEvent:
    """Return the event of a move that nobody holds a lease for."""
    last, by = after.last, after.last.by
    match last.move:
        case Move.LAPSE:
            return moves.Lapse(by=by, op=op, seen_to_end=last.note == "its process ended", delay_seconds=delay)
        case Move.TIME_OUT:
            return moves.TimeOut(by=by, op=op, error=after.errors[-1].message, delay_seconds=delay)
        case Move.ASK_CANCEL:
            return moves.AskCancel(by=by, op=op, reason=last.note)
        case Move.CANCEL:
            return moves.Cancel(by=by, op=op, reason=last.note)
        case Move.RESOLVE:
            for parent, outcome in after.deps.items() - before.deps.items():
                if outcome is not None:
                    return moves.Resolve(by=by, op=op, parent=parent, outcome=outcome)
            raise IllegalMove("it tells of no dependency's end")
        case Move.EXPIRE:
            return moves.Expire(by=by, op=op)
        case Move.EXHAUST:
            return moves.Exhaust(by=by, op=op)
        case Move.RETRY:
            return moves.Retry(by=by, op=op, reset_attempts=after.attempt == 0)
        case Move.DISCARD:
            return moves.Discard(by=by, op=op, reason=last.note)
        case Move.TELL:
            return moves.Tell(by=by, op=op)
        case Move.KEEP:
            return moves.Keep(by=by, op=op, token=after.review[-1].token, result=Result(summary=""))
        case Move.COLLECT:
            return moves.Collect(by=by, op=op)
        case _:
            raise IllegalMove(f"no item moves by {last.move}")
