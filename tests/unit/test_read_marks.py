"""Read marks: what was shown stays shown, what was not is shown again, whatever order things happen in."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from loominal.model import read_marks as rules
from loominal.model.read_marks import ACKED_KEPT, OFFERS_KEPT, ReadMarks
from loominal.model.record import decode, encode

INBOX = list(range(3, 90, 3))  # sequences of other inboxes lie between
Deed = Callable[[ReadMarks], ReadMarks]

sequences = st.lists(st.sampled_from(INBOX), max_size=8)
processes = st.sampled_from(["first", "second", "third"])
ops = st.integers(0, 20).map("op-{}".format)
deeds: st.SearchStrategy[Deed] = st.one_of(
    st.builds(lambda op, to, some: lambda marks: rules.offer(marks, op, to, some), ops, processes, sequences),
    st.builds(lambda op, to: lambda marks: rules.surface(marks, to, [op]), ops, processes),
    st.builds(lambda some: lambda marks: rules.ack(marks, some, some[:2]), sequences),
    st.builds(
        lambda at, odd: lambda marks: rules.pass_by(marks, at, lambda seq: seq % 2 == odd),
        st.integers(0, 90),
        st.integers(0, 1),
    ),
    st.builds(lambda complete: lambda marks: rules.settle(marks, INBOX, complete), st.integers(0, 90)),
)


def shown(marks: ReadMarks) -> set[int]:
    return {sequence for sequence in INBOX if rules.is_shown(marks, sequence)}


def after(*done: Deed) -> ReadMarks:
    marks = ReadMarks()
    for deed in done:
        marks = deed(marks)
    return marks


@given(st.lists(deeds, max_size=30), deeds)
def test_what_was_shown_stays_shown(before: list[Deed], deed: Deed) -> None:
    marks = after(*before)

    assert shown(marks) <= shown(deed(marks))


@given(st.lists(deeds, max_size=30))
def test_every_message_is_either_shown_or_unread(done: list[Deed]) -> None:
    marks = after(*done)
    unread = list(rules.unread(marks, INBOX))

    assert unread == sorted(set(INBOX) - shown(marks))
    assert rules.unread_count(marks, INBOX) == len(unread)
    assert list(rules.unread(marks, INBOX, 30)) == [sequence for sequence in unread if sequence > 30]


@given(st.lists(deeds, max_size=30), st.integers(0, 90))
def test_settling_changes_nothing_but_the_length(done: list[Deed], complete: int) -> None:
    marks = after(*done)
    settled = rules.settle(marks, INBOX, complete)

    assert shown(settled) == shown(marks)
    assert len(settled.left) + len(settled.surfaced) <= len(marks.left) + len(marks.surfaced)
    assert rules.settle(settled, INBOX, complete) == settled


@given(sequences, st.integers(0, 90))
def test_a_message_behind_a_gap_stays_unread_when_it_comes_to_be_known(read: list[int], complete: int) -> None:
    settled = rules.settle(rules.ack(ReadMarks(), read, []), INBOX, complete)

    assert not any(rules.is_shown(settled, late) for late in range(complete + 1, 100) if late not in INBOX)


@given(st.lists(deeds, max_size=30), ops, processes, sequences)
def test_a_read_asked_again_finds_its_page(done: list[Deed], op: str, to: str, page: list[int]) -> None:
    before = after(*done)
    marks = rules.offer(before, op, to, page)
    again = rules.offer(rules.surface(marks, to, [op]), op, to, INBOX)

    found = rules.offer_of(again, op, to)
    if rules.offer_of(before, op, to) is None and set(page) - shown(before):
        assert found is not None
        assert set(found.sequences) == set(page) - shown(before)
    if found is not None:
        assert set(found.sequences) <= shown(rules.surface(again, to, [op]))


@given(st.lists(deeds, max_size=30), st.lists(deeds, max_size=10))
def test_catching_up_loses_nothing_of_either(done: list[Deed], more: list[Deed]) -> None:
    stored = after(*done)
    newer = after(*done, *more)
    caught_up = rules.catch_up(stored, newer)

    assert shown(stored) <= shown(caught_up) <= shown(newer)


@given(st.lists(deeds, max_size=60))
def test_marks_stay_small_and_survive_being_stored(done: list[Deed]) -> None:
    marks = after(*done)

    assert len(marks.offers) <= OFFERS_KEPT
    assert len(marks.acked) <= ACKED_KEPT
    assert decode(ReadMarks, encode(marks)).value == marks
    assert msgspec.json.decode(encode(marks))["v"] == 1


def test_another_process_gets_a_page_again_until_it_was_seen() -> None:
    marks = rules.offer(ReadMarks(), "read-1", "first", [3, 6])
    taken_over = rules.offer(marks, "read-2", "second", [3, 6, 9])

    found = rules.offer_of(taken_over, "read-2", "second")
    assert found is not None
    assert (found.sequences, found.again) == ((3, 6, 9), (3, 6))
    assert rules.pending(taken_over, "second") == {3, 6, 9}
    assert shown(rules.surface(taken_over, "second", ["read-1"])) == set()
    assert shown(rules.surface(taken_over, "second", ["read-2"])) == {3, 6, 9}


def test_an_inbox_read_in_order_is_one_number() -> None:
    marks = ReadMarks()
    for number, sequence in enumerate(INBOX):
        marks = rules.offer(marks, f"read-{number}", "first", [sequence])
        marks = rules.settle(rules.surface(marks, "first", [f"read-{number}"]), INBOX, 1000)

    assert (marks.through, marks.left, marks.surfaced) == (INBOX[-1], (), ())


def test_one_unread_message_does_not_make_the_marks_grow() -> None:
    marks = rules.settle(rules.ack(ReadMarks(), INBOX[1:], []), INBOX, 1000)

    assert (marks.through, marks.left, marks.surfaced) == (INBOX[-1], (INBOX[0],), ())
    assert list(rules.unread(marks, [*INBOX, 100])) == [INBOX[0], 100]


def test_what_is_gone_from_the_inbox_is_not_counted() -> None:
    marks = rules.settle(rules.ack(ReadMarks(), INBOX[2:], []), INBOX, 1000)

    assert rules.unread_count(marks, INBOX[1:]) == 1
    assert rules.settle(rules.ack(marks, [INBOX[1]], []), INBOX[1:], 1000).left == ()
