"""The picture that `top` shows: lines for a screen of some size, from what is known. Asks nobody, moves no cursor."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeVar

import click

from loominal.fabric.operations.stats import Stats
from loominal.shuttle.commands.stats import counts
from loominal.shuttle.tables import Column, cell_width, cut, duration, lines, plain
from loominal.shuttle.top.listing import Found
from loominal.shuttle.top.look import Look
from loominal.shuttle.top.panes import Row

S = TypeVar("S", bound=str)
STYLE = re.compile(r"(\x1b\[[0-9;]*m)")
NOTES = 2  # lines of notes above a list, at most
LONGEST = 400  # characters of a cell that are looked at: no line holds more
TOLD = 4  # lines that tell the chosen row in full
ROOMY = 20  # lines of a screen that has room for them
KEYS = "q quit  ? help  1-4 Tab list  / filter  s status  p pause"
HELP = (
    "1 2 3 4, Tab     another list",
    "arrows, j k      one row; PgUp PgDn: one screen; Home End: to either end",
    "                 the chosen row is told in full at the bottom",
    "/                filter: rows that hold the text; Enter keeps it, Esc drops it",
    "                 {terms}",
    "                 ask for less, other text is sought in the first 1000 rows",
    "s                only one status, then the next; Esc: every one",
    "p                pause: what is shown stays; keys still work",
    "Ctrl-Z           suspend; fg comes back",
    "q, Ctrl-C        quit",
)


class Known(NamedTuple):
    """What is known of the fleet. Counts are by project; of one that never answered there are none."""

    title: str
    stats: Sequence[Stats]
    health: str  # "answers in 4 ms", or since when there is no answer
    trouble: str  # why there is none, empty if there is
    found: Found
    problem: str = ""  # why the list cannot be shown as it was asked for
    many: bool = False  # rows are told with their project


class Frame(NamedTuple):
    """Lines of at most the screen's width, no more than its height; `rows` of them are for rows of the list."""

    lines: list[str]
    rows: int


def frame(look: Look, known: Known, width: int, height: int) -> Frame:
    """Return the picture for a screen of `width` times `height`."""
    above = [*_summary(known, width), click.style(plain(known.trouble), fg="red"), _tabs(look, known)]
    notes = [click.style(f"! {plain(note)}", fg="yellow") for note in known.found.notes[:NOTES]]
    told = TOLD if height >= ROOMY else 0
    rows = max(height - len(above) - len(notes) - told - 2, 1)  # and the titles of the table and the last line
    if look.helps:
        terms = ", ".join(f"{term}=" for term in look.pane.terms)
        middle = ["", *(line.replace("{terms}", terms) for line in HELP)]
    else:
        middle = [*notes, *_table(look, known, width, rows)]
        middle += [""] * (len(notes) + 1 + rows - len(middle)) + _in_full(look, known, width)[:told]
    middle = middle[: max(height - len(above) - 1, 0)]
    middle += [""] * (height - len(above) - 1 - len(middle))
    drawn = [*above[: max(height - 1, 0)], *middle, _last_line(look, known, rows, width)]
    return Frame([clipped(line, width) for line in drawn[:height]], rows)


def clipped(line: str, width: int) -> str:
    """Return a line with styles, cut to `width` places."""
    if cell_width(STYLE.sub("", line)) <= width:
        return line
    kept, room = [], width
    for place, piece in enumerate(STYLE.split(line)):
        if place % 2:
            kept.append(piece)
        elif room > 0:
            kept.append(cut(piece, room))
            room -= cell_width(kept[-1])
    return "".join(kept)


def _summary(known: Known, width: int) -> list[str]:
    health = click.style(known.health, fg="red" if known.trouble else "green")
    title = cut(plain(known.title), max(width - len(known.health) - 20, 8))
    told = f"{click.style('shuttle top', bold=True)}  {title}  {health}"
    if not known.stats:
        return [told, "", "", ""]
    targets = [each.targets for each in known.stats]
    total = sum(each.total for each in targets)
    places = f"{sum(each.healthy for each in targets)} of {total} targets healthy" if total else "no targets"
    unmet = sum(each.unmet_routes for each in known.stats)
    waits = max((each.oldest_ready_seconds or 0 for each in known.stats), default=0)
    return [
        told,
        f"agents    {_counted([each.agents for each in known.stats])}"
        + (f"; the oldest ready item waits for {duration(waits)}" if waits else ""),  # the line with room for it
        f"work      {_counted([each.work for each in known.stats])}",
        f"spin-ups  {_counted([each.spin_ups for each in known.stats])}; {places}"
        + (
            click.style(f"; {unmet} {'kinds' if unmet > 1 else 'kind'} of work in want of agents", fg="yellow")
            if unmet
            else ""
        ),
    ]


