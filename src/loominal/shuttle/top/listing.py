"""Reading a list that may be long: only the pages around what is on the screen, from project to project."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from loominal.fabric.operations.stats import Stats
from loominal.model.errors import BadCursor
from loominal.shuttle.top.look import Look
from loominal.shuttle.top.panes import EVERY, Pane, Row

if TYPE_CHECKING:
    from loominal.fabric.client.agent import Agent

PAGES_AT_ONCE = 10  # of PAGE rows: what one round asks for at most; so far rows are looked through for a filter


class Member(NamedTuple):
    """A project of which the list shows something."""

    project_id: str
    project: str
    agent: Agent  # that asks there
    stats: Stats


class Found(NamedTuple):
    """The rows around what is shown. `base` is how many come before them, in the whole list."""

    base: int = 0
    rows: tuple[tuple[str, Row], ...] = ()  # each with its project
    ended: bool = True  # nothing comes behind them
    looked_through: int | None = None  # rows in which was sought, if these are not all
    notes: tuple[str, ...] = ()


class _Mark(NamedTuple):
    """Where a page begins: in which part of the list, and behind what there."""

    status: str
    project_id: str
    cursor: str | None = None


class Listing:
    """One list, as far as it is known where its pages begin. A list that is narrowed otherwise is another one."""

    def __init__(self, look: Look) -> None:
        self.chosen = look.chosen
        self._pane: Pane = look.pane
        self._statuses = _parts(look)
        self._terms: Mapping[str, str] = look.terms
        self._sought = look.sought
        self._projects: list[str] = []  # of which it was read last
        self._marks: list[_Mark] = []
        self._lengths: list[int] = []  # of the pages that begin at the marks

    async def read(self, members: Sequence[Member], top: int, rows: int) -> Found:
        """Return the rows from `top` on, `rows` at least if there are so many. Raises: what was answered."""
        projects = [each.project_id for each in members]
        if projects != self._projects:
            self._projects, self._marks, self._lengths = projects, [], []
        try:
            return await self._read(members, top, rows)
        except BadCursor:  # the project was made anew
            self._marks, self._lengths = [], []
            return await self._read(members, top, rows)

    async def _read(self, members: Sequence[Member], top: int, rows: int) -> Found:
        first, base = self._page_of(top)
        mark = self._marks[first] if first else self._next(members, None)
        del self._marks[first:], self._lengths[first:]
        found: list[tuple[str, Row]] = []
        notes: tuple[str, ...] = ()
        looked = 0
        for _ in range(PAGES_AT_ONCE):
            if mark is None or base + len(found) >= top + rows:
                break
            member = next(each for each in members if each.project_id == mark.project_id)
            page = await self._pane.page(member.agent, mark.status, self._terms, mark.cursor)
            kept = [(member.project, row) for row in page.rows if self._has(row)]
            found += kept
            looked += len(page.rows)
            notes += tuple(note for note in page.notes if note not in notes)
            self._marks.append(mark)
            self._lengths.append(len(kept))
            mark = mark._replace(cursor=page.next_cursor) if page.next_cursor else self._next(members, mark)
        if mark is not None:
            self._marks.append(mark)
        gave_up = mark is not None and bool(self._sought) and base + len(found) < top + rows
        return Found(base, tuple(found), mark is None or gave_up, looked if gave_up else None, notes)

    def _page_of(self, top: int) -> tuple[int, int]:
        """Return the page to begin at, and how many rows come before it. A filtered list is read from its beginning."""
        page = base = 0
        if top and not self._sought:
            while page < len(self._marks) - 1 and base + self._lengths[page] <= top:
                base += self._lengths[page]
                page += 1
        return page, base

    def _next(self, members: Sequence[Member], mark: _Mark | None) -> _Mark | None:
        """Return where the part of the list behind that of `mark` begins, passing over those that are empty."""
        known = {each.project_id: self._pane.counts(each.stats) for each in members}
        parts = [(status, project_id) for status in self._statuses for project_id in known]
        behind = parts.index((mark.status, mark.project_id)) + 1 if mark else 0
        for status, project_id in parts[behind:]:
            counts = known[project_id]
            if counts.get(status, 0) if status != EVERY else any(counts.values()):
                return _Mark(status, project_id)
        return None

    def _has(self, row: Row) -> bool:
        if not self._sought:
            return True
        text = "\n".join(map(_text, row.cells)).casefold()
        return self._sought in text


def _text(cell: object) -> str:
    """Return what of a cell can be sought; how long ago something was cannot."""
    if isinstance(cell, tuple):
        return " ".join(map(str, cell))
    return str(cell) if isinstance(cell, (str, int)) else ""


def _parts(look: Look) -> tuple[str, ...]:
    return (look.only,) if look.only is not None else look.pane.parts
