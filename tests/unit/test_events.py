"""Rules of live events: what a record tells, where a reader is, what it asks for, and what may wait for it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from loominal.model import moves, work_events
from loominal.model.errors import BadCursor, InvalidArgument
from loominal.model.lifecycle import step, submitted
from loominal.model.work import Result, Status, Submission, WorkItem, with_sequence
from loominal.weft.events import cursors, query
from loominal.weft.events.cursors import Place, Position
from loominal.weft.events.happening import Happening, Topic
from loominal.weft.events.outbox import MOST_EVENTS, Outbox

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)
PLACE = Place(generation=cursors.tag("g"), work=41, events=7, part=1)


def an_item(**fields: object) -> WorkItem:
    asked = {"id": "w_1", "op": "o", "task_id": "t", "submitter": "a", "description": "d", "boundary": "personal"}
    return submitted(Submission(**asked, submitted_at=NOW, **fields), {}, NOW)  # type: ignore[arg-type]  # as given


def after(item: WorkItem, *events: moves.WorkEvent) -> tuple[str, ...]:
    """Return what the record of the last of `events` tells."""
    for event in events:
        item = with_sequence(step(item, event, NOW), 1)
    return work_events.told(item)


CLAIM = moves.Claim(by="b", op="c", incarnation="i")


@pytest.mark.parametrize(
    ("fields", "events", "told"),
    [
        ({}, (), ("work:submitted",)),
        ({"not_before": NOW + timedelta(hours=1)}, (), ("work:submitted",)),
        ({}, (CLAIM,), ("work:claimed",)),
        ({}, (CLAIM, moves.Complete(by="b", token=1, result=Result(summary="s"))), ("work:completed",)),
        ({}, (CLAIM, moves.Fail(by="b", token=1, error="e")), ("work:failed",)),
        ({}, (CLAIM, moves.Fail(by="b", token=1, error="e", retryable=False)), ("work:failed", "work:dead")),
        ({}, (CLAIM, moves.Lapse()), ("work:failed",)),
        ({}, (CLAIM, moves.Release(by="b", token=1)), ("work:released", "work:ready")),
        ({}, (CLAIM, moves.Progress(by="b", token=1, percent=5)), ()),
        ({}, (CLAIM, moves.AskCancel(by="a")), ()),
        ({}, (CLAIM, moves.AskCancel(by="a"), moves.Cancel(by="a")), ("work:cancelled",)),
        (
            {},
            (CLAIM, moves.AskCancel(by="a"), moves.Release(by="b", token=1)),
            ("work:released", "work:cancelled"),
        ),
        ({"depends_on": ("w_0",)}, (moves.Resolve(parent="w_0", outcome=Status.DONE),), ("work:ready",)),
        ({"depends_on": ("w_0",)}, (moves.Resolve(parent="w_0", outcome=Status.DEAD),), ("work:dead",)),
    ],
)
def test_a_record_tells_what_was_done_and_where_it_led(
    fields: dict[str, object], events: tuple[moves.WorkEvent, ...], told: tuple[str, ...]
) -> None:
    assert after(an_item(**fields), *events) == told


def test_a_cursor_is_read_as_it_was_written() -> None:
    position = Position(since=NOW, places={"demo": PLACE, "p-2": PLACE})
    assert cursors.read(cursors.written("q", position, position.places), "q", NOW) == position


@pytest.mark.parametrize(
    "text",
    ["x", "A" * 9000, "\x00", "é", cursors.written("other", Position(since=NOW), ())]
    + [cursors.written("q", Position(since=NOW + late), ()) for late in (timedelta(hours=1), timedelta(hours=-24))],
)
def test_a_cursor_that_is_none_or_too_old_is_refused(text: str) -> None:
    with pytest.raises(BadCursor):
        cursors.read(text, "q", NOW)


def test_a_cursor_of_very_many_projects_still_fits_into_a_header() -> None:
    places = {f"project-{number:055}": PLACE for number in range(500)}
    text = cursors.written("q", Position(since=NOW, places=places), places)
    assert len(text) <= cursors.CURSOR_CHARACTERS
    assert list(cursors.read(text, "q", NOW).places.items())[:40] == list(places.items())[:40]


def ask(**given: tuple[str, ...]) -> query.Query:
    nothing = dict.fromkeys(("projects", "topics", "types", "work", "agents", "capabilities", "boundaries"), ())
    return query.read(**nothing | given)


def test_an_event_passes_if_every_filter_lets_it() -> None:
    happening = Happening(
        topic=Topic.WORK, type="work:claimed", text=b"", names=frozenset({"w_1", "t"}), capabilities=frozenset({"c"})
    )
    assert ask().wants(happening)
    assert ask(topics=("work,agents",), types=("work:claimed",), work=("t",), capabilities=("C",)).wants(happening)
    assert not ask(topics=("agents",)).wants(happening)
    assert not ask(types=("work:ready",)).wants(happening)
    assert not ask(agents=("somebody",)).wants(happening), "it lacks what the filter asks for"


def test_a_query_is_the_same_in_any_order_and_another_with_another_filter() -> None:
    assert ask(topics=("work", "agents")).text == ask(topics=("agents,work",)).text
    assert ask(topics=("work",)).text != ask(topics=("work",), types=("work:ready",)).text


def test_what_there_is_not_is_refused_with_what_may_be_meant() -> None:
    with pytest.raises(InvalidArgument) as refused:
        ask(topics=("works",))
    assert "'work'" in refused.value.hint


async def test_an_outbox_gathers_what_waits_and_knows_when_it_is_too_much() -> None:
    outbox = Outbox()
    too_much = []
    for part in [b"a"] * MOST_EVENTS + [b"b"]:
        outbox.put(part)
        too_much.append(outbox.full)
    assert too_much == [False] * MOST_EVENTS + [True]
    assert await outbox.take(1) == b"a" * MOST_EVENTS + b"b"
    assert await outbox.take(0.001) == b""


async def test_after_its_end_an_outbox_has_the_last_word_and_nothing_else() -> None:
    outbox = Outbox()
    outbox.put(b"waits")
    waiting = asyncio.create_task(outbox.room())
    await asyncio.sleep(0)
    outbox.end(b"last")
    outbox.put(b"late")
    await waiting
    assert [await outbox.take(1), await outbox.take(1)] == [b"last", b""]