def _tabs(look: Look, known: Known) -> str:
    tabs = []
    for place, pane in enumerate(look.panes):
        total = sum(sum(pane.counts(each).values()) for each in known.stats)
        text = f"{place + 1} {pane.title} {total}"
        tabs.append(click.style(f"[{text}]", reverse=True) if place == look.place else f" {text} ")
    return " ".join(tabs)


def _table(look: Look, known: Known, width: int, rows: int) -> list[str]:
    columns: Sequence[Column] = look.pane.columns
    first = _first(look, known, rows) - known.found.base
    shown = known.found.rows[first : first + rows]
    cells = [_cells(row) for _, row in shown]
    if known.many:
        columns = (Column("PROJECT", 2), *columns)
        cells = [(project, *each) for (project, _), each in zip(shown, cells, strict=True)]
    titles, *others = lines(columns, cells, width)
    if first <= (here := look.row - known.found.base) < first + len(others):
        chosen = clipped(click.unstyle(others[here - first]), width)
        others[here - first] = click.style(chosen + " " * (width - cell_width(chosen)), reverse=True)
    if not others and known.stats:
        others = [plain(known.problem) if known.problem else f"no {look.pane.title.casefold()} here"]
    return [click.style(titles, bold=True), *others]


def _in_full(look: Look, known: Known, width: int) -> list[str]:
    """Return lines that tell of the chosen row what its columns may have no room for."""
    place = look.row - known.found.base
    if not 0 <= place < len(known.found.rows):
        return []
    _, row = known.found.rows[place]
    told = [(column.title, plain(cell)) for column, cell in zip(look.pane.columns, _cells(row), strict=True)]
    text = "   ".join(f"{title.casefold()}: {cell}" for title, cell in told if cell)
    return [click.style("─" * width, dim=True), *(click.style(line, dim=True) for line in _wrapped(text, width))]


def _wrapped(text: str, width: int) -> list[str]:
    """Return `text` in lines of at most `width` places, broken between words where that can be."""
    found = [""]
    for word in re.findall(r"\S+\s*", text):
        if cell_width(found[-1] + word.rstrip()) > width and found[-1]:
            found.append("")
        for char in word:
            if cell_width(found[-1] + char) > width:
                if char == " ":
                    continue
                found.append("")
            found[-1] += char
    return found


def _cells(row: Row) -> tuple[object, ...]:
    return tuple(cell[:LONGEST] if isinstance(cell, str) else cell for cell in row.cells)


def _first(look: Look, known: Known, rows: int) -> int:
    """Return the row of the list that is the first on the screen: what was chosen, as far as the rows are there."""
    found = known.found
    return max(min(look.top, found.base + len(found.rows) - rows), found.base)


def _last_line(look: Look, known: Known, rows: int, width: int) -> str:
    found, first = known.found, _first(look, known, rows)
    last = min(first + rows, found.base + len(found.rows))
    place = f"{first + 1}-{last}" if last > first else "nothing"
    if found.looked_through is not None:
        place += f" in the first {found.looked_through}"
    elif last > first:
        place += f" of {_total(look, known)}"
    if look.only is not None:
        place += f", only {look.only}"
    if look.paused:
        place += click.style("  PAUSED", fg="yellow")
    if look.types or look.words:
        sought = plain(look.words)
        while cell_width(sought) > max(width - 40, 10):  # its end is what is being typed
            sought = sought[1:]
        return f"/{sought}{'_' if look.types else ''}  {place}  {'Enter keeps' if look.types else 'Esc drops'} it"
    return f"{place}  {click.style(KEYS, dim=True)}"


def _total(look: Look, known: Known) -> int | str:
    """Return how many rows the whole list has: by the counts, unless it is filtered."""
    read = known.found.base + len(known.found.rows)
    if known.found.ended or look.words:
        return read if known.found.ended else f"{read} or more"
    counted = [look.pane.counts(each) for each in known.stats]
    return sum(each.get(look.only, 0) if look.only is not None else sum(each.values()) for each in counted)


def _counted(numbers: Sequence[Mapping[S, int]]) -> str:
    """Return the sums over projects of what is not zero."""
    sums: dict[S, int] = {}
    for each in numbers:
        for name, number in each.items():
            sums[name] = sums.get(name, 0) + number
    return counts(sums)
