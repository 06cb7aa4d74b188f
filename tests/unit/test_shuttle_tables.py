"""Tables for a terminal: none wider than it, and nothing of a peer's that it would obey."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loominal.shuttle.commands import channels, targets
from loominal.shuttle.tables import Column, age, cell_width, cut, last_line, lines, plain

COLUMNS = (Column("ID"), Column("NEEDS", 3), Column("BY", 2), Column("DESCRIPTION", 1))
NOW = datetime(2026, 1, 1, tzinfo=UTC)
TEXTS = st.lists(st.tuples(*[st.text(max_size=60)] * 3), max_size=5)


@given(TEXTS, st.integers(min_value=60, max_value=200))
def test_no_line_is_wider_than_the_terminal(texts: list[tuple[str, str, str]], width: int) -> None:
    table = lines(COLUMNS, [("w_1234567890", *row) for row in texts], width)

    assert max(map(cell_width, table)) <= width
    assert len(table) == len(texts) + 1


@given(st.text())
def test_what_is_shown_has_nothing_that_a_terminal_obeys(text: str) -> None:
    assert plain(text).isprintable()


@given(st.text(), st.integers(min_value=1, max_value=50))
def test_a_text_that_is_cut_is_no_wider_than_asked_for(text: str, width: int) -> None:
    assert cell_width(cut(plain(text), width)) <= width


def test_where_there_is_no_room_for_the_last_column_a_spare_one_is_left_out() -> None:
    row = ("w_1234567890", "python, typescript", "ada", "Implement user authentication")

    narrow, wide = lines(COLUMNS, [row], 42), lines(COLUMNS, [row], 120)

    assert "NEEDS" not in narrow[0]
    assert "Implement user auth" in narrow[1]
    assert "python, typescript" in wide[1]


def test_as_wide_as_it_is_where_nobody_looks() -> None:
    assert lines(COLUMNS, [("1", "a" * 300, "b", "c")], None)[1] == f"1   {'a' * 300}  b   c"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.2, "now"), (45, "45s ago"), (-90, "in 1m"), (3 * 3600, "3h ago"), (5 * 86400, "5d ago"), (-200000, "in 2d")],
)
def test_a_time_is_told_in_the_unit_that_fits(seconds: float, said: str) -> None:
    assert age(NOW - timedelta(seconds=seconds), NOW) == said


def test_of_a_traceback_the_last_line_is_told() -> None:
    assert last_line("Traceback:\n  File x\nValueError: no wool\n\n") == "ValueError: no wool"
    assert last_line("\n") == ""


def test_lists_of_targets_and_channels_fit_eighty_columns_whatever_their_names_are() -> None:
    name = "n" * 64
    row = (name, "unhealthy", "github-actions", "claude-code", ("python", "go"), ("personal",), "0/10", "failing: " * 9)

    on_targets, on_channels = (
        lines(targets.COLUMNS, [row, ("box", *row[1:])], 80),
        lines(channels.COLUMNS, [(name, 1000, "59m ago", "all that is said")], 80),
    )

    assert max(cell_width(click.unstyle(line)) for line in on_targets + on_channels) <= 80
