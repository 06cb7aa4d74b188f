"""What a watch makes of answers, and how it looks: events, lines, and bars that stay in their place."""

from __future__ import annotations

import fcntl
import io
import json
import os
import pty
import struct
import termios
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loominal.fabric.operations.work import FailureView, FollowedWork, ProgressView, WorkDetail
from loominal.model.work import DeadReason, Status
from loominal.shuttle.tables import cell_width
from loominal.shuttle.watching.displays import Bars, Events, Lines, counted, frame
from loominal.shuttle.watching.watched import Watched, happened, outcome
from tests.screen import Screen

NOW = datetime(2026, 1, 31, 18, 0, tzinfo=UTC)
HOSTILE = st.one_of(
    st.text(max_size=60),
    st.sampled_from(["\x1b[2J\x1b[31m", "a\nb\r\tc", "\u202eevil", "日本語" * 30, "👩‍👩‍👧", "e\u0301" * 20, "\x9b31m"]),
)


def item(number: int = 1, status: Status = Status.READY, **more: object) -> FollowedWork:
    fields: dict[str, object] = {"id": f"w_{number:020}", "status": status, "moved_at": NOW - timedelta(minutes=3)}
    return FollowedWork(**{**fields, **more})  # type: ignore[arg-type]  # of the fields' own types


def progress(percent: float, message: str = "") -> ProgressView:
    return ProgressView(percent=percent, message=message, at=NOW)


def watched(*items: FollowedWork) -> Watched:
    found = Watched()
    found.take(items)
    return found


CLAIMED = item(status=Status.CLAIMED, attempt=1, events=("work:claimed",))


@pytest.mark.parametrize(
    ("before", "now", "types"),
    [
        (None, item(events=("work:submitted",)), ["submitted"]),
        (None, item(status=Status.DEAD, events=("work:failed", "work:dead")), ["dead"]),
        (None, item(status=Status.DONE), ["completed"]),
        (None, item(status=Status.BLOCKED), ["submitted"]),
        (None, item(status=Status.SCHEDULED, attempt=1), ["failed"]),
        (None, item(status=Status.CLAIMED, progress=progress(10)), ["claimed"]),
        (item(), CLAIMED, ["claimed"]),
        (CLAIMED, CLAIMED, []),
        (CLAIMED, item(status=Status.CLAIMED, attempt=1, progress=progress(10)), ["progress"]),
        (CLAIMED, item(status=Status.CLAIMED, attempt=1, cancel_requested=True), []),
        (CLAIMED, item(status=Status.CLAIMED, attempt=2), ["claimed"]),
        (CLAIMED, item(status=Status.DONE, attempt=1), ["completed"]),
        (CLAIMED, item(status=Status.DEAD, events=("work:failed", "work:dead")), ["failed", "dead"]),
        (item(), item(status=Status.CLAIMED, events=("work:claimed",), progress=progress(0)), ["claimed", "progress"]),
        (item(status=Status.DEAD, attempt=3), item(attempt=3, events=("work:retried",)), ["retried"]),
    ],
)
def test_what_has_happened_is_told_by_what_was_known_before(
    before: FollowedWork | None, now: FollowedWork, types: list[str]
) -> None:
    assert [event.type for event in happened(before, now)] == [f"work:{each}" for each in types]


def test_a_retried_item_is_open_again() -> None:
    found = watched(item(status=Status.DEAD))
    found.details[item().id] = WorkDetail(id=item().id)
    assert found.is_over([item().id])

    found.take([item(events=("work:retried",))])

    assert not found.is_over([item().id])
    assert found.details == {}


def test_what_came_of_an_item_is_its_summary_or_its_last_error() -> None:
    errors = tuple(FailureView(at=NOW, by="ada", message=each) for each in ("first", "last"))
    done = WorkDetail(id="w", status=Status.DONE, summary="knitted", errors=errors)
    dead = WorkDetail(id="w", status=Status.DEAD, dead_reason=DeadReason.MAX_ATTEMPTS, errors=errors)

    assert [outcome(each) for each in (done, dead)] == ["knitted", "max_attempts: last"]


@st.composite
def items(draw: st.DrawFn) -> list[FollowedWork]:
    return [
        item(
            number,
            draw(st.sampled_from(Status)),
            description=draw(HOSTILE),
            claimed_by=draw(HOSTILE),
            waits_for=draw(HOSTILE),
            attempt=draw(st.integers(0, 3)),
            progress=draw(st.none() | st.builds(progress, st.floats(0, 100), HOSTILE)),
        )
        for number in range(draw(st.integers(1, 30)))
    ]


@given(items=items(), width=st.integers(10, 200), height=st.integers(1, 24))
def test_no_line_is_wider_and_no_picture_higher_than_the_terminal(
    items: list[FollowedWork], width: int, height: int
) -> None:
    lines = [line for line, _ in frame(watched(*items), width, height, NOW)]

    assert len(lines) <= height
    assert all(line.isprintable() and cell_width(line) <= width for line in lines)


