"""What each move of a work item does; that no other move exists is in test_work_properties.py."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from loominal.model.errors import IllegalMove, LeaseLost
from loominal.model.lifecycle import MAX_MOVES, backoff_seconds, recoverable, step, submitted, too_many_moves
from loominal.model.moves import (
    Adopt,
    AskCancel,
    Cancel,
    Claim,
    Collect,
    Complete,
    Discard,
    Exhaust,
    Expire,
    Fail,
    Keep,
    Lapse,
    Progress,
    Recover,
    Release,
    Resolve,
    Retry,
    Tell,
    TimeOut,
)
from loominal.model.work import (
    DeadReason,
    Move,
    Status,
    beginning,
    done_op,
    fits,
    status_at,
    with_sequence,
)
from loominal.model.work import Progress as WorkProgress
from tests.unit.factories import NOW, a_claimed_item, a_result, a_submission, after, an_item, moved


def claim(by: str = "bob") -> Claim:
    return Claim(by=by, op=f"claim-{by}", incarnation=f"{by}-1")


def fail(error: str = "no", token: int = 7, *, retryable: bool = True) -> Fail:
    return Fail(by="ann", token=token, op="fail", error=error, retryable=retryable)


class TestSubmitting:
    def test_without_conditions_an_item_is_ready(self) -> None:
        item = an_item()

        assert (item.status, item.ready_at, item.attempt, item.moves) == (Status.READY, NOW, 0, 0)
        assert (item.last.move, item.last.by) == (Move.SUBMIT, "boss")

    def test_one_for_later_is_ready_when_it_is_due_without_a_move(self) -> None:
        item = an_item(not_before=after(60))

        assert item.status is Status.SCHEDULED
        assert [status_at(item, after(at)) for at in (59, 60)] == [Status.SCHEDULED, Status.READY]
        assert step(item, claim(), after(60)).status is Status.CLAIMED
        with pytest.raises(IllegalMove):
            step(item, claim(), after(59))

    @pytest.mark.parametrize(
        ("outcomes", "status"),
        [
            ({}, Status.BLOCKED),
            ({"w_a": Status.DONE}, Status.BLOCKED),
            ({"w_a": Status.DONE, "w_b": Status.DONE}, Status.READY),
            ({"w_a": Status.CANCELLED}, Status.DEAD),
            ({"w_b": Status.DISCARDED}, Status.DEAD),
        ],
    )
    def test_dependencies_decide_where_it_begins(self, outcomes: dict[str, Status | None], status: Status) -> None:
        assert submitted(a_submission(depends_on=("w_a", "w_b")), outcomes, NOW).status is status

    def test_the_summary_is_one_short_line(self) -> None:
        assert an_item(description="Fix\n\tit " + "x" * 500).summary == ("Fix it " + "x" * 500)[:200]


class TestHolding:
    def test_a_claim_counts_an_attempt_and_its_sequence_is_the_lease_token(self) -> None:
        claimed = step(an_item(timeout_seconds=60.0), claim(), after(5))

        assert (claimed.status, claimed.attempt, claimed.claimed_by, claimed.token) == (Status.CLAIMED, 1, "bob", 0)
        assert claimed.timeout_at == after(65)
        assert with_sequence(claimed, 42).token == 42

    def test_a_later_record_keeps_the_token_of_its_claim(self) -> None:
        said = step(a_claimed_item(token=7), Progress(by="ann", token=7, percent=50, message="half"), NOW)

        assert with_sequence(said, 9).token == 7
        assert said.progress == WorkProgress(percent=50, message="half", at=NOW)
        assert said.moves == 1

    @pytest.mark.parametrize(("by", "token"), [("ann", 6), ("ann", 0), ("bob", 7), ("", 7)])
    def test_only_the_holder_with_its_own_token_ends_it(self, by: str, token: int) -> None:
        with pytest.raises(LeaseLost, match="claimed by ann"):
            step(a_claimed_item(token=7), Complete(by=by, token=token, result=a_result()), NOW)

    def test_completing_keeps_the_result(self) -> None:
        done = step(a_claimed_item(token=7), Complete(by="ann", token=7, op="o", result=a_result()), after(1))

        assert (done.status, done.result, done.ended_at, done.last_holder) == (Status.DONE, a_result(), after(1), "ann")
        assert (done_op(done, "o"), done_op(done, "")) == (done.ops[-1], None)

    def test_adopting_changes_the_token_and_not_the_attempt(self) -> None:
        adopted = with_sequence(step(a_claimed_item(token=7), Adopt(by="ann", token=7, incarnation="ann-2"), NOW), 8)

        assert (adopted.token, adopted.attempt, adopted.incarnation) == (8, 1, "ann-2")
        with pytest.raises(LeaseLost):
            step(adopted, Complete(by="ann", token=7, result=a_result()), NOW)

    def test_releasing_gives_the_attempt_back_at_once(self) -> None:
        free = step(a_claimed_item(token=7), Release(by="ann", token=7, reason="not mine"), after(3))

        assert (free.status, free.attempt, free.ready_at, free.last.note) == (Status.READY, 0, after(3), "not mine")

    @pytest.mark.parametrize("token", [7, 0])
    def test_what_was_released_is_not_recovered(self, token: int) -> None:
        free = step(a_claimed_item(token=7), Release(by="ann", token=7), NOW)

        assert not recoverable(free, "ann", token)
        with pytest.raises(LeaseLost):
            step(free, Recover(by="ann", token=token), NOW)

    def test_completing_twice_is_no_move_rather_than_a_lost_lease(self) -> None:
        complete = Complete(by="ann", token=7, result=a_result())

        with pytest.raises(IllegalMove, match="is done") as refusal:
            moved(a_claimed_item(token=7), complete, complete)
        assert refusal.value.code == "illegal_move"


class TestFailing:
    def test_a_failure_waits_longer_each_time(self) -> None:
        assert [backoff_seconds(attempt, 0) for attempt in (1, 2, 3, 7, 99)] == [5, 10, 20, 300, 300]
        assert [backoff_seconds(1, jitter) for jitter in (-1, 1)] == [4, 6]

    def test_a_failed_item_is_scheduled_and_says_when(self) -> None:
        failed = step(a_claimed_item(), fail("no disk"), NOW)

        assert (failed.status, failed.attempt, failed.ops[-1].next_attempt_at) == (Status.SCHEDULED, 1, after(5))
        assert [(error.by, error.message) for error in failed.errors] == [("ann", "no disk")]

    def test_its_holder_may_say_when(self) -> None:
        event = Fail(by="ann", token=7, error="rate limit", delay_seconds=90)

        assert step(a_claimed_item(), event, NOW).due_at == after(90)

    def test_one_that_cannot_be_retried_is_dead(self) -> None:
        assert step(a_claimed_item(), fail(retryable=False), NOW).dead_reason is DeadReason.NOT_RETRYABLE

    @pytest.mark.parametrize("event", [fail(), TimeOut(), Lapse()], ids=lambda event: event.move)
    def test_the_last_attempt_makes_it_dead(self, event: Fail | TimeOut | Lapse) -> None:
        dead = step(a_claimed_item(max_attempts=1), event, NOW)

        assert (dead.status, dead.dead_reason) == (Status.DEAD, DeadReason.MAX_ATTEMPTS)

    def test_a_timeout_is_a_retryable_failure_that_fences_the_holder(self) -> None:
        late = step(a_claimed_item(), TimeOut(), NOW)

        assert (late.status, late.due_at) == (Status.SCHEDULED, after(5))
        assert not recoverable(late, "ann", 7)

    def test_the_newest_failures_are_kept_whole_and_the_older_ones_cut(self) -> None:
        item = an_item(max_attempts=20)
        for attempt in range(15):
            item = with_sequence(step(item, claim("ann"), after(attempt * 999)), 7)
            item = step(item, fail(f"{attempt:02}" + "é" * 5000), after(attempt * 999))

        assert [error.message[:2] for error in item.errors] == [f"{attempt:02}" for attempt in range(7, 15)]
        assert [len(error.message.encode()) for error in item.errors] == [200] * 5 + [2048] * 3


class TestLapsing:
    def test_a_lapsed_item_is_offered_again_after_a_second(self) -> None:
        lapsed = step(a_claimed_item(), Lapse(), NOW)

        assert (lapsed.status, lapsed.due_at, lapsed.attempt, lapsed.crashed) == (Status.SCHEDULED, after(1), 1, ())

    def test_three_agents_that_died_of_it_are_enough(self) -> None:
        item = an_item(max_attempts=20)
        for at, by in enumerate(["ann", "ann", "bob", "ann", "cid"]):
            item = step(step(item, claim(by), after(at * 9)), Lapse(seen_to_end=True), after(at * 9))

        assert (item.dead_reason, item.crashed) == (DeadReason.CRASHES, ("ann", "bob", "cid"))

    @pytest.mark.parametrize("seconds", [0, 10])
    def test_the_last_holder_may_resume_with_its_token_and_attempt(self, seconds: float) -> None:
        lapsed = step(a_claimed_item(token=7), Lapse(), NOW)

        resumed = with_sequence(step(lapsed, Recover(by="ann", token=7, incarnation="ann-2"), after(seconds)), 9)

        assert recoverable(lapsed, "ann", 7)
        assert (resumed.status, resumed.token, resumed.attempt, resumed.incarnation) == (Status.CLAIMED, 7, 1, "ann-2")
        assert step(resumed, Complete(by="ann", token=7, result=a_result()), NOW).status is Status.DONE

    def test_the_last_holder_may_deliver_at_once(self) -> None:
        lapsed = step(a_claimed_item(token=7), Lapse(), NOW)

        assert step(lapsed, Recover(by="ann", token=7, result=a_result()), NOW).result == a_result()

    @pytest.mark.parametrize(("by", "token"), [("bob", 7), ("ann", 6), ("ann", 0)])
    def test_nobody_else_may(self, by: str, token: int) -> None:
        lapsed = step(a_claimed_item(token=7), Lapse(), NOW)

        assert not recoverable(lapsed, by, token)
        with pytest.raises(LeaseLost):
            step(lapsed, Recover(by=by, token=token), NOW)

    def test_after_somebody_else_held_it_the_late_one_is_told_who_and_its_result_is_kept_for_review(self) -> None:
        taken = with_sequence(moved(step(a_claimed_item(token=7), Lapse(), NOW), claim("bob"), at=after(1)), 9)

        with pytest.raises(LeaseLost, match="claimed by bob"):
            step(taken, Recover(by="ann", token=7, result=a_result()), after(2))
        kept = step(taken, Keep(by="ann", token=7, result=a_result("mine")), after(2))

        assert [(late.by, late.token, late.summary) for late in kept.review] == [("ann", 7, "mine")]
        assert replace(kept, review=(), last=taken.last) == taken


class TestEnding:
    def test_a_waiting_item_is_cancelled_at_once(self) -> None:
        assert step(an_item(), Cancel(by="boss", reason="changed"), NOW).cancel_reason == "changed"

    def test_a_claimed_one_is_asked_first_and_then_fenced(self) -> None:
        claimed = a_claimed_item(token=7)
        with pytest.raises(IllegalMove):
            step(claimed, Cancel(by="boss"), NOW)

        asked = step(claimed, AskCancel(by="boss", reason="changed"), NOW)
        fenced = step(asked, Cancel(), after(30))

        assert (asked.status, asked.cancel_asked_at) == (Status.CLAIMED, NOW)
        assert (fenced.status, fenced.cancel_reason) == (Status.CANCELLED, "changed")
        with pytest.raises(LeaseLost, match="cancelled"):
            step(fenced, Complete(by="ann", token=7, result=a_result()), after(31))

    @pytest.mark.parametrize(
        "event",
        [fail(), fail(retryable=False), Release(by="ann", token=7), Lapse(), TimeOut()],
        ids=lambda event: event.move,
    )
    def test_one_asked_to_stop_is_cancelled_by_whatever_ends_its_claim(
        self, event: Fail | Release | Lapse | TimeOut
    ) -> None:
        assert moved(a_claimed_item(token=7), AskCancel(by="boss"), event).status is Status.CANCELLED

    def test_it_may_still_be_completed(self) -> None:
        event = Complete(by="ann", token=7, result=a_result())

        assert moved(a_claimed_item(token=7), AskCancel(by="boss"), event).status is Status.DONE

    def test_a_deadline_ends_only_what_waits(self) -> None:
        expired = step(an_item(deadline=after(60)), Expire(), after(60))

        assert expired.dead_reason is DeadReason.EXPIRED
        with pytest.raises(IllegalMove):
            step(an_item(deadline=after(60)), Expire(), after(59))
        with pytest.raises(IllegalMove):
            step(a_claimed_item(deadline=after(60)), Expire(), after(60))

    def test_dependencies_free_it_when_all_are_done_and_end_it_when_one_is_not(self) -> None:
        child = an_item(depends_on=("w_a", "w_b"))
        one = step(child, Resolve(parent="w_a", outcome=Status.DONE), NOW)

        assert one.status is Status.BLOCKED
        assert step(one, Resolve(parent="w_b", outcome=Status.DONE), after(1)).ready_at == after(1)
        dead = step(one, Resolve(parent="w_b", outcome=Status.CANCELLED), NOW)
        assert dead.dead_reason is DeadReason.DEPENDENCY_FAILED
        for known_or_foreign in ("w_a", "w_c"):
            with pytest.raises(IllegalMove):
                step(one, Resolve(parent=known_or_foreign, outcome=Status.DONE), NOW)

    def test_a_freed_child_still_waits_for_its_time(self) -> None:
        child = an_item(depends_on=("w_a",), not_before=after(60))

        assert step(child, Resolve(parent="w_a", outcome=Status.DONE), NOW).status is Status.SCHEDULED
        assert step(child, Resolve(parent="w_a", outcome=Status.DONE), after(60)).status is Status.READY

    def test_going_from_hand_to_hand_too_often_ends_it(self) -> None:
        item = an_item()
        for round_ in range(MAX_MOVES // 2):
            item = with_sequence(step(item, claim("ann"), NOW), round_ + 1)
            item = step(item, Release(by="ann", token=round_ + 1), NOW)

        assert too_many_moves(item)
        with pytest.raises(IllegalMove):
            step(item, claim(), NOW)
        assert step(item, Exhaust(), NOW).dead_reason is DeadReason.TOO_MANY_MOVES
        assert step(item, Cancel(by="boss"), NOW).status is Status.CANCELLED

    def test_many_parents_and_much_progress_are_not_too_many_moves(self) -> None:
        parents = tuple(f"w_{number}" for number in range(MAX_MOVES))
        child = moved(an_item(depends_on=parents), *(Resolve(parent=parent, outcome=Status.DONE) for parent in parents))

        assert (child.status, child.moves) == (Status.READY, 0)


class TestDeadLetters:
    def test_a_retry_grants_one_more_attempt(self) -> None:
        dead = step(a_claimed_item(max_attempts=1), fail(), NOW)

        again = step(dead, Retry(by="boss"), after(9))

        assert (again.status, again.attempt, again.max_attempts, again.moves) == (Status.READY, 1, 2, 0)
        assert (again.dead_reason, again.ended_at, again.told, len(again.errors)) == (None, None, False, 1)

    def test_a_retry_that_resets_grants_them_all(self) -> None:
        again = step(step(a_claimed_item(), fail(retryable=False), NOW), Retry(by="boss", reset_attempts=True), NOW)

        assert (again.attempt, again.max_attempts) == (0, 3)

    def test_what_ended_it_does_not_end_it_again(self) -> None:
        expired = step(an_item(deadline=after(5)), Expire(), after(5))
        orphan = moved(an_item(depends_on=("w_a", "w_b")), Resolve(parent="w_a", outcome=Status.DEAD))

        assert step(expired, Retry(by="boss"), after(6)).deadline is None
        retried = step(orphan, Retry(by="boss"), NOW)
        assert (retried.status, retried.deps) == (Status.BLOCKED, {"w_b": None})
        assert moved(retried, Resolve(parent="w_b", outcome=Status.DONE)).status is Status.READY

    def test_one_that_killed_agents_gets_a_whole_new_chance(self) -> None:
        item = an_item(max_attempts=9)
        for at, by in enumerate(["ann", "bob", "cid"]):
            item = moved(item, claim(by), Lapse(seen_to_end=True), at=after(at * 9))

        again = moved(item, Retry(by="boss"), claim("dan"), Lapse(seen_to_end=True), at=after(99))

        assert (item.dead_reason, again.status, again.crashed) == (DeadReason.CRASHES, Status.SCHEDULED, ("dan",))

    def test_discarding_is_final(self) -> None:
        gone = moved(a_claimed_item(), fail(retryable=False), Discard(by="boss", reason="obsolete"))

        assert (gone.status, gone.dead_reason, gone.last.note) == (
            Status.DISCARDED,
            DeadReason.NOT_RETRYABLE,
            "obsolete",
        )
        with pytest.raises(IllegalMove, match="discarded"):
            step(gone, Retry(by="boss"), NOW)

    def test_a_tombstone_stays_what_it_is(self) -> None:
        stone = moved(a_claimed_item(), fail(retryable=False), Tell(), Collect())

        assert (stone.told, stone.errors, stone.collected) == (True, (), True)
        for event in (Retry(by="boss"), Discard(by="boss"), Tell(), Collect(), Keep(token=7, result=a_result())):
            with pytest.raises(IllegalMove, match="forgotten"):
                step(stone, event, NOW)


class TestRoom:
    def test_a_text_is_cut_by_the_bytes_it_fills_in_a_record(self) -> None:
        assert beginning("abc", 3) == "abc"
        assert beginning("ééé", 5) == "éé"
        assert beginning("\x00" * 10, 12) == "\x00\x00"
        assert beginning('"' * 9, 9) == '"' * 4
        assert beginning("🧵", 3) == ""

    def test_a_submission_may_be_too_much_for_a_record(self) -> None:
        assert fits(an_item(description="x" * 200_000, depends_on=tuple(f"w_{n:020}" for n in range(64))))
        assert not fits(an_item(capabilities=tuple(f"{n}" * 50 for n in range(100))))
