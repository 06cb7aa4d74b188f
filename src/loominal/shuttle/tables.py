"""Tables that fit a terminal, and values as a person reads them. Names and texts are peers' and may hold anything."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

import click

GAP = "  "
LEAST = 8  # places that a column which gives way keeps
SPARE = 3  # columns that give way so readily are left out
ROOM = 20  # where the last one has fewer places than these
COLOURS = {
    "online": "green", "done": "green", "registered": "green", "healthy": "green",
    "busy": "yellow", "claimed": "yellow", "draining": "yellow", "requested": "yellow", "started": "yellow",
    "dead": "red", "failed": "red", "timed_out": "red", "unconfirmed": "red", "unhealthy": "red",
    "unusable": "red",
    "offline": "bright_black", "cancelled": "bright_black", "discarded": "bright_black", "disabled": "bright_black",
}  # fmt: skip


class Column(NamedTuple):
    """A column: its title, and how readily it gives way where a table is too wide; 0: never."""

    title: str
    gives_way: int = 0
    style: Callable[[str], str | None] = lambda _: None  # colour of a cell, by its text


def status(title: str = "STATUS") -> Column:
    """Return a column of statuses, which have colours."""
    return Column(title, style=COLOURS.get)


def lines(columns: Sequence[Column], rows: Sequence[Sequence[object]], width: int | None) -> list[str]:
    """Return the table's lines, its titles first, none wider than `width` if that can be; None: as wide as they are.

    Where that cannot be, or the last column would have little room, the `SPARE` ones are left out.
    """
    now = datetime.now(UTC)
    cells = [[column.title for column in columns], *([plain(value, now) for value in row] for row in rows)]
    shown = list(range(len(columns)))
    widths = _widths(columns, cells, shown, width)
    while spare := [place for place in shown[:-1] if columns[place].gives_way >= SPARE]:
        fits = width is None or _width(widths) <= width
        if fits and widths[-1] >= min(ROOM, max(cell_width(row[-1]) for row in cells)):
            break
        shown.remove(max(spare, key=lambda place: columns[place].gives_way))
        widths = _widths(columns, cells, shown, width)
    styles = [columns[place].style for place in shown]
    kept = [[row[place] for place in shown] for row in cells]
    return [_line(kept[0], widths, [None] * len(shown))] + [
        _line(row, widths, [style(cell) for style, cell in zip(styles, row, strict=True)]) for row in kept[1:]
    ]


def plain(value: object, now: datetime | None = None) -> str:
    """Return a value as one printable line; a time as how long ago it was."""
    if isinstance(value, datetime):
        return age(value, now or datetime.now(UTC))
    text = ", ".join(map(str, value)) if isinstance(value, (tuple, list)) else "" if value is None else str(value)
    return "".join(" " if unicodedata.category(char).startswith(("C", "Z")) else char for char in text)


def last_line(text: str) -> str:
    """Return the last line that says something: of a traceback, what went wrong."""
    return next((line for line in reversed(text.splitlines()) if line.strip()), "").strip()


def age(at: datetime, now: datetime) -> str:
    """Return how long ago `at` was, or in how long it will be: "3m ago", "in 2h"."""
    seconds = (now - at).total_seconds()
    if abs(seconds) < 1:
        return "now"
    return f"{duration(seconds)} ago" if seconds > 0 else f"in {duration(-seconds)}"


def duration(seconds: float) -> str:
    """Return some seconds in the unit that fits: "45s", "12m", "3h", "9d"."""
    for unit, name in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= unit * (2 if unit > 60 else 1):
            return f"{int(seconds // unit)}{name}"
    return f"{int(seconds)}s"


def cell_width(text: str) -> int:
    """Return how many places `text` takes on a terminal."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text
    )


def cut(text: str, width: int) -> str:
    """Return `text`, shortened to `width` places if it is longer."""
    if cell_width(text) <= width:
        return text
    kept, room = [], width - 1
    for char in text:
        room -= cell_width(char)
        if room < 0:
            break
        kept.append(char)
    return "".join(kept) + "…"


def _widths(
    columns: Sequence[Column], cells: Sequence[Sequence[str]], shown: Sequence[int], width: int | None
) -> list[int]:
    """Return the widths of the columns that are shown; those that give way do until no line is wider than `width`."""
    widths = [max(cell_width(row[place]) for row in cells) for place in shown]
    least = [max(cell_width(columns[place].title), LEAST) for place in shown]
    for _ in range(_width(widths) - width if width is not None else 0):
        able = [at for at, place in enumerate(shown) if columns[place].gives_way and widths[at] > least[at]]
        if not able:
            break
        widths[max(able, key=lambda at: widths[at] * columns[shown[at]].gives_way)] -= 1
    return widths


def _width(widths: Sequence[int]) -> int:
    return sum(widths) + len(GAP) * (len(widths) - 1)


def _line(cells: Sequence[str], widths: Sequence[int], styles: Sequence[str | None]) -> str:
    shown = []
    for cell, width, style in zip(cells, widths, styles, strict=True):
        text = cut(cell, width)
        padded = text + " " * (width - cell_width(text))
        shown.append(click.style(text, fg=style) + padded[len(text) :] if style else padded)
    return GAP.join(shown).rstrip()