def test_items_without_room_are_counted_and_the_running_ones_shown() -> None:
    many = [item(number, Status.DONE) for number in range(30)] + [item(99, Status.DEAD), item(100)]
    running = [item(number, Status.CLAIMED, claimed_by="ada", progress=progress(50, "at it")) for number in (200, 201)]

    summary, *others = [line for line, _ in frame(watched(*many, *running), 79, 23, NOW)]

    assert "30/34 done · 1 dead · 2 claimed · 1 ready" in summary
    assert [line.split() for line in others] == [
        [each.id, "claimed", "████░░░░", "50", "%", "ada", "at", "it", "3m"] for each in running
    ]
    assert counted([item(status=Status.DONE)]) == "1/1 done"


def test_events_are_lines_of_json_and_an_end_has_all_that_is_known(capsys: pytest.CaptureFixture[str]) -> None:
    found, display = watched(item()), Events("loom")
    found.details[item().id] = WorkDetail(id=item().id, status=Status.DONE, summary="line\nline")

    display.tell(found.take([CLAIMED]), found)
    found.details[item().id] = WorkDetail(id=item().id, status=Status.DONE, summary="line\nline")
    display.tell(found.take([item(status=Status.DONE, ended_at=NOW, events=("work:completed",))]), found)

    claimed, done = map(json.loads, capsys.readouterr().out.splitlines())
    assert claimed == {
        "type": "work:claimed",
        "projectId": "loom",
        "at": "2026-01-31T17:57:00Z",
        "data": {"id": item().id, "status": "claimed", "attempt": 1},
    }
    assert (done["type"], done["at"], done["data"]["summary"]) == (
        "work:completed",
        "2026-01-31T18:00:00Z",
        "line\nline",
    )


def test_piped_an_item_has_a_line_for_each_status_and_few_for_its_progress() -> None:
    out, found = io.StringIO(), Watched()
    display = Lines(out)
    for each in (item(waits_for="the\nrain"), CLAIMED, item(status=Status.CLAIMED, attempt=1, progress=progress(5))):
        display.tell(found.take([each]), found)
    found.details[item().id] = WorkDetail(id=item().id, status=Status.DONE, summary="\x1b[2Jknitted")
    display.tell(found.take([item(status=Status.DONE, attempt=1)]), found)

    assert [line.split(maxsplit=1)[1] for line in out.getvalue().splitlines()] == [
        "ready      the rain",
        "claimed",
        "done        [2Jknitted",
    ]


class Window:
    """A terminal of some size; what is written to `stream` stands on `screen`."""

    def __init__(self, columns: int, lines: int) -> None:
        self._ours, theirs = pty.openpty()
        self.stream = os.fdopen(theirs, "w", encoding="utf-8")
        self.screen = Screen(columns, lines)
        self.resize(columns, lines)

    def resize(self, columns: int, lines: int) -> None:
        self.screen.narrow(columns)
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def read(self) -> list[str]:
        """Return what stands on the screen now."""
        os.set_blocking(self._ours, False)
        written = b""
        with suppress(BlockingIOError):
            while data := os.read(self._ours, 1 << 16):
                written += data
        self.screen.write(written.decode())
        return self.screen.shown

    def close(self) -> None:
        self.stream.close()
        os.close(self._ours)


@pytest.fixture
def window() -> Iterator[Window]:
    window = Window(80, 24)
    yield window
    window.close()


def test_bars_are_drawn_in_their_place_and_taken_away(window: Window) -> None:
    window.screen.write("$ shuttle watch\r\n")
    display, found = Bars(window.stream, colours=True), watched(item(1), item(2))
    display.draw(found)
    first = window.read()
    display.tell(found.take([item(2, Status.CLAIMED, claimed_by="ada", progress=progress(50))]), found)
    display.draw(found)
    second = window.read()
    display.erase()

    assert [line.split()[1] for line in first[1:]] == ["ready", "ready"]
    assert [line.split()[1] for line in second[1:]] == ["ready", "claimed"]
    assert "████░░░░  50 %  ada" in second[2]
    assert window.read() == ["$ shuttle watch"]
    assert (window.screen.wrapped, window.screen.strange, window.screen.hidden) == (0, [], False)


def test_what_has_not_changed_is_not_drawn_again_at_once(window: Window) -> None:
    display, found = Bars(window.stream, colours=False), watched(item())
    display.draw(found)
    window.read()
    window.screen.write("x")
    display.draw(found)

    assert window.read()[-1] == "x"


def test_a_terminal_that_became_narrower_keeps_nothing_of_what_was_drawn(window: Window) -> None:
    window.screen.write("$ shuttle watch\r\n")
    display, found = Bars(window.stream, colours=False), watched(item(1, waits_for="rain " * 20), item(2))
    display.draw(found)
    window.read()
    window.resize(30, 24)
    display.tell(found.take([CLAIMED]), found)
    display.draw(found)

    assert [line.split()[0] for line in window.read()] == ["$", item(1).id, item(2).id]
    assert window.screen.wrapped == 0
