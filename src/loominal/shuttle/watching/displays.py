"""How a watch looks: bars on a terminal, a line for each change where it is piped, events as JSON."""

from __future__ import annotations

import math
import os
import time
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TextIO

import click
import msgspec

from loominal.fabric.operations.work import FollowedWork, WorkDetail, WorkView
from loominal.fabric.protocol import encode, plain
from loominal.model.times import rfc3339
from loominal.model.work import ENDED, Status
from loominal.model.work_events import PROGRESS
from loominal.shuttle import tables
from loominal.shuttle.json_output import print_line
from loominal.shuttle.watching.watched import Happened, Watched, note, percent

if TYPE_CHECKING:
    from loominal.shuttle.fleet import Fleet
    from loominal.shuttle.watching.watch import Display

QUIET_SECONDS = 10.0  # between two lines that tell of one item's progress
REDRAW_SECONDS = 1.0  # also where nothing has happened: ages grow
AWAY_SECONDS = 3.0  # without being called: the program was suspended, and the terminal holds other things now
BAR, SUMMARY_BAR = 8, 24  # places
NAME, STATUS = 24, 9
COLUMNS, LINES = 80, 24  # of a terminal that does not know
LEFT = 6  # places of an age and the gap before it
UP, CLEAR_LINE, CLEAR_BELOW = "\x1b[{}A", "\x1b[K", "\x1b[J"
ORDER = (Status.DONE, Status.DEAD, Status.CANCELLED, Status.DISCARDED, Status.CLAIMED)
Paint = Callable[[str, str], str]


def display_on(stream: TextIO, fleet: Fleet) -> Display:
    """Return what shows a watch on `stream` to people: bars if it is a terminal, else lines."""
    if stream.isatty() and os.environ.get("TERM") != "dumb" and not fleet.quiet:
        return Bars(stream, colours=not (fleet.no_color or os.environ.get("NO_COLOR")))
    return Lines(stream, only_ends=fleet.quiet)


class Events:
    """One JSON object a line on stdout: `type`, `projectId`, `at`, `data`, as `GET /api/events` words them."""

    def __init__(self, project_id: str) -> None:
        self._project_id = project_id

    def tell(self, events: Sequence[Happened], watched: Watched) -> None:
        """Print the events; the end of an item has all that is known of it."""
        for event in events:
            detail = watched.details.get(event.item.id) if event.item.status in ENDED else None
            data = plain(_as_listed(event.item), entry=True) if detail is None else plain(detail, entry=False)
            at = rfc3339(event.at) if event.at else None
            line = encode({"type": event.type, "projectId": self._project_id, "at": at, "data": data})
            print_line(line)

    def draw(self, watched: Watched) -> None:
        """Draw nothing."""

    def erase(self) -> None:
        """Nothing is drawn."""


class Lines:
    """A line for each change of an item's status, and one now and then for its progress."""

    def __init__(self, stream: TextIO, *, only_ends: bool = False) -> None:
        self._stream = stream
        self._only_ends = only_ends
        self._told_at: dict[str, float] = {}

    def tell(self, events: Sequence[Happened], watched: Watched) -> None:
        """Print what has changed, each item once."""
        now = time.monotonic()
        moved = {event.item.id for event in events if event.type != PROGRESS}
        for item_id in dict.fromkeys(event.item.id for event in events):
            item = watched.items[item_id]
            is_due = item_id in moved or now - self._told_at.get(item_id, 0) >= QUIET_SECONDS
            if item.status not in ENDED and (self._only_ends or not is_due):
                continue
            self._told_at[item_id] = now
            text = f"{percent(item)} {note(item, watched.details.get(item_id))}".strip()
            click.echo(tables.plain(f"{item_id}  {item.status or '':<{STATUS}}  {text}").rstrip(), file=self._stream)

    def draw(self, watched: Watched) -> None:
        """Draw nothing."""

    def erase(self) -> None:
        """Nothing is drawn."""


