"""What holds of a work item whatever happens to it, in whatever order."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from msgspec.structs import replace

from loominal.model import moves
from loominal.model.errors import IllegalMove
from loominal.model.lifecycle import MAX_MOVES, recoverable, step, submitted, too_many_moves
from loominal.model.moves import MOVES, WorkEvent
from loominal.model.record import decode, encode
from loominal.model.work import (
    ENDED,
    FAILURES_KEPT,
    OPS_KEPT,
    RECORD_BYTES,
    WAITING,
    Move,
    Status,
    Usage,
    WorkItem,
    fits,
    status_at,
    with_sequence,
)
from tests.unit.factories import NOW, a_claimed_item, a_result, a_submission, after, an_item, moved

LATER = after(100)
EVENTS: list[WorkEvent] = [
    moves.Claim(by="ann", op="o", incarnation="ann-1"),
    moves.Adopt(by="ann", token=7, incarnation="ann-2"),
    moves.Progress(by="ann", token=7, percent=1),
    moves.Complete(by="ann", token=7, result=a_result()),
    moves.Fail(by="ann", token=7, error="no"),
    moves.Release(by="ann", token=7),
    moves.Lapse(),
    moves.Recover(by="ann", token=7, incarnation="ann-2"),
    moves.AskCancel(by="boss"),
    moves.Cancel(by="boss"),
    moves.Resolve(parent="w_a", outcome=Status.DONE),
    moves.Expire(),
    moves.Exhaust(),
    moves.TimeOut(),
    moves.Retry(by="boss"),
    moves.Discard(by="boss"),
    moves.Tell(),
    moves.Keep(by="ann", token=7, result=a_result()),
    moves.Collect(),
]
STANDING: dict[Status, Callable[[], WorkItem]] = {
    Status.SCHEDULED: lambda: step(a_claimed_item(max_attempts=9), moves.Lapse(), after(100)),
    Status.BLOCKED: lambda: an_item(depends_on=("w_a",)),
    Status.READY: lambda: step(a_claimed_item(), moves.Lapse(), NOW),
    Status.CLAIMED: lambda: step(a_claimed_item(), moves.AskCancel(by="boss"), NOW),
    Status.DONE: lambda: step(a_claimed_item(), moves.Complete(by="ann", token=7, result=a_result()), NOW),
    Status.DEAD: lambda: step(a_claimed_item(max_attempts=1), moves.Lapse(), NOW),
    Status.CANCELLED: lambda: step(an_item(), moves.Cancel(by="boss"), NOW),
    Status.DISCARDED: lambda: moved(a_claimed_item(max_attempts=1), moves.Lapse(), moves.Discard(by="boss")),
}


def test_every_move_has_one_event_and_one_line_in_the_table() -> None:
    assert sorted(event.move for event in EVENTS) == sorted(set(Move) - {Move.SUBMIT})
    assert set(MOVES) == set(Move)


@pytest.mark.parametrize("status", Status)
@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.move)
def test_an_item_moves_exactly_as_the_table_says(status: Status, event: WorkEvent) -> None:
    tired = MAX_MOVES if event.move is Move.EXHAUST else 1
    item = replace(STANDING[status](), deadline=NOW, moves=tired)
    sources, targets = MOVES[event.move]
    assert status_at(item, LATER) is status

    if status in sources:
        assert step(item, event, LATER).status in targets
    else:
        with pytest.raises(IllegalMove, match="w_1"):
            step(item, event, LATER)


TEXTS = st.sampled_from(["", "no", "é\n" * 3000, "\x00" * 3000, '"' * 3000]) | st.text(max_size=20)
AGENTS = st.sampled_from(["ann", "bob", "cid"])
AGES = st.sampled_from([0, 0, 0, 0, 1, 2])  # which of the leases so far: mostly the newest
RARE: list[WorkEvent] = [
    moves.AskCancel(by="boss", reason="changed"),
    moves.Cancel(by="boss"),
    moves.Tell(),
    moves.Discard(by="boss"),
    moves.Collect(),
]


class Life(RuleBasedStateMachine):
    """One item, three agents who use any lease token they ever had, and a hub that does whatever it might."""

    @initialize(
        attempts=st.integers(1, 6),
        parents=st.sampled_from([(), ("w_a",), ("w_a", "w_b")]),
        not_before=st.sampled_from([None, after(30)]),
        deadline=st.sampled_from([None, after(90)]),
        description=TEXTS,
    )
    def submit(self, attempts: int, parents: tuple[str, ...], description: str, **times: object) -> None:
        asked = a_submission(max_attempts=attempts, depends_on=parents, description=description)
        self.now = NOW
        self.item = submitted(replace(asked, **times), {}, NOW)
        self.sequence = 1
        self.leases = [("ann", 999)]
        assert fits(self.item)

    def happens(self, event: WorkEvent) -> None:
        before = self.item
        was = status_at(before, self.now)
        try:
            item = step(before, event, self.now)
        except IllegalMove:  # LeaseLost is one; anything else is a bug
            return
        self.sequence += 1
        self.item = with_sequence(item, self.sequence)
        self.check(before, was, event)
        if self.item.status is Status.CLAIMED:
            self.leases.append((self.item.claimed_by, self.item.token))

    def check(self, before: WorkItem, was: Status, event: WorkEvent) -> None:
        item, (sources, targets) = self.item, MOVES[event.move]
        assert was in sources
        assert item.status in targets
        assert not before.collected
        if isinstance(event, moves.Held):
            assert (event.by, event.token) == (before.claimed_by or before.last_holder, before.token)
        if item.token not in (0, before.token):
            assert event.move in (Move.CLAIM, Move.ADOPT)
            assert item.token == self.sequence
        if item.max_attempts != before.max_attempts:
            assert event.move is Move.RETRY
        if was in ENDED and item.status is not was:
            assert event.move in (Move.RETRY, Move.DISCARD)
        if before.result is not None and event.move is not Move.COLLECT:
            assert item.result == before.result
        if event.op:
            assert item.ops[-1].op == event.op
        assert item.attempt - before.attempt == {Move.CLAIM: 1, Move.RELEASE: -1}.get(event.move, 0) or (
            event.move is Move.RETRY and item.attempt == 0
        )

    @rule(seconds=st.sampled_from([0.5, 1, 5, 30]))
    def time_passes(self, seconds: float) -> None:
        self.now += after(seconds) - NOW

    @rule(by=AGENTS, op=st.sampled_from(["", "op-1", "op-2"]), wait=st.sampled_from([0, 2, 30]))
    def somebody_claims(self, by: str, op: str, wait: float) -> None:
        self.now += after(wait) - NOW
        self.happens(moves.Claim(by=by, op=op, incarnation=f"{by}-1"))

    @rule(what=st.sampled_from(["complete", "fail", "give up", "release", "adopt", "progress"]), text=TEXTS, age=AGES)
    def a_holder_acts(self, what: str, text: str, age: int) -> None:
        by, token = self.leases[-1 - age % len(self.leases)]
        events: dict[str, WorkEvent] = {
            "complete": moves.Complete(by=by, token=token, op=f"done-{token}", result=a_result(text)),
            "fail": moves.Fail(by=by, token=token, op=f"fail-{token}", error=text, jitter=0.5),
            "give up": moves.Fail(by=by, token=token, error=text, retryable=False),
            "release": moves.Release(by=by, token=token, reason=text),
            "adopt": moves.Adopt(by=by, token=token, incarnation=f"{by}-2"),
            "progress": moves.Progress(by=by, token=token, percent=10, message=text),
        }
        self.happens(events[what])

    @rule(by=AGENTS, age=AGES, what=st.sampled_from(["complete", "recover", "keep"]))
    def somebody_tries_a_lease_of_another(self, by: str, age: int, what: str) -> None:
        _, token = self.leases[-1 - age % len(self.leases)]
        events: dict[str, WorkEvent] = {
            "complete": moves.Complete(by=by, token=token, result=a_result()),
            "recover": moves.Recover(by=by, token=token, incarnation=f"{by}-4"),
            "keep": moves.Keep(by=by, token=token, result=a_result()),
        }
        self.happens(events[what])

    @rule(seen=st.booleans(), back=st.sampled_from(["no", "resumes", "delivers"]), age=AGES, text=TEXTS)
    def the_lease_lapses(self, seen: bool, back: str, age: int, text: str) -> None:
        self.happens(moves.Lapse(seen_to_end=seen))
        by, token = self.leases[-1 - age % len(self.leases)]
        if back == "resumes":
            self.happens(moves.Recover(by=by, token=token, incarnation=f"{by}-3"))
        if back == "delivers":
            self.happens(moves.Recover(by=by, token=token, result=a_result(text)))

    @rule(kind=st.sampled_from("rrrtxe"), reset=st.booleans())
    def the_hub_or_the_offerer_acts(self, kind: str, reset: bool) -> None:
        events: dict[str, WorkEvent] = {
            "r": moves.Retry(by="boss", reset_attempts=reset),
            "t": moves.TimeOut(),
            "x": moves.Expire(),
            "e": moves.Exhaust(),
        }
        self.happens(events[kind])

    @rule(parent=st.sampled_from(["w_a", "w_b"]), outcome=st.sampled_from([Status.DONE] * 8 + list(Status)))
    def a_parent_ends(self, parent: str, outcome: Status) -> None:
        self.happens(moves.Resolve(parent=parent, outcome=outcome))

    @rule(event=st.sampled_from(RARE), chance=st.integers(0, 7))
    def something_rare_happens(self, event: WorkEvent, chance: int) -> None:
        if chance == 3:
            self.happens(event)

    @invariant()
    def its_fields_agree_with_its_status(self) -> None:
        item = self.item
        assert (item.status is Status.CLAIMED) == bool(item.claimed_by) == (item.timeout_at is not None)
        assert item.due_at is None or item.status in (Status.SCHEDULED, Status.BLOCKED)
        assert (item.status in ENDED) == (item.ended_at is not None)
        assert (item.status in (Status.SCHEDULED, Status.READY)) == (item.ready_at is not None)
        assert (item.status in (Status.DEAD, Status.DISCARDED)) == (item.dead_reason is not None)
        assert (item.status is Status.BLOCKED) == (item.status in WAITING and None in item.deps.values())
        assert not (item.told and item.status not in ENDED)
        assert 0 <= item.attempt <= item.max_attempts
        assert item.attempt < item.max_attempts or item.status not in WAITING or recoverable(item, *self.leases[-1])

    @invariant()
    def its_record_stays_small_and_whole(self) -> None:
        item = self.item
        data = encode(replace(item, result=None))
        assert len(data) <= RECORD_BYTES
        assert decode(WorkItem, data).value == replace(item, result=None)
        assert len(item.ops) <= OPS_KEPT
        assert len(item.errors) <= FAILURES_KEPT


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


@given(st.lists(st.sampled_from(["release", "lapse", "fail"]), min_size=MAX_MOVES, max_size=MAX_MOVES))
@settings(max_examples=10)
def test_an_item_cannot_go_round_for_ever(ways: list[str]) -> None:
    item, now, claims = an_item(max_attempts=20), NOW, 0
    for way in ways:
        now = now + (after(301) - NOW)
        if status_at(item, now) is not Status.READY or too_many_moves(item):
            break
        claims += 1
        item = with_sequence(step(item, moves.Claim(by="ann", incarnation="1"), now), claims)
        held: dict[str, WorkEvent] = {
            "release": moves.Release(by="ann", token=claims),
            "lapse": moves.Lapse(),
            "fail": moves.Fail(by="ann", token=claims, error="no"),
        }
        item = step(item, held[way], now)

    assert item.status is Status.DEAD or too_many_moves(item)
    assert claims <= MAX_MOVES // 2


def test_a_full_record_leaves_room_for_every_text_at_its_worst() -> None:
    worst, agent, now = "\x00" * 5000, "a" * 64, LATER.replace(microsecond=123_456)
    parents: tuple[str, ...] = ()
    while fits(item := an_item(max_attempts=20, description=worst, depends_on=parents, assign_to=agent)):
        parents = (*parents, f"w_{len(parents):020}")
    item = an_item(max_attempts=20, description=worst, depends_on=parents[:-1], assign_to=agent)
    item = moved(item, *(moves.Resolve(parent=parent, outcome=Status.DONE) for parent in parents[:-1]), at=now)
    for turn in range(19):
        item = with_sequence(step(item, moves.Claim(by=agent, op=f"{turn:064}", incarnation="i" * 36), now), turn + 1)
        item = step(item, moves.Fail(by=agent, token=turn + 1, op=f"{turn:064}", error=worst, delay_seconds=0), now)
    item = with_sequence(step(item, moves.Claim(by=agent, op="9" * 64, incarnation="i" * 36), now), 2**40)
    item = step(item, moves.Progress(by=agent, token=2**40, percent=99.9, message=worst), now)
    item = step(item, moves.Keep(by=agent, token=2**40, op="7" * 64, result=a_result(worst)), now)
    item = step(item, moves.AskCancel(by=agent, op="8" * 64, reason=worst), now)

    assert item.status is Status.CLAIMED
    assert len(msgspec.json.encode(item)) <= RECORD_BYTES
    used = Usage(cost_usd=1e11 / 3, turns=10**15, input_tokens=10**15, cached_input_tokens=10**15, output_tokens=10**15)
    item = step(item, moves.Fail(by=agent, token=2**40, op="6" * 64, error=worst, usage=used), now)
    assert item.last.usage == used
    assert len(msgspec.json.encode(item)) <= RECORD_BYTES
