"""Keys from the bytes of a terminal, however they are cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loominal.shuttle.top.keys import LONGEST, NAMES, Keys

SEQUENCES = [f"\x1b{text}" for text in NAMES if text[0] in "[O"]


@pytest.mark.parametrize("sequence", SEQUENCES)
def test_a_sequence_is_one_key_however_it_is_cut(sequence: str) -> None:
    data = sequence.encode()
    for cut in range(1, len(data)):
        keys = Keys()

        assert keys.feed(data[:cut]) == []
        assert keys.begun
        assert keys.feed(data[cut:]) == [NAMES[sequence[1:]]]
        assert not keys.begun


def test_escape_alone_is_a_key_once_nothing_follows() -> None:
    keys = Keys()

    assert keys.feed(b"\x1b") == []
    assert keys.settle() == ["escape"]
    assert keys.feed(b"q") == ["q"]


def test_escape_before_a_letter_is_a_key_of_its_own() -> None:
    assert Keys().feed(b"\x1bq") == ["escape", "q"]


def test_letters_of_several_bytes_are_one_key_each() -> None:
    keys = Keys()
    data = "wö日".encode()

    assert [key for byte in data for key in keys.feed(bytes([byte]))] == ["w", "ö", "日"]


def test_a_sequence_nobody_knows_is_no_key() -> None:
    assert Keys().feed(b"a\x1b[38;5;1Xb\x1b[200~c") == ["a", "b", "c"]


@given(st.lists(st.binary(max_size=8), max_size=12))
def test_whatever_comes_is_keys_and_little_is_kept(pieces: list[bytes]) -> None:
    keys = Keys()
    named = {*NAMES.values(), "escape"}

    for piece in pieces:
        for key in keys.feed(piece):
            assert key in named or (len(key) == 1 and key.isprintable())
        assert len(keys._text) <= LONGEST  # else a terminal could make it grow for ever


@given(st.lists(st.sampled_from([*SEQUENCES, "q", "ä", "\t", "\r"]), max_size=8), st.data())
def test_what_is_typed_is_read_the_same_in_one_piece_and_in_many(typed: list[str], data: st.DataObject) -> None:
    whole = "".join(typed).encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=6)))
    pieces = [whole[start:end] for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    keys = Keys()

    assert [key for piece in pieces for key in keys.feed(piece)] == Keys().feed(whole)
