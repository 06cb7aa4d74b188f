"""The picture that `shuttle top` draws: it fits its screen whatever peers have written."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from hypothesis import given, settings
from hypothesis import strategies as st

from loominal.fabric.operations.stats import Stats, TargetCounts
from loominal.fabric.operations.types import View
from loominal.model.agent import AgentStatus
from loominal.model.launch import LaunchStatus
from loominal.model.work import Status
from loominal.shuttle.tables import cell_width
from loominal.shuttle.top.frame import STYLE, Known, clipped, frame
from loominal.shuttle.top.listing import Found
from loominal.shuttle.top.look import Look
from loominal.shuttle.top.panes import PANES, Row

HOSTILE = st.one_of(
    st.text(max_size=60),
    st.sampled_from(["\x1b[2J\x1b[31m", "a\nb\r\tc", "\u202eevil", "日本語" * 30, "👩‍👩‍👧", "e\u0301" * 20, "\x9b31m"]),
)
CELL = st.one_of(
    HOSTILE, st.lists(HOSTILE, max_size=3).map(tuple), st.integers(), st.none(), st.just(datetime.now(UTC))
)
STATS = Stats(
    agents=dict.fromkeys(AgentStatus, 2),
    work=dict.fromkeys(Status, 7),
    oldest_ready_seconds=200.0,
    dead=7,
    targets=TargetCounts(total=3, enabled=2, healthy=1),
    spin_ups=dict.fromkeys(LaunchStatus, 1),
    unmet_routes=2,
)


def a_look(place: int = 0, keys: tuple[str, ...] = ()) -> Look:
    look = Look(PANES)
    look.place = place
    for key in keys:
        look.press(key, 10)
    return look


def known(rows: list[tuple[object, ...]], **changes: object) -> Known:
    found = Found(rows=tuple(("loom", Row(View(), cells)) for cells in rows))
    fields = {"title": "loom", "stats": [STATS], "health": "answers in 2 ms", "trouble": "", "found": found}
    return Known(**{**fields, **changes})  # type: ignore[arg-type]  # of the field's own types


def shown(line: str) -> str:
    return STYLE.sub("", line)


@st.composite
def pictures(draw: st.DrawFn) -> tuple[Look, Known]:
    place = draw(st.integers(0, len(PANES) - 1))
    columns = len(PANES[place].columns)
    look = a_look(
        place, tuple(draw(st.lists(st.sampled_from(["/", "down", "p", "s", "?", "end", "日", "x"]), max_size=6)))
    )
    rows = draw(st.lists(st.tuples(*[CELL] * columns), max_size=15))
    return look, known(
        rows,
        title=draw(HOSTILE),
        trouble=draw(HOSTILE),
        problem=draw(HOSTILE),
        many=draw(st.booleans()),
        stats=draw(st.sampled_from([[], [STATS], [STATS] * 3])),
    )


@settings(max_examples=60, deadline=None)
@given(pictures(), st.integers(1, 220), st.integers(1, 60))
def test_no_line_is_wider_than_the_screen_and_no_more_lines_are_drawn_than_it_has(
    picture: tuple[Look, Known], width: int, height: int
) -> None:
    drawn = frame(*picture, width, height)

    assert len(drawn.lines) <= height
    assert max(cell_width(shown(line)) for line in drawn.lines) <= width
    assert all(shown(line).isprintable() for line in drawn.lines)


def test_every_row_that_is_promised_is_on_the_screen() -> None:
    rows: list[tuple[object, ...]] = [(f"w_{n}", "ready", 5, None, (), "text", "nobody") for n in range(100)]
    for width, height in ((80, 24), (200, 50), (80, 12)):
        drawn = frame(a_look(1), known(rows), width, height)

        listed = [line for line in drawn.lines if re.match(r"w_\d+ ", shown(line))]
        assert len(listed) == drawn.rows
        assert len(drawn.lines) == height
        assert f"1-{drawn.rows} of 100" in shown(drawn.lines[-1])


def test_the_chosen_row_is_told_in_full() -> None:
    why = "nobody who is online can do weaving, and no target starts agents that can"
    rows: list[tuple[object, ...]] = [
        ("w_1", "ready", 5, None, ("carding",), "", ""),
        ("w_2", "ready", 5, None, ("weaving",), "Weave it", why),
    ]

    told = "".join(map(shown, frame(a_look(1, ("down",)), known(rows), 80, 24).lines[-5:]))

    assert all(text in told.replace("\n", " ") for text in ("w_2", "weaving", "Weave it"))
    assert "".join(why.split()) in "".join(told.split())


def test_the_counts_of_several_projects_are_added() -> None:
    lines = [shown(line) for line in frame(a_look(), known([], stats=[STATS, STATS]), 200, 24).lines]

    assert "4 online, 4 busy, 4 offline" in lines[1]
    assert "14 ready" in lines[2]
    assert "the oldest ready item waits for 3m" in lines[1]
    assert "2 of 6 targets healthy" in lines[3]


def test_help_and_filter_and_pause_are_seen() -> None:
    assert "drops it" in "".join(frame(a_look(1, ("?",)), known([]), 80, 24).lines)
    assert frame(a_look(1, ("/", "a", "b")), known([]), 80, 24).lines[-1].startswith("/ab_")
    assert "PAUSED" in frame(a_look(1, ("p",)), known([]), 80, 24).lines[-1]
    assert "only claimed" in frame(a_look(1, ("s",)), known([]), 80, 24).lines[-1]


@given(HOSTILE, st.integers(0, 40))
def test_a_line_is_cut_at_its_width_and_keeps_its_styles(text: str, width: int) -> None:
    line = f"\x1b[31m{text.replace(chr(27), '')}\x1b[0m tail"

    cut = clipped(line, width)

    assert cell_width(shown(cut)) <= width
    assert STYLE.findall(cut) == STYLE.findall(line)
