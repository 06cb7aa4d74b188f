"""What keys do to what the person at the screen sees, and which pages are read for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loominal.fabric.client.agent import Agent
from loominal.fabric.operations.stats import Stats
from loominal.fabric.operations.types import View
from loominal.model.errors import BadCursor
from loominal.shuttle.top.listing import PAGES_AT_ONCE, Listing, Member
from loominal.shuttle.top.look import LAST, Look
from loominal.shuttle.top.panes import PANES, Page, Pane, Row

STATS = Stats(agents={}, work={})
NOBODY = cast("Agent", None)  # the panes of these tests ask nobody


def pressed(*keys: str, rows: int = 10) -> Look:
    look = Look(PANES)
    for key in keys:
        look.press(key, rows)
    return look


def a_pane(lists: Mapping[str, list[str]], page: int = 7) -> Pane:
    async def read(_: Agent, status: str, __: Mapping[str, str], cursor: str | None) -> Page:
        names, start = lists[status], int(cursor or 0)
        more = str(start + page) if start + page < len(names) else None
        return Page([Row(View(), (name,)) for name in names[start : start + page]], more)

    counts = {status: len(names) for status, names in lists.items()}
    return Pane("List", (), tuple(lists), tuple(lists), ("capability",), lambda _: counts, read)


def a_member(project: str = "p") -> Member:
    return Member(project, project, NOBODY, STATS)


@pytest.mark.parametrize(
    ("keys", "place"),
    [(("2",), 1), (("tab",), 1), (("back-tab",), 3), (("4", "tab"), 0), (("9",), 0), (("/", "2"), 0)],
)
def test_lists_are_changed_by_number_and_tab(keys: tuple[str, ...], place: int) -> None:
    assert pressed(*keys).place == place


def test_a_filter_is_typed_mended_kept_and_dropped() -> None:
    typed = pressed("2", "/", *"pyx", "backspace")
    kept = pressed("2", "/", *"py", "enter", "q")

    assert (typed.words, typed.types, typed.quits) == ("py", True, False)
    assert (kept.words, kept.types, kept.quits) == ("py", False, True)
    assert pressed("2", "/", *"py", "escape").words == ""
    assert pressed("2", "/", *"py", "enter", "escape").words == ""
    assert pressed("2", "/", *"py", "clear", *"go").words == "go"


def test_terms_are_asked_for_and_the_rest_is_sought() -> None:
    look = pressed("2", "/", *"Fix capability=python  x=1 ")

    assert look.terms == {"capability": "python"}
    assert look.sought == "fix x=1"


def test_statuses_come_by_turns_and_escape_shows_all_again() -> None:
    statuses = PANES[1].statuses
    look = pressed("2")
    seen = []
    for _ in range(len(statuses) + 1):
        look.press("s", 10)
        seen.append(look.only)

    assert seen == [*statuses, None]
    assert pressed("2", "s", "escape").only is None
    assert pressed("4", "s").only is None  # dead letters have but one status


@given(st.lists(st.sampled_from(["up", "down", "page-up", "page-down", "home", "end", "k", "j"])), st.integers(1, 40))
def test_the_chosen_row_is_always_on_the_screen(keys: list[str], rows: int) -> None:
    look = pressed(*keys, rows=rows)

    look.end(100, rows)

    assert 0 <= look.row < 100
    assert look.top <= look.row < look.top + rows
    assert look.top <= 100 - rows


def test_any_key_ends_the_help_and_q_does_not_quit_then() -> None:
    assert pressed("?").helps
    assert (pressed("?", "q").helps, pressed("?", "q").quits) == (False, False)
    assert not pressed("?", "?").helps


@settings(deadline=None)
@given(
    st.lists(st.integers(0, 30), min_size=1, max_size=4), st.lists(st.integers(0, 100), max_size=6), st.integers(1, 20)
)
async def test_rows_are_the_same_from_wherever_one_comes(sizes: list[int], tops: list[int], rows: int) -> None:
    pane = a_pane({f"s{place}": [f"{place}-{n}" for n in range(size)] for place, size in enumerate(sizes)})
    every = [f"{project}{place}-{n}" for place, size in enumerate(sizes) for project in "ab" for n in range(size)]
    listing = Listing(Look([pane]))

    for top in tops:
        found = await listing.read([a_member("a"), a_member("b")], top, rows)
        names = [f"{project}{row.cells[0]}" for project, row in found.rows]

        assert names == every[found.base : found.base + len(names)]
        if found.ended:
            assert found.base + len(names) == len(every)
        elif found.base + len(names) < top + rows:  # too far for one round: the next goes on from there
            assert len(names) >= PAGES_AT_ONCE


async def test_the_end_of_a_long_list_is_reached_in_rounds() -> None:
    listing = Listing(Look([a_pane({"": [str(n) for n in range(500)]})]))
    found = await listing.read([a_member()], LAST, 10)
    rounds = 1
    while not found.ended:
        found = await listing.read([a_member()], LAST, 10)
        rounds += 1

    assert found.base + len(found.rows) == 500
    assert rounds <= 500 // (7 * PAGES_AT_ONCE) + 2


async def test_a_filter_looks_through_so_many_rows_and_says_so() -> None:
    look = Look([a_pane({"": [f"row {n}" for n in range(500)]})])
    look.words = "ROW 3"
    found = await Listing(look).read([a_member()], 0, 100)

    assert {row.cells[0] for _, row in found.rows} == {"row 3", *(f"row {n}" for n in range(30, 40))}
    assert found.looked_through == 7 * PAGES_AT_ONCE


async def test_a_project_that_was_made_anew_is_read_from_its_beginning() -> None:
    reads: list[str | None] = []
    names = [str(n) for n in range(20)]

    async def read(_: Agent, __: str, ___: Mapping[str, str], cursor: str | None) -> Page:
        reads.append(cursor)
        if len(reads) == 4:
            raise BadCursor("another generation")
        start = int(cursor or 0)
        return Page([Row(View(), (name,)) for name in names[start : start + 7]], str(start + 7) if start < 13 else None)

    listing = Listing(Look([a_pane({"": names})._replace(page=read)]))
    await listing.read([a_member()], 0, 20)

    found = await listing.read([a_member()], 8, 5)

    assert reads == [None, "7", "14", "7", None, "7"]
    assert [row.cells[0] for _, row in found.rows][8:13] == names[8:13]
