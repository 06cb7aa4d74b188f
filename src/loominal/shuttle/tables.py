"""Tables that fit a terminal, and values as a person reads them. Names and texts are peers' and may hold anything."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

import click

GAP = "  "
LEAST = 8  # cells that a column which gives way keeps
COLOURS = {
    "online": "green", "done": "green", "registered": "green", "healthy": "green",
    "busy": "yellow", "claimed": "yellow", "draining": "yellow", "requested": "yellow", "started": "yellow",
    "dead": "red", "failed": "red", "timed_out": "red", "unconfirmed": "red", "unhealthy": "red",
    "unusable": "red",
    "offline": "bright_black", "cancelled": "bright_black", "discarded": "bright_black", "disabled": "bright_black",
}  # fmt: skip


class Column(NamedTuple):
    """A column: its title, and how readily it gives way where a table is too wide (0: never, the highest first)."""

    title: str
    gives_way: int = 0
    style: Callable[[str], str | None] = lambda _: None  # colour of a cell, by its text


def status(title: str = "STATUS") -> Column:
    """Return a column of statuses, which have colours."""
    return Column(title, style=COLOURS.get)


def lines(columns: Sequence[Column], rows: Sequence[Sequence[object]], width: int | None) -> list[str]:
    """Return the table's lines, its titles first, none wider than `width` if that can be; None: as wide as they are."""
    now = datetime.now(UTC)
    cells = [[plain(value, now) for value in row] for row in rows]
    titles = [column.title for column in columns]
    widths = [max(map(cell_width, each)) for each in zip(titles, *cells, strict=True)]
    if width is not None:
        _fit(widths, columns, width)
    return [_line(titles, widths, [None] * len(columns))] + [
        _line(row, widths, [column.style(cell) for column, cell in zip(columns, row, strict=True)]) for row in cells
    ]


def plain(value: object, now: datetime | None = None) -> str:
    """Return a value as one printable line; a time as how long ago it was."""
    if isinstance(value, datetime):
        return age(value, now or datetime.now(UTC))
    text = ", ".join(map(str, value)) if isinstance(value, (tuple, list)) else "" if value is None else str(value)
    return "".join(" " if unicodedata.category(char).startswith(("C", "Z")) else char for char in text)


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


def _fit(widths: list[int], columns: Sequence[Column], width: int) -> None:
    """Take places from the columns that give way until the table is no wider than `width`."""
    for place in sorted(range(len(columns)), key=lambda each: -columns[each].gives_way):
        over = sum(widths) + len(GAP) * (len(widths) - 1) - width
        if over > 0 and columns[place].gives_way:
            least = max(cell_width(columns[place].title), LEAST)
            widths[place] = min(widths[place], max(least, widths[place] - over))


def _line(cells: Sequence[str], widths: Sequence[int], styles: Sequence[str | None]) -> str:
    shown = []
    for cell, width, style in zip(cells, widths, styles, strict=True):
        text = cut(cell, width)
        padded = text + " " * (width - cell_width(text))
        shown.append(click.style(text, fg=style) + padded[len(text) :] if style else padded)
    return GAP.join(shown).rstrip()
