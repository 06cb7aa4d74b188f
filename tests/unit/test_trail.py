"""What the hub knows of the messages of a log: in order, once each, and never past a gap."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from loominal.broker.log import Record
from loominal.fabric.hub.talk import intake
from loominal.fabric.hub.talk.intake import DEDUPE, Intake
from loominal.fabric.hub.talk.trail import TRAIL_LENGTH, Label, Trail, headers, label, sent_at
from loominal.model.message import Message, Sender

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


def a_record(sequence: int, **told: str) -> Record:
    return Record(subject="l.p.ch.general", sequence=sequence, data=b"", headers=told, stored_at=NOON)


@given(st.lists(st.integers(1, 200)))
def test_messages_stand_in_order_and_once(sequences: list[int]) -> None:
    trail = Trail()
    new = [trail.add(each, NOON + timedelta(seconds=each), Label(str(each))) for each in sequences]

    assert list(trail.sequences) == sorted(set(sequences))
    assert new.count(True) == len(set(sequences))
    for place, each in enumerate(trail.sequences):
        assert (trail.place(each), trail.label(each), trail.at(place)) == (
            place,
            Label(str(each)),
            NOON + timedelta(seconds=each),
        )
        assert trail.since(NOON + timedelta(seconds=each)) == place


def test_a_trail_is_no_longer_than_what_the_log_keeps() -> None:
    trail = Trail()
    for sequence in range(1, TRAIL_LENGTH + 11):
        trail.add(sequence, NOON, Label())

    assert (len(trail.sequences), trail.sequences[0], len(trail.labels)) == (TRAIL_LENGTH, 11, TRAIL_LENGTH)


def test_headers_tell_what_a_reader_is_told() -> None:
    message = Message(sender=Sender(guid="a", handle="ada"), text="hi", message_type="note", ack_required=True)
    record = a_record(1, **headers(message, NOON + timedelta(milliseconds=1400)))

    assert label(record) == Label("a", "note", ack_required=True)
    assert sent_at(record) == NOON + timedelta(seconds=1)


def test_a_record_that_no_hub_wrote_has_the_brokers_time() -> None:
    assert sent_at(a_record(1)) == NOON
    assert sent_at(a_record(1, **{"Loominal-At": "soon"})) == NOON
    assert label(a_record(1)) == Label()


def test_what_was_written_behind_a_gap_waits_until_the_gap_is_closed() -> None:
    known = Intake()
    for sequence in (1, 2):
        known.followed(a_record(sequence))
    known.written(a_record(4))
    before = known.complete
    known.followed(a_record(3))
    known.followed(a_record(4))

    assert (before, known.complete) == (2, 4)


async def test_a_writer_waits_until_its_message_can_be_read() -> None:
    known = Intake()
    known.written(a_record(2))
    waiting = asyncio.create_task(known.reach(2))
    await asyncio.sleep(0)
    assert not waiting.done()
    known.followed(a_record(1))
    await asyncio.sleep(0)
    assert not waiting.done()
    known.followed(a_record(2))

    async with asyncio.timeout(1):
        await waiting


def test_an_op_is_known_until_many_came_after_it() -> None:
    known = Intake()
    for sequence in range(1, intake.OPS_KEPT + 2):
        known.followed(a_record(sequence, **{DEDUPE: f"ada:{sequence}"}))

    assert known.sent("ada:1") is None
    assert known.sent("ada:2") == 2
