"""What a weft counts: where a value falls in a histogram, and what a move says of waiting, running and attempts."""

from __future__ import annotations

import msgspec

from loominal.fabric.hub.tally import ATTEMPTS, OTHER, Histogram, ProjectTally
from loominal.model.launch import Launch, LaunchMove, LaunchStatus, moved
from loominal.model.lifecycle import step
from loominal.model.moves import Claim, Complete, Fail
from loominal.model.work import DeadReason, Move, Status, with_sequence
from tests.unit.factories import a_result, after, an_item


def test_a_value_counts_in_every_bucket_whose_bound_it_does_not_exceed() -> None:
    histogram = Histogram(ATTEMPTS)
    for value in (0, 1, 2, 4, 100):
        histogram.add(value)

    assert histogram.buckets() == [("1.0", 2), ("2.0", 3), ("3.0", 3), ("5.0", 4), ("10.0", 4), ("+Inf", 5)]
    assert histogram.sum == 107


def test_moves_tell_how_long_items_waited_and_ran_and_how_they_ended() -> None:
    tally, item = ProjectTally(), an_item(max_attempts=1)
    claimed = with_sequence(step(item, Claim(by="ann", op="c", incarnation="i"), after(7)), 5)
    tally.moved(None, item)
    tally.moved(item, claimed)

    tally.moved(claimed, step(claimed, Complete(by="ann", op="e", token=5, result=a_result()), after(27)))
    tally.moved(claimed, step(claimed, Fail(by="ann", op="f", token=5, error="no", retryable=False), after(10)))

    assert tally.moves == {Move.SUBMIT: 1, Move.CLAIM: 1, Move.COMPLETE: 1, Move.FAIL: 1}
    assert (tally.claim_wait.sum, tally.runs[Move.COMPLETE].sum, tally.runs[Move.FAIL].sum) == (7, 20, 3)
    assert tally.dead == {DeadReason.NOT_RETRYABLE: 1}
    assert tally.attempts.buckets()[0] == ("1.0", 2)


def test_a_scheduled_item_waits_since_it_was_due() -> None:
    tally, item = ProjectTally(), an_item(not_before=after(60))

    tally.moved(item, step(item, Claim(by="ann", op="c", incarnation="i"), after(62)))

    assert (item.status, tally.claim_wait.sum) == (Status.SCHEDULED, 2)


def test_a_launch_counts_once_by_what_first_came_of_it() -> None:
    tally = ProjectTally()
    asked = Launch(
        id="l_1", target="t_1", target_name="here", mechanism="local", agent_type="exec", requested_at=after(0)
    )
    came = moved(asked, LaunchMove.REGISTER, after(9))
    for before, launch in (
        (None, asked),
        (asked, came),
        (came, moved(came, LaunchMove.STOP, after(60))),
        (asked, moved(msgspec.structs.replace(asked, mechanism="of tomorrow"), LaunchMove.TIME_OUT, after(120))),
    ):
        tally.launched(before, launch)

    assert tally.launches == {("local", LaunchStatus.REGISTERED): 1, (OTHER, LaunchStatus.TIMED_OUT): 1}
    assert {mechanism: boot.sum for mechanism, boot in tally.boots.items()} == {"local": 9}
