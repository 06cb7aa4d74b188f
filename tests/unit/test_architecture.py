"""The table of moves that people read is the table that runs."""

from __future__ import annotations

from pathlib import Path

from loominal.model.moves import MOVES
from loominal.model.work import Status

PAGE = Path(__file__).parents[2] / "ARCHITECTURE.md"


def drawn() -> dict[str, tuple[frozenset[str], frozenset[str]]]:
    """Return the table on the page: move -> (from, to)."""
    text = PAGE.read_text().split("<!-- moves")[1].split("<!-- /moves -->")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]
    return {move: (statuses(before), statuses(after)) for move, before, after in rows[2:]}


def statuses(cell: str) -> frozenset[str]:
    every = frozenset(status.value for status in Status)
    return {"any": every, "(new)": frozenset[str]()}.get(cell, frozenset(cell.split(", ")))


def test_the_drawn_moves_are_the_moves_of_the_code() -> None:
    coded = {move.value: tuple(frozenset(map(str, end)) for end in ends) for move, ends in MOVES.items()}

    assert drawn() == coded