class Bars:
    """A line for each item, drawn again and again in its place; the terminal is left as it is, whatever happens."""

    def __init__(self, stream: TextIO, *, colours: bool) -> None:
        self._stream = stream
        self._paint: Paint = _painted if colours else _bare
        self._drawn: list[str] = []  # the lines that stand above the cursor, without colours
        self._changed = True
        self._drawn_at = self._called_at = 0.0

    def tell(self, events: Sequence[Happened], watched: Watched) -> None:  # noqa: ARG002 - `draw` is given it
        """Draw it at the next turn."""
        self._changed = self._changed or bool(events)

    def draw(self, watched: Watched) -> None:
        """Draw how everything stands, if that has changed or grown old."""
        now = time.monotonic()
        if now - self._called_at > AWAY_SECONDS:
            self._drawn = []
        self._called_at = now
        if self._drawn and not self._changed and now - self._drawn_at < REDRAW_SECONDS:
            return
        columns, rows = self._size()
        lines = frame(watched, columns - 1, rows - 1, datetime.now(UTC))
        painted = (f"{self._paint(line, status)}{CLEAR_LINE}\n" for line, status in lines)
        self._write(self._back() + "".join(painted) + CLEAR_BELOW)
        self._drawn, self._drawn_at, self._changed = [line for line, _ in lines], now, False

    def erase(self) -> None:
        """Take the lines away."""
        if self._drawn:
            self._write(self._back() + CLEAR_BELOW)
            self._drawn = []

    def _back(self) -> str:
        """Return what leads to the beginning of what is drawn; a terminal that became narrower has wrapped it."""
        columns, _ = self._size()
        rows = sum(max(math.ceil(tables.cell_width(line) / columns), 1) for line in self._drawn)
        return "\r" + (UP.format(rows) if rows else "")

    def _size(self) -> tuple[int, int]:
        columns, lines = os.get_terminal_size(self._stream.fileno())
        return columns or COLUMNS, lines or LINES

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


def frame(watched: Watched, width: int, height: int, now: datetime) -> list[tuple[str, str]]:
    """Return the lines that show the items, each with the status that colours it; none is wider than `width`.

    Where the items have no room, the first line counts them, and those that are being done follow as far as they fit.
    """
    items = list(watched.items.values())
    if len(items) <= height:
        return [(_line(item, watched.details.get(item.id), width, now), item.status or "") for item in items]
    claimed = [item for item in items if item.status is Status.CLAIMED][: max(height - 1, 0)]
    return [(_summary(items, width), ""), *((_line(item, None, width, now), item.status or "") for item in claimed)]


def counted(items: Sequence[WorkView]) -> str:
    """Return how many of the items stand where."""
    counts = Counter(item.status for item in items)
    others = [each for each in Status if each not in ORDER]
    told = [f"{counts[each]} {each}" for each in (*ORDER[1:], *others) if counts[each]]
    return " · ".join((f"{counts[Status.DONE]}/{len(items)} done", *told))


def _summary(items: Sequence[FollowedWork], width: int) -> str:
    ended = sum(item.status in ENDED for item in items)
    return tables.cut(f"{_bar(ended / len(items), SUMMARY_BAR)}  {counted(items)}", width)


def _line(item: FollowedWork, detail: WorkDetail | None, width: int, now: datetime) -> str:
    text = note(item, detail) or item.description
    if item.status is Status.CLAIMED:
        far = item.progress.percent if item.progress is not None else None
        text = f"{_bar((far or 0) / 100, BAR)} {percent(item):>5}  {text}"
    age = tables.age(item.moved_at, now).removesuffix(" ago") if item.moved_at else ""
    left = tables.plain(f"{tables.cut(item.id, NAME)}  {item.status or '':<{STATUS}}  {text}")
    room = width - LEFT
    if room < NAME:
        return tables.cut(left, width)
    said = tables.cut(left, room)
    return f"{said}{' ' * (room - tables.cell_width(said))}{age:>{LEFT}}"


def _bar(share: float, places: int) -> str:
    full = min(max(round(share * places), 0), places)
    return "█" * full + "░" * (places - full)


def _painted(line: str, status: str) -> str:
    return click.style(line, fg=tables.COLOURS.get(status))


def _bare(line: str, _: str) -> str:
    return line


def _as_listed(item: FollowedWork) -> WorkView:
    """Return the item as `list_work` shows it."""
    return WorkView(**{field.name: getattr(item, field.name) for field in msgspec.structs.fields(WorkView)})
