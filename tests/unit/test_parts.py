"""Answers within their limit: no page is too long, none is empty, and reading on reaches everything."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from loominal.fabric.hub.parts import ENVELOPE_BYTES, entry_bytes, fitting, part, readable, room_for_entries
from loominal.fabric.hub.talk.messages import from_offset, shorten
from loominal.fabric.operations.inbox import Inbox, MessageView, SenderView
from loominal.fabric.protocol import encode, encode_answer

LIMIT = 24_000
characters = st.text(st.characters(codec="utf-8"), max_size=60)
texts = st.builds(lambda piece, times: piece * times, characters, st.integers(0, 3000))


def a_message(text: str, number: int = 1) -> MessageView:
    return MessageView(
        id=f"m_dabcdef{number}",
        sender=SenderView(guid="6f1c3c3a-8a35-4a0e-9b0e-2f3f7d9d3a11", handle="ada"),
        message=text,
        timestamp=datetime(2026, 1, 31, tzinfo=UTC),
    )


def in_an_answer(*messages: MessageView) -> int:
    return len(encode_answer(Inbox(messages=messages, unread=1000, notice="n" * 60, next_cursor="c" * 80)))


@given(texts, st.integers(0, 100), st.integers(1, 3000))
def test_parts_put_together_are_the_text(text: str, offset: int, room: int) -> None:
    start = min(offset, len(text))
    found, end = "", start
    while True:
        piece = part(text, end, room)
        assert piece.end > end or not piece.truncated
        assert len(encode(piece.text)) - 2 <= room or len(piece.text) == 1
        found, end = found + piece.text, piece.end
        if not piece.truncated:
            break

    assert found == text[start:]


@given(texts, st.integers(1, 3000))
def test_a_part_is_as_long_as_fits(text: str, room: int) -> None:
    piece = part(text, 0, room)

    assert not piece.truncated or len(encode(text[: piece.end + 1])) - 2 > room


@given(st.lists(texts, max_size=12), st.integers(2_000, 40_000))
def test_a_page_fits_is_not_empty_and_goes_on(all_texts: list[str], limit: int) -> None:
    left = [a_message(text, number) for number, text in enumerate(all_texts)]
    seen: list[str] = []
    while left:
        page = list(fitting(left, limit, cut=shorten))
        assert page
        assert in_an_answer(*page) <= max(limit, ENVELOPE_BYTES + room_for_entries(limit))
        seen += [view.id for view in page]
        left = left[len(page) :]

    assert seen == [f"m_dabcdef{number}" for number in range(len(all_texts))]


@given(texts)
def test_a_message_that_fits_alone_is_never_cut(text: str) -> None:
    view = a_message(text)

    [shown] = fitting([view], LIMIT, cut=shorten)

    assert (shown == view) == (entry_bytes(view) <= room_for_entries(LIMIT))
    assert (from_offset(view, 0, LIMIT) == view) == (shown == view)


@given(characters.filter(bool).map(lambda piece: piece * (30_000 // len(piece) + 1)))
def test_reading_on_by_offset_reaches_the_end(text: str) -> None:
    view = a_message(text)
    piece = from_offset(view, 0, LIMIT)
    found = piece.message
    while piece.truncated:
        assert in_an_answer(piece) <= LIMIT
        assert piece.next_offset == len(found)
        piece = from_offset(view, piece.next_offset, LIMIT)
        found += piece.message

    assert found == text
    assert piece.chars == len(text)


def test_long_texts_leave_room_for_others() -> None:
    page = list(fitting([a_message("x" * 100_000), a_message("y" * 100_000), a_message("short")], LIMIT, cut=shorten))

    assert [view.truncated for view in page] == [True, True, False]
    assert 10_000 < len(page[0].message) < 12_000


def test_without_a_way_to_cut_a_long_entry_ends_the_page() -> None:
    assert list(fitting([a_message("short"), a_message("x" * 100_000)], LIMIT)) == [a_message("short")]


def test_long_metadata_follows_the_text() -> None:
    small, large = {"n": 1}, {"n": "x" * 20_000}

    assert readable("text", small, LIMIT) == ("text", small)
    text, rest = readable("text", large, LIMIT)
    assert (text, rest) == ('text\n\nmetadata: {"n":"' + "x" * 20_000 + '"}', {})


def test_the_last_part_says_that_nothing_follows() -> None:
    view = a_message("x" * 30_000)

    assert from_offset(view, 29_999, LIMIT) == replace(view, message="x", chars=30_000)
    assert from_offset(view, 30_000, LIMIT) == replace(view, message="", chars=30_000)
