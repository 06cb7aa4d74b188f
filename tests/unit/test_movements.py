"""Movements: whoever comes back with a count is told every item that moved since, or that it must look at all."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from loominal.fabric.hub.work.movements import Movements

ITEMS = "abcdef"


@given(moves=st.lists(st.sampled_from(ITEMS), max_size=60), kept=st.integers(1, 6), asked=st.integers(0, 60))
def test_what_moved_since_a_count_is_known_or_the_count_is_out_of_reach(
    moves: list[str], kept: int, asked: int
) -> None:
    movements = Movements(kept)
    for item in moves:
        movements.note(item)

    moved = {item for item in ITEMS if movements.last(item) > asked}

    if movements.reaches(asked):
        assert moved == set(moves[asked:])
    else:
        assert asked > len(moves) or len(set(moves[asked:])) > kept or len(set(moves)) > kept


@given(moves=st.lists(st.sampled_from(ITEMS), max_size=60))
def test_a_follower_that_keeps_up_is_always_within_reach(moves: list[str]) -> None:
    movements, told = Movements(kept=1), 0
    for item in moves:
        movements.note(item)

        assert movements.reaches(told)
        assert [each for each in ITEMS if movements.last(each) > told] == [item]
        told = movements.count
